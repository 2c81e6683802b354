/**
 * Content identifiers as IPFS has them: CIDv1, codec raw, SHA-256, base32 lower case
 * ("bafkrei..."). The digest inside is the plain SHA-256 of the bytes, so a CID also names the blob
 * that holds them.
 */
import { fromHex, sha256, toHex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Cid, Hash } from "../core/types.ts";

/** Version 1, codec raw (0x55), multihash sha2-256 (0x12) of 32 bytes. */
const PREFIX = [0x01, 0x55, 0x12, 0x20];
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
/**
 * Exactly what cidOf writes: "b" and 36 bytes in base32. The first character after the prefix and
 * the last hold three bits of the hash each; with any other character the text would be no name of
 * a hash.
 */
export const CID_PATTERN = /^bafkrei[a-h][a-z2-7]{50}[aeimquy4]$/;

function base32(bytes: Uint8Array): string {
  let text = "";
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += ALPHABET[(value >> (bits - 5)) & 31];
    value &= 31; // at most 4 bits are left over
  }
  return bits > 0 ? text + ALPHABET[(value << (5 - bits)) & 31] : text;
}

function fromBase32(text: string): Uint8Array {
  const out: number[] = [];
  let bits = 0;
  let value = 0;
  for (const character of text) {
    value = ((value & 0xff) << 5) | ALPHABET.indexOf(character);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      out.push((value >> bits) & 0xff);
    }
  }
  return Uint8Array.from(out);
}

/** The CID of the bytes whose SHA-256 is `hash`. */
export const cidOfHash = (hash: Hash): Cid =>
  `b${base32(Uint8Array.from([...PREFIX, ...fromHex(hash)]))}` as Cid;

export const cidOf = (bytes: Uint8Array): Cid => cidOfHash(toHex(sha256(bytes)) as Hash);

/** The SHA-256 inside a CID. Throws BAD_CID for anything that cidOf does not write. */
export function hashOfCid(cid: string): Hash {
  const hash = CID_PATTERN.test(cid) ? toHex(fromBase32(cid.slice(1)).subarray(PREFIX.length)) : "";
  if (hash.length === 64 && cidOfHash(hash as Hash) === cid) return hash as Hash;
  throw new MagnetError("BAD_CID", "not a CIDv1 (raw, sha2-256, base32)", {
    hint: "object names begin with bafkrei and have 59 characters",
  });
}
