/**
 * The node's identity (paper 12): a secp256k1 wallet key. The node id is a label of 64 bits derived
 * from the public key; whoever decides something compares the full key. The private key lives in a
 * closure here and is never a field that could be logged or serialised.
 */
import { getPublicKey, utils } from "@noble/secp256k1";
import { fromHex, sha256, sha256Hex, toHex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { NodeId, PublicKey } from "../core/types.ts";
import { lengthPrefixed, recoverKey, walletSigner } from "./auth.ts";
import type { Signer } from "./signer.ts";

/** A wallet key that can sign, and the label of its public half. */
export interface Identity extends Signer {
  readonly node_id: NodeId;
}

/** `nodeId = "node-" + hex(SHA-256(compressed public key))[0:16]`. */
export const nodeIdOf = (publicKey: PublicKey): NodeId =>
  `node-${sha256Hex(fromHex(publicKey)).slice(0, 16)}` as NodeId;

/** The identity of a 32-byte private key. Throws BAD_PRIVATE_KEY outside 1 <= key < n. */
export function identityOf(privateKey: Uint8Array): Identity {
  if (!utils.isValidSecretKey(privateKey))
    throw new MagnetError(
      "BAD_PRIVATE_KEY",
      "not a secp256k1 private key (32 bytes, 1 <= key < n)",
      {
        hint: "give 64 hexadecimal digits",
        exit: "auth",
      },
    );
  const publicKey = toHex(getPublicKey(privateKey, true)) as PublicKey;
  const { sign } = walletSigner(privateKey, publicKey);
  return { public_key: publicKey, node_id: nodeIdOf(publicKey), sign };
}

/** A fresh private key: 32 random bytes, drawn again in the (2^-128) case that they are no key. */
export function newPrivateKey(random: Random): Uint8Array {
  for (;;) {
    const bytes = random.bytes(32);
    if (utils.isValidSecretKey(bytes)) return bytes;
  }
}

/** What a signature over a user's own text covers: no such text can pass for a protocol message. */
const messageDigest = (text: string) => sha256(lengthPrefixed("magnet message/1", text));

/** Signs a text of the user (`magnet keys sign`); 130 hex digits. */
export const signMessage = (identity: Signer, text: string): string =>
  identity.sign(messageDigest(text));

/** Who signed the text: the full public key, or undefined where the signature is none. */
export const verifyMessage = (text: string, signature: string): PublicKey | undefined =>
  recoverKey(messageDigest(text), signature);
