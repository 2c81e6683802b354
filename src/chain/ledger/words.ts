/**
 * Words of the chain: Keccak-256 and the ABI encoding of values that take exactly one word each, which
 * is all that the ledger's hashes need.
 */
import { keccak_256 } from "@noble/hashes/sha3.js";
import { fromHex, toHex } from "../../core/bytes.ts";
import { invariant } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import type { Hex } from "./ledger-types.ts";

/** An address or a bytes32 as hex, or a number. */
export type Word = Hex | bigint | number | boolean;

const WORD_MAX = 2n ** 256n;

/** 32 bytes big-endian; addresses are padded on the left as `abi.encode` does. */
export function word(value: Word): Uint8Array {
  if (typeof value === "string") {
    const bytes = fromHex(value.slice(2));
    invariant(bytes.length === 32 || bytes.length === 20, "a word is an address or 32 bytes");
    if (bytes.length === 32) return bytes;
    const padded = new Uint8Array(32);
    padded.set(bytes, 12);
    return padded;
  }
  const number = BigInt(value);
  invariant(number >= 0n && number < WORD_MAX, "a word is a number below 2^256");
  return fromHex(number.toString(16).padStart(64, "0"));
}

/** `abi.encode` of single-word values. */
export function encodeWords(...values: Word[]): Uint8Array {
  const bytes = new Uint8Array(32 * values.length);
  for (const [i, value] of values.entries()) bytes.set(word(value), 32 * i);
  return bytes;
}

export const keccak = (bytes: Uint8Array): Uint8Array => keccak_256(bytes);
export const keccakText = (text: string): Uint8Array =>
  keccak_256(new Uint8Array(Buffer.from(text, "utf8")));

export const hex = (bytes: Uint8Array): Hex => `0x${toHex(bytes)}`;
/** A SHA-256 hash as a word. */
export const hashWord = (hash: Hash): Hex => `0x${hash}`;
/** A word that holds a SHA-256 hash. */
export const wordHash = (text: Hex): Hash => text.slice(2).toLowerCase() as Hash;
