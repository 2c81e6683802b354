/** Signed transactions as they arrive: decoded, checked for what does not depend on the state. */
import type { Common } from "@ethereumjs/common";
import { Capability, createTxFromRLP, type TypedTransaction } from "@ethereumjs/tx";
import { type Hex, toHex } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";
import { badParams, refused } from "./rpc-error.ts";

/** A transaction whose signature is good. */
export interface SignedTransaction {
  tx: TypedTransaction;
  raw: Uint8Array;
  hash: Hex;
  sender: Hex;
  nonce: bigint;
  gas: bigint;
  /** The most it pays for one unit of gas, and of that to the block's maker. */
  max_fee: bigint;
  max_tip: bigint;
  /** The most it can take from the sender's balance. */
  max_cost: bigint;
}

/** Legacy, access list, dynamic fee: Cancun's types but for blobs, which nobody would keep here. */
const TYPES = new Set([0, 1, 2]);

const feesOf = (tx: TypedTransaction): { max_fee: bigint; max_tip: bigint } => {
  if ("maxFeePerGas" in tx) return { max_fee: tx.maxFeePerGas, max_tip: tx.maxPriorityFeePerGas };
  const { gasPrice } = tx as { gasPrice: bigint };
  return { max_fee: gasPrice, max_tip: gasPrice };
};

function decoded(raw: Uint8Array, common: Common): TypedTransaction {
  try {
    return createTxFromRLP(raw, { common });
  } catch (error) {
    const reason = (error as Error).message;
    if (/chain ?id/i.test(reason)) throw refused("invalid chain id for signer");
    throw badParams(`the transaction cannot be decoded: ${reason.slice(0, 200)}`);
  }
}

function checkKind(raw: Uint8Array, tx: TypedTransaction): void {
  const { type } = tx;
  // Without a chain id the same bytes would count on every chain (EIP-155).
  if (type === 0 && !tx.supports(Capability.EIP155ReplayProtection))
    throw refused("only replay-protected (EIP-155) transactions allowed over RPC");
  if (!tx.isSigned()) throw badParams("the transaction is not signed");
  const { max_fee, max_tip } = feesOf(tx);
  if (max_tip > max_fee) throw refused("max priority fee per gas higher than max fee per gas");
  const again = tx.serialize();
  if (Buffer.compare(again, raw) !== 0)
    throw badParams("the transaction's encoding is not canonical");
}

/** Throws RpcError. Recovers the sender: about half a millisecond. */
export function decodeTransaction(raw: Uint8Array, common: Common): SignedTransaction {
  if (raw.length > CHAIN_LIMITS.transaction_bytes)
    throw refused(
      `oversized data: a transaction has at most ${CHAIN_LIMITS.transaction_bytes} bytes`,
    );
  const type = raw[0] ?? 0;
  if (type < 0x80 && !TYPES.has(type)) throw refused("transaction type not supported");
  const tx = decoded(raw, common);
  checkKind(raw, tx);
  let sender: Hex;
  try {
    sender = tx.getSenderAddress().toString();
  } catch {
    throw refused("invalid sender: the signature is not valid");
  }
  const needed = tx.getIntrinsicGas();
  if (tx.gasLimit < needed)
    throw refused(`intrinsic gas too low: gas ${tx.gasLimit}, minimum needed ${needed}`);
  if (tx.to === undefined && tx.data.length > Number(common.param("maxInitCodeSize")))
    throw refused("max initcode size exceeded");
  const { max_fee, max_tip } = feesOf(tx);
  return {
    ...{ tx, raw, sender, max_fee, max_tip },
    hash: toHex(tx.hash()),
    nonce: tx.nonce,
    gas: tx.gasLimit,
    max_cost: tx.gasLimit * max_fee + tx.value,
  };
}

/** What a transaction pays for one unit of gas in a block with this base fee. */
export function effectivePrice(
  { max_fee, max_tip }: Pick<SignedTransaction, "max_fee" | "max_tip">,
  base_fee: bigint,
): bigint {
  const wanted = base_fee + max_tip;
  return wanted < max_fee ? wanted : max_fee;
}
