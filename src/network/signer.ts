/**
 * Signing as an argument: real secp256k1 in a node, cheap stand-ins of the same shape in the
 * simulator's large profiles. Digests are 32 bytes; signatures are 65-byte recoverable ones as 130
 * hex digits.
 */
import type { PublicKey } from "../core/types.ts";

export interface Signer {
  readonly public_key: PublicKey;
  sign(digest: Uint8Array): string;
}

export interface Verifier {
  /** True if `signature` over `digest` was made by exactly this key, with low s. Never throws. */
  verify(digest: Uint8Array, signature: string, public_key: PublicKey): boolean;
}
