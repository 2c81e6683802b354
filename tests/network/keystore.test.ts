/** The wallet on disk: modes, passphrases, damage, and never a second key over a first. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fromHex, sha256, toHex } from "../../src/core/bytes.ts";
import { MagnetError } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import { recoverKey, walletVerifier } from "../../src/network/auth.ts";
import { identityOf, nodeIdOf, signMessage, verifyMessage } from "../../src/network/identity.ts";
import {
  createIdentity,
  exportKey,
  importKey,
  loadIdentity,
  openIdentity,
  wasExported,
} from "../../src/network/key-storage.ts";
import { decryptKey, encryptKey, GENERATED_COST } from "../../src/network/keystore.ts";

let dir = "";
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-keys-"));
});
afterEach(() => fs.rmSync(dir, { recursive: true, force: true }));

const random = seededRandom(11);
function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof MagnetError) return `${error.code}/${error.exit}`;
    throw error;
  }
  return "no error";
}
const modeOf = (name: string) => fs.statSync(path.join(dir, name)).mode & 0o777;

test("opens the known keystore of the Web3 Secret Storage definition (scrypt vector)", () => {
  // Vector: Ethereum wiki, "Web3 Secret Storage Definition", version 3, scrypt.
  const text = JSON.stringify({
    crypto: {
      cipher: "aes-128-ctr",
      cipherparams: { iv: "83dbcc02d8ccb40e466191a123791e0e" },
      ciphertext: "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
      kdf: "scrypt",
      kdfparams: {
        dklen: 32,
        n: 262144,
        r: 1,
        p: 8,
        salt: "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
      },
      mac: "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    },
    id: "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    version: 3,
  });
  expect(toHex(decryptKey(text, "testpassword", "vector"))).toBe(
    "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d",
  );
});

test("an unattended first start makes a keystore and a passphrase file, both 0600, and loads again", () => {
  const before = process.umask(0);
  try {
    const first = openIdentity({ dir }, random);
    expect(first.created).toBe(true);
    expect(modeOf("wallet.json")).toBe(0o600);
    expect(modeOf("wallet.passphrase")).toBe(0o600);
    const again = openIdentity({ dir }, random);
    expect(again.created).toBe(false);
    expect(again.identity.public_key).toBe(first.identity.public_key);
    expect(first.identity.node_id).toMatch(/^node-[0-9a-f]{16}$/);
    expect(fs.readdirSync(dir).sort()).toEqual(["wallet.json", "wallet.passphrase"]);
  } finally {
    process.umask(before);
  }
});

test("a given passphrase opens, another does not, none is asked for", () => {
  createIdentity({ dir, passphrase: "pässword" }, random);
  expect(loadIdentity({ dir, passphrase: "pa\u0308ssword" }).node_id).toMatch(/^node-/);
  expect(codeOf(() => loadIdentity({ dir, passphrase: "other" }))).toBe("WRONG_PASSPHRASE/auth");
  expect(codeOf(() => loadIdentity({ dir }))).toBe("NO_PASSPHRASE/auth");
}, 20_000);

test("wider modes, truncation, every damaged field, absent and existing keys are told apart", () => {
  expect(codeOf(() => loadIdentity({ dir }))).toBe("NO_KEY/auth");
  createIdentity({ dir }, random);
  expect(codeOf(() => createIdentity({ dir }, random))).toBe("FILE_EXISTS/auth");
  const file = path.join(dir, "wallet.json");
  const text = fs.readFileSync(file, "utf8");
  fs.chmodSync(file, 0o640);
  expect(codeOf(() => loadIdentity({ dir }))).toBe("KEY_FILE_MODE/auth");
  fs.chmodSync(file, 0o600);
  for (const length of [0, 1, text.length >> 1, text.length - 3]) {
    fs.writeFileSync(file, text.slice(0, length));
    expect(codeOf(() => loadIdentity({ dir }))).toBe("KEY_FILE_CORRUPT/auth");
  }
  const flip = (name: string) =>
    text.replace(
      new RegExp(`("${name}": ")(.)`),
      (_, head, digit) => head + (digit === "0" ? 1 : 0),
    );
  for (const [field, code] of [
    ["ciphertext", "WRONG_PASSPHRASE/auth"],
    ["mac", "WRONG_PASSPHRASE/auth"],
    ["salt", "WRONG_PASSPHRASE/auth"],
    ["iv", "KEY_FILE_CORRUPT/auth"],
  ] as const) {
    fs.writeFileSync(file, flip(field));
    expect(codeOf(() => loadIdentity({ dir }))).toBe(code);
  }
  fs.writeFileSync(file, text.replace(/"n": 4096/, '"n": 1073741824'));
  expect(codeOf(() => loadIdentity({ dir }))).toBe("KEY_FILE_CORRUPT/auth");
});

test("a raw key file on request, export and import", () => {
  const insecure_keyfile = path.join(dir, "raw.key");
  const raw = { dir, insecure_keyfile };
  const made = createIdentity(raw, random);
  expect(modeOf("raw.key")).toBe(0o600);
  expect(wasExported(raw)).toBe(false);
  const key = exportKey(raw);
  expect(wasExported(raw)).toBe(true);
  expect(importKey({ dir }, key, random).public_key).toBe(made.public_key);
  expect(loadIdentity({ dir }).public_key).toBe(made.public_key);
  expect(codeOf(() => importKey({ dir }, key, random))).toBe("FILE_EXISTS/auth");
  expect(codeOf(() => importKey({ dir: `${dir}/b` }, "zz", random))).toBe("KEY_FILE_CORRUPT/auth");
  expect(codeOf(() => importKey({ dir: `${dir}/b` }, "0".repeat(64), random))).toBe(
    "BAD_PRIVATE_KEY/auth",
  );
});

test("the public key and address of a known private key", () => {
  // Private key 1: the generator itself; address from the Ethereum literature.
  const one = new Uint8Array(32);
  one[31] = 1;
  const identity = identityOf(one);
  expect(identity.public_key as string).toBe(
    "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
  );
  const keystore = JSON.parse(encryptKey(one, "x", random, GENERATED_COST));
  expect(keystore.address).toBe("7e5f4552091a69125d5dfcb7b8c2659029395bdf");
});

test("signatures: recoverable, low s only, bound to digest and key", () => {
  const identity = identityOf(random.bytes(32));
  const digest = sha256("a");
  const signature = identity.sign(digest);
  expect(signature).toMatch(/^[0-9a-f]{128}(1b|1c)$/);
  expect(recoverKey(digest, signature)).toBe(identity.public_key);
  expect(walletVerifier.verify(sha256("b"), signature, identity.public_key)).toBe(false);
  // The same signature with s replaced by n - s and the other v is valid ECDSA, and refused here.
  const n = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const high = (n - BigInt(`0x${signature.slice(64, 128)}`)).toString(16).padStart(64, "0");
  const flipped = signature.slice(0, 64) + high + (signature.endsWith("1b") ? "1c" : "1b");
  expect(walletVerifier.verify(digest, flipped, identity.public_key)).toBe(false);
  for (const bad of ["", "00", "0".repeat(130), signature.toUpperCase(), `${signature}00`])
    expect(walletVerifier.verify(digest, bad, identity.public_key)).toBe(false);
  expect(verifyMessage("hello", signMessage(identity, "hello"))).toBe(identity.public_key);
  expect(verifyMessage("hellp", signMessage(identity, "hello"))).not.toBe(identity.public_key);
  expect(nodeIdOf(identity.public_key)).toBe(identity.node_id);
  expect(fromHex(identity.public_key).length).toBe(33);
});
