/**
 * Stand-ins for signing: same shapes as secp256k1, no mathematics. A signature is the digest and
 * the key, so a signature of another text or another node never verifies, and a million cost a
 * second.
 */
import { sha256Hex, toHex } from "../core/bytes.ts";
import type { PublicKey } from "../core/types.ts";
import type { Signer, Verifier } from "../network/signer.ts";

/** Where the simulator's nodes get their keys; real cryptography may be handed in instead. */
export interface KeySource {
  signer(index: number): Signer;
  verifier: Verifier;
}

const signature = (digest: Uint8Array, key: PublicKey): string =>
  `${toHex(digest)}${key.slice(2)}00`;

/** Keys that depend on the seed only. */
export const standInKeys = (seed: number): KeySource => ({
  signer: (index) => {
    const public_key = `02${sha256Hex(`sim-key/${seed}/${index}`)}` as PublicKey;
    return { public_key, sign: (digest) => signature(digest, public_key) };
  },
  verifier: { verify: (digest, given, key) => given === signature(digest, key) },
});
