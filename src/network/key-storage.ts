/**
 * Where the wallet key lies on disk. With a passphrase (MAGNET_PASSPHRASE or a file) it is an
 * encrypted keystore. A server that starts unattended without one gets a random passphrase in a
 * file beside it: on this machine that protects no better than a raw key, but a copied or backed-up
 * keystore alone is worthless, and the format stays the one that a chosen passphrase uses. A raw
 * key is written only when `insecure_keyfile` asks for it. Every file has mode 0600, wider ones are
 * refused.
 */
import fs from "node:fs";
import path from "node:path";
import { toHex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { type Identity, identityOf, newPrivateKey } from "./identity.ts";
import { decryptKey, encryptKey, GENERATED_COST, PERSON_COST } from "./keystore.ts";
import { readPrivateFile, writePrivateFile } from "./private-file.ts";

/** Where the key is and how it is protected. */
export interface KeyStorage {
  /** Folder of wallet.json and wallet.passphrase. */
  dir: string;
  /** Value of MAGNET_PASSPHRASE; it goes before every file. */
  passphrase?: string | undefined;
  /** Instead of <dir>/wallet.passphrase. */
  passphrase_file?: string | undefined;
  /** A raw key in this file (64 hex digits), no keystore. */
  insecure_keyfile?: string | undefined;
}

const keystoreFile = (storage: KeyStorage) => path.join(storage.dir, "wallet.json");
const exportedFile = (storage: KeyStorage) => path.join(storage.dir, "wallet.exported");
const passphraseFile = (storage: KeyStorage) =>
  storage.passphrase_file ?? path.join(storage.dir, "wallet.passphrase");

/** The file that holds the key, for messages. */
export const keyFile = (storage: KeyStorage): string =>
  storage.insecure_keyfile ?? keystoreFile(storage);

/** The passphrase given by variable or file; undefined where there is none. */
function givenPassphrase(storage: KeyStorage): string | undefined {
  if (storage.passphrase !== undefined && storage.passphrase !== "") return storage.passphrase;
  const text = readPrivateFile(passphraseFile(storage))?.replace(/\r?\n$/, "");
  if (text === "")
    throw new MagnetError("NO_PASSPHRASE", `${passphraseFile(storage)} is empty`, {
      hint: "write the passphrase into it, or set MAGNET_PASSPHRASE",
      exit: "auth",
    });
  return text;
}

function readKey(storage: KeyStorage): Uint8Array | undefined {
  const file = keyFile(storage);
  const text = readPrivateFile(file);
  if (text === undefined) return undefined;
  if (storage.insecure_keyfile !== undefined) return parseRawKey(text, file);
  const passphrase = givenPassphrase(storage);
  if (passphrase === undefined)
    throw new MagnetError("NO_PASSPHRASE", `${file} needs a passphrase`, {
      hint: `set MAGNET_PASSPHRASE, or put it into ${passphraseFile(storage)} (mode 0600)`,
      exit: "auth",
    });
  return decryptKey(text, passphrase, file);
}

function parseRawKey(text: string, name: string): Uint8Array {
  const digits = text.trim().replace(/^0x/i, "").toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(digits))
    throw new MagnetError("KEY_FILE_CORRUPT", `${name} holds no key of 64 hexadecimal digits`, {
      hint: "restore it from the backup made with: magnet keys export",
      exit: "auth",
    });
  return new Uint8Array(Buffer.from(digits, "hex"));
}

function writeKey(storage: KeyStorage, privateKey: Uint8Array, random: Random): void {
  if (storage.insecure_keyfile !== undefined) {
    writePrivateFile(storage.insecure_keyfile, `${toHex(privateKey)}\n`);
    return;
  }
  const given = givenPassphrase(storage);
  if (given !== undefined) {
    writePrivateFile(keystoreFile(storage), encryptKey(privateKey, given, random, PERSON_COST));
    return;
  }
  // The passphrase first: a crash between the two leaves no keystore that nothing opens.
  const generated = toHex(random.bytes(32));
  writePrivateFile(passphraseFile(storage), `${generated}\n`);
  const text = encryptKey(privateKey, generated, random, GENERATED_COST);
  writePrivateFile(keystoreFile(storage), text);
}

/**
 * The stored identity. Throws NO_KEY, KEY_FILE_MODE, KEY_FILE_CORRUPT, NO_PASSPHRASE,
 * WRONG_PASSPHRASE.
 */
export function loadIdentity(storage: KeyStorage): Identity {
  return identityOf(mustReadKey(storage));
}

function mustReadKey(storage: KeyStorage): Uint8Array {
  const key = readKey(storage);
  if (key === undefined)
    throw new MagnetError("NO_KEY", `there is no wallet key at ${keyFile(storage)}`, {
      hint: "magnet join creates one; magnet keys import brings one along",
      exit: "auth",
    });
  return key;
}

/** Creates and stores a key. Throws FILE_EXISTS where there is one already. */
export function createIdentity(storage: KeyStorage, random: Random): Identity {
  const privateKey = newPrivateKey(random);
  refuseSecondKey(storage);
  writeKey(storage, privateKey, random);
  return identityOf(privateKey);
}

function refuseSecondKey(storage: KeyStorage): void {
  if (fs.existsSync(keyFile(storage)))
    throw new MagnetError("FILE_EXISTS", `${keyFile(storage)} holds a key already`, {
      hint: "move it away first; it is never overwritten",
      exit: "auth",
    });
}

/** Loads the identity, or creates it on the first start (`created`: print the backup command). */
export function openIdentity(
  storage: KeyStorage,
  random: Random,
): { identity: Identity; created: boolean } {
  const key = readKey(storage);
  if (key !== undefined) return { identity: identityOf(key), created: false };
  return { identity: createIdentity(storage, random), created: true };
}

/** The private key as 64 hex digits, and a note that it was exported, which `doctor` looks for. */
export function exportKey(storage: KeyStorage): string {
  const key = toHex(mustReadKey(storage));
  writePrivateFile(exportedFile(storage), "the wallet key was exported\n", true);
  return key;
}

/** True once `exportKey` was called for this key. */
export const wasExported = (storage: KeyStorage): boolean => fs.existsSync(exportedFile(storage));

/** Stores a key given as 64 hex digits. Throws FILE_EXISTS, KEY_FILE_CORRUPT, BAD_PRIVATE_KEY. */
export function importKey(storage: KeyStorage, text: string, random: Random): Identity {
  const privateKey = parseRawKey(text, "the given text");
  const identity = identityOf(privateKey);
  refuseSecondKey(storage);
  writeKey(storage, privateKey, random);
  return identity;
}
