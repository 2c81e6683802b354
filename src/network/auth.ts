/**
 * Wallet signatures (paper 12): r | s | v with v = 27 or 28 (Ethereum's order), low s only, so that
 * one signed thing has one signature; and the length-prefixed joining of fields that everything
 * signed uses.
 */
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 as nobleSha256 } from "@noble/hashes/sha2.js";
import { hashes, recoverPublicKey, sign, verify } from "@noble/secp256k1";
import { fromHex, toHex } from "../core/bytes.ts";
import type { PublicKey } from "../core/types.ts";
import type { Signer, Verifier } from "./signer.ts";

hashes.sha256 = nobleSha256;
hashes.hmacSha256 = (key, message) => hmac(nobleSha256, key, message);

const SIGNATURE = /^[0-9a-f]{128}(1b|1c)$/;

/** Signs 32-byte digests with a wallet key; the key stays in the closure. */
export function walletSigner(privateKey: Uint8Array, publicKey: PublicKey): Signer {
  return {
    public_key: publicKey,
    sign(digest) {
      const raw = sign(digest, privateKey, { prehash: false, format: "recovered" });
      return toHex(raw.subarray(1)) + (raw[0] === 0 ? "1b" : "1c");
    },
  };
}

/** recovery | r | s, the library's order; undefined where the text is no signature. */
function parseSignature(signature: string): Uint8Array | undefined {
  if (!SIGNATURE.test(signature)) return undefined;
  const raw = new Uint8Array(65);
  raw.set(fromHex(signature.slice(0, 128)), 1);
  raw[0] = signature.endsWith("1c") ? 1 : 0;
  return raw;
}

/**
 * The key that signed `digest`, or undefined (bad shape, high s, no point on the curve). Never
 * throws.
 */
export function recoverKey(digest: Uint8Array, signature: string): PublicKey | undefined {
  const raw = parseSignature(signature);
  if (raw === undefined || digest.length !== 32) return undefined;
  try {
    const key = recoverPublicKey(raw, digest, { prehash: false });
    // Recovery accepts high s; verification does not.
    const low = verify(raw, digest, key, { prehash: false, format: "recovered", lowS: true });
    return low ? (toHex(key) as PublicKey) : undefined;
  } catch {
    return undefined; // r or s out of range: a bad signature, not a failure
  }
}

/** Real secp256k1 verification; about 1 ms a signature. */
export const walletVerifier: Verifier = {
  verify: (digest, signature, publicKey) => recoverKey(digest, signature) === publicKey,
};

/**
 * Fields joined as u32 length (big-endian) | bytes: two different lists never give the same bytes.
 */
export function lengthPrefixed(...fields: (string | Uint8Array)[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const field of fields) {
    const bytes = typeof field === "string" ? Buffer.from(field, "utf8") : field;
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    parts.push(length, bytes);
  }
  return new Uint8Array(Buffer.concat(parts));
}
