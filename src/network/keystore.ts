/**
 * Encrypted wallet file in the Web3 Secret Storage format, version 3: scrypt, AES-128-CTR, and a
 * Keccak-256 code over the second half of the derived key and the ciphertext, which tells a wrong
 * passphrase from a right one. Other wallets can read and write it.
 */
import { createCipheriv, createDecipheriv, scryptSync } from "node:crypto";
import { scrypt } from "@noble/hashes/scrypt.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { getPublicKey } from "@noble/secp256k1";
import { z } from "zod";
import { equalBytes, fromHex, toHex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";

/** scrypt's cost; memory is 128 * n * r bytes. */
export interface KeystoreCost {
  n: number;
  r: number;
  p: number;
}
/** For a passphrase that a person chose: 128 MiB and about 0.4 s a guess. */
export const PERSON_COST: KeystoreCost = { n: 131_072, r: 8, p: 1 };
/**
 * For a generated passphrase of 256 random bits, which no guessing reaches whatever a guess costs.
 */
export const GENERATED_COST: KeystoreCost = { n: 4096, r: 8, p: 1 };

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`));
const schema = z.object({
  version: z.literal(3),
  id: z.string().max(64).optional(),
  address: z.string().max(64).optional(),
  crypto: z.object({
    cipher: z.literal("aes-128-ctr"),
    ciphertext: hex(32),
    cipherparams: z.object({ iv: hex(16) }),
    kdf: z.literal("scrypt"),
    kdfparams: z.object({
      // Bounds keep a crafted file from taking more than 512 MiB or a minute.
      n: z
        .int()
        .min(2)
        .max(262_144)
        .refine((n) => (n & (n - 1)) === 0),
      r: z.int().min(1).max(16),
      p: z.int().min(1).max(16),
      dklen: z.literal(32),
      salt: hex(32),
    }),
    mac: hex(32),
  }),
});

/**
 * The runtime's scrypt refuses n >= 2^(16 r), which some old wallets wrote: those take the slow
 * one.
 */
function derive(passphrase: string, salt: Uint8Array, cost: KeystoreCost): Uint8Array {
  const password = passphrase.normalize("NFKC");
  const { n: N, r, p } = cost;
  if (N >= 2 ** (16 * r)) return scrypt(password, salt, { N, r, p, dkLen: 32 });
  return scryptSync(password, salt, 32, { N, r, p, maxmem: 1 << 30 });
}

const macOf = (derived: Uint8Array, ciphertext: Uint8Array) =>
  keccak_256(Buffer.concat([derived.subarray(16), ciphertext]));

/** Ethereum address of a private key, 40 hex digits without prefix. */
export const ethereumAddress = (privateKey: Uint8Array): string =>
  toHex(keccak_256(getPublicKey(privateKey, false).subarray(1)).subarray(12));

/** The keystore's JSON text. privateKey: 32 bytes. */
export function encryptKey(
  privateKey: Uint8Array,
  passphrase: string,
  random: Random,
  cost: KeystoreCost,
): string {
  const salt = random.bytes(32);
  const iv = random.bytes(16);
  const derived = derive(passphrase, salt, cost);
  const cipher = createCipheriv("aes-128-ctr", derived.subarray(0, 16), iv);
  const ciphertext = Buffer.concat([cipher.update(privateKey), cipher.final()]);
  const id = random.bytes(16);
  id[6] = (id[6]! & 0x0f) | 0x40;
  id[8] = (id[8]! & 0x3f) | 0x80;
  const keystore = {
    version: 3,
    id: toHex(id).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
    address: ethereumAddress(privateKey),
    crypto: {
      cipher: "aes-128-ctr",
      ciphertext: toHex(ciphertext),
      cipherparams: { iv: toHex(iv) },
      kdf: "scrypt",
      kdfparams: { dklen: 32, ...cost, salt: toHex(salt) },
      mac: toHex(macOf(derived, ciphertext)),
    },
  };
  return `${JSON.stringify(keystore, undefined, 2)}\n`;
}

/** The private key. `name` is for messages. Throws KEY_FILE_CORRUPT or WRONG_PASSPHRASE. */
export function decryptKey(text: string, passphrase: string, name: string): Uint8Array {
  const { crypto, address } = parseKeystore(text, name);
  const ciphertext = fromHex(crypto.ciphertext);
  const derived = derive(passphrase, fromHex(crypto.kdfparams.salt), crypto.kdfparams);
  if (!equalBytes(macOf(derived, ciphertext), fromHex(crypto.mac)))
    throw new MagnetError("WRONG_PASSPHRASE", `the passphrase does not open ${name}`, {
      hint: "set MAGNET_PASSPHRASE, or check the passphrase file; without it the key is lost",
      exit: "auth",
    });
  const iv = fromHex(crypto.cipherparams.iv);
  const decipher = createDecipheriv("aes-128-ctr", derived.subarray(0, 16), iv);
  const privateKey = new Uint8Array(Buffer.concat([decipher.update(ciphertext), decipher.final()]));
  // The code does not cover the iv: only the address notices when it was changed.
  const claimed = address?.toLowerCase().replace(/^0x/, "");
  if (claimed !== undefined && claimed !== ethereumAddress(privateKey)) throw corrupt(name);
  return privateKey;
}

function parseKeystore(text: string, name: string): z.infer<typeof schema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw corrupt(name, error);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw corrupt(name, parsed.error);
  return parsed.data;
}

const corrupt = (name: string, cause?: unknown) =>
  new MagnetError("KEY_FILE_CORRUPT", `${name} is no intact keystore (Web3, version 3, scrypt)`, {
    hint: "restore it from the backup made with: magnet keys export",
    exit: "auth",
    cause,
  });
