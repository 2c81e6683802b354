/**
 * The node's wallet key as an account of the chain: the same secp256k1 key signs gossip, transactions
 * and EIP-712 messages. The key stays in the signer's closure; here are digests and signatures only.
 */
import { Point } from "@noble/secp256k1";
import {
  type Address,
  getAddress,
  type Hex,
  hashMessage,
  hashTypedData,
  hexToBytes,
  keccak256,
  type LocalAccount,
  parseSignature,
  type SerializeTransactionFn,
  serializeTransaction,
  type TransactionSerializable,
  toHex,
} from "viem";
import { toAccount } from "viem/accounts";
import type { PublicKey } from "../../core/types.ts";
import type { Signer } from "../../network/signer.ts";

/** Both coordinates of a public key, as `Nodes.register` takes them. */
export function publicKeyPoint(public_key: PublicKey): { x: Hex; y: Hex } {
  const bytes = Point.fromHex(public_key).toBytes(false);
  return { x: toHex(bytes.subarray(1, 33)), y: toHex(bytes.subarray(33)) };
}

/** The last 20 bytes of keccak256(x, y), with its checksum's capitals. */
export function addressOf(public_key: PublicKey): Address {
  const { x, y } = publicKeyPoint(public_key);
  return getAddress(`0x${keccak256(`${x}${y.slice(2)}`).slice(-40)}`);
}

/** Signs a 32-byte digest: 65 bytes r | s | v, as contracts take them. */
export const signDigest = (signer: Signer, digest: Hex): Hex =>
  `0x${signer.sign(hexToBytes(digest))}`;

/** The signer as viem's account: transactions, messages (EIP-191) and typed data (EIP-712). */
export function ledgerAccount(signer: Signer): LocalAccount<"magnet"> {
  async function signTransaction<
    S extends
      SerializeTransactionFn<TransactionSerializable> = SerializeTransactionFn<TransactionSerializable>,
  >(transaction: Parameters<S>[0], options?: { serializer?: S }): Promise<Hex> {
    const serialize = (options?.serializer ??
      serializeTransaction) as SerializeTransactionFn<TransactionSerializable>;
    const digest = keccak256(await serialize(transaction));
    return await serialize(transaction, parseSignature(signDigest(signer, digest)));
  }
  const account = toAccount({
    address: addressOf(signer.public_key),
    sign: async ({ hash }) => signDigest(signer, hash),
    signMessage: async ({ message }) => signDigest(signer, hashMessage(message)),
    signTransaction: signTransaction as never,
    signTypedData: async (data) => signDigest(signer, hashTypedData(data as never)),
  });
  const { x, y } = publicKeyPoint(signer.public_key);
  return { ...account, publicKey: `0x04${x.slice(2)}${y.slice(2)}`, source: "magnet" };
}
