/**
 * Signs and delivers: one queued transaction, a replacement, the same bytes again. What may be on
 * its way is in the store before the RPC sees it.
 */
import { type Address, type Hex, keccak256, parseSignature, serializeTransaction } from "viem";
import { MagnetError } from "../../core/errors.ts";
import type { Signer } from "../../network/signer.ts";
import { signDigest } from "./account.ts";
import { chainError, RevertError } from "./errors.ts";
import { type Fees, raiseFees, suggestFees } from "./fees.ts";
import type { ChainView } from "./queue-rules.ts";
import type { QueueStore } from "./queue-store.ts";
import type { Attempt, Entry, QueueLimits } from "./queue-types.ts";
import { type Rpc, RpcFailure } from "./rpc.ts";

/** What the RPC made of a signed transaction. */
type Delivery =
  | { kind: "accepted" }
  /** It will not get in at this fee. */
  | { kind: "underpriced" }
  /** Its nonce is in a block, or in the pool with another transaction. */
  | { kind: "nonce_used" }
  /** `permanent`: these bytes will never be taken. */
  | { kind: "refused"; error: MagnetError; permanent: boolean };

const KNOWN = /already known|already imported|known transaction|already exists/i;
/** Of bytes that were never sent before it means: another program was faster with this nonce. */
const NONCE_USED = /nonce (is )?too low|replacement transaction underpriced/i;
const UNDERPRICED = /underpriced|fee too low|less than (the )?block base fee|fee cap less than/i;
const PERMANENT =
  /intrinsic gas|gas limit|gas too (low|high)|oversized|size limit|init ?code|invalid (sender|chain)/i;
const POOL_FULL = /pool is full|too many|limit of|queue is full/i;

/** A plain transfer, which is what uses up a nonce, costs exactly this. */
const TRANSFER_GAS = 21_000n;

export interface SenderOptions {
  rpc: Rpc;
  chain_id: number;
  signer: Signer;
  address: Address;
  store: QueueStore;
  limits: QueueLimits;
}

export class Sender {
  private readonly options: SenderOptions;

  constructor(options: SenderOptions) {
    this.options = options;
  }

  /** Gas with its margin. Throws what the call would revert with. */
  async gasFor(entry: Entry): Promise<bigint> {
    if (entry.gas !== null) return entry.gas;
    const { rpc, address, limits } = this.options;
    const { to, data, value } = entry;
    const request = { from: address, ...(to && { to }), data, value: `0x${value.toString(16)}` };
    try {
      const estimate = BigInt(await rpc.request<Hex>("eth_estimateGas", [request]));
      return (estimate * BigInt(100 + limits.gas_margin_percent)) / 100n;
    } catch (error) {
      throw chainError(error, entry.what);
    }
  }

  /** The chain's suggestion, held below the cap. Throws FEE_CAP. */
  async fees(): Promise<Fees> {
    const fees = await suggestFees(this.options.rpc);
    this.mustBeBelowCap(fees);
    return fees;
  }

  private mustBeBelowCap({ max_fee }: Fees): void {
    const { fee_cap } = this.options.limits;
    if (max_fee <= fee_cap) return;
    throw new MagnetError(
      "FEE_CAP",
      `the chain asks for ${max_fee} wei per unit of gas, above the cap of ${fee_cap}`,
      { hint: "it is sent once fees have fallen", retryable: true, exit: "chain" },
    );
  }

  /** Transactions of the account that the RPC knows of, those in its pool included. */
  async pendingNonce(): Promise<number> {
    const { rpc, address } = this.options;
    return Number(await rpc.request<Hex>("eth_getTransactionCount", [address, "pending"]));
  }

  private sign(
    entry: Pick<Entry, "to" | "data" | "value">,
    nonce: number,
    gas: bigint,
    fees: Fees,
    view: ChainView,
    cancels = false,
  ): Attempt {
    const { chain_id, signer, address } = this.options;
    const body = cancels
      ? { to: address, data: "0x" as Hex, value: 0n }
      : { to: entry.to, data: entry.data, value: entry.value };
    const price =
      fees.tip === undefined
        ? ({ type: "legacy", gasPrice: fees.max_fee } as const)
        : ({
            type: "eip1559",
            maxFeePerGas: fees.max_fee,
            maxPriorityFeePerGas: fees.tip,
          } as const);
    const unsigned = { ...body, ...price, chainId: chain_id, nonce, gas };
    const signature = signDigest(signer, keccak256(serializeTransaction(unsigned)));
    const raw = serializeTransaction(unsigned, parseSignature(signature));
    const { max_fee, tip = max_fee } = fees;
    return {
      ...{ hash: keccak256(raw), nonce, raw, max_fee, tip, gas },
      ...{ sent_block: view.head, cancels },
    };
  }

  /**
   * Gives the entry its nonce and its first signed form; undefined where another process was
   * faster. Throws NONCE_TAKEN where the wanted nonce is gone.
   */
  prepare(entry: Entry, gas: bigint, fees: Fees, view: ChainView, pending: number) {
    const { store } = this.options;
    return store.exclusively((): Attempt | undefined => {
      if (store.get(entry.key)?.state !== "queued") return undefined;
      const free = Math.max(pending, view.next_nonce, store.highestNonce() + 1);
      const nonce = entry.pinned ? entry.nonce! : free;
      if (nonce < view.next_nonce) throw nonceTaken(entry);
      const attempt = this.sign(entry, nonce, gas, fees, view);
      store.addAttempt(entry.key, attempt);
      const clear = { missing_since_ms: null, missing_since_block: null };
      store.update(entry.key, { state: "sent", nonce, ...clear });
      return attempt;
    });
  }

  /** Signs with a higher fee under the same nonce; undefined where another process was faster. */
  async replacement(entry: Entry, attempts: Attempt[], view: ChainView, cancels: boolean) {
    const { store, rpc } = this.options;
    const last = attempts.at(-1)!;
    const fees = raiseFees(last, await suggestFees(rpc));
    this.mustBeBelowCap(fees);
    const gas = cancels ? TRANSFER_GAS : last.gas;
    return store.exclusively((): Attempt | undefined => {
      if (store.attempts(entry.key).length !== attempts.length) return undefined;
      const attempt = this.sign(entry, last.nonce, gas, fees, view, cancels);
      store.addAttempt(entry.key, attempt);
      return attempt;
    });
  }

  /** Gives signed bytes to the RPC. Throws RPC_DOWN; then nobody knows whether it has them. */
  async deliver(attempt: Attempt, what: string): Promise<Delivery> {
    try {
      await this.options.rpc.request("eth_sendRawTransaction", [attempt.raw]);
      return { kind: "accepted" };
    } catch (error) {
      if (!(error instanceof RpcFailure)) throw error;
      if (KNOWN.test(error.message) || POOL_FULL.test(error.message)) return { kind: "accepted" };
      if (NONCE_USED.test(error.message)) return { kind: "nonce_used" };
      if (UNDERPRICED.test(error.message)) return { kind: "underpriced" };
      const known = chainError(error, what);
      const permanent = known instanceof RevertError || PERMANENT.test(error.message);
      return { kind: "refused", error: known, permanent };
    }
  }

  /**
   * Why a transaction in a block reverted: the same call on the state before that block. The state
   * may differ from what the transaction met, so a call that passes now says only so much.
   */
  async whyReverted(entry: Entry, block_number: number, out_of_gas: boolean): Promise<MagnetError> {
    const { rpc, address } = this.options;
    const { to, data, value, what } = entry;
    const request = { from: address, ...(to && { to }), data, value: `0x${value.toString(16)}` };
    const none = { name: "", args: {} };
    if (out_of_gas)
      return new RevertError("OUT_OF_GAS", `${what} ran out of gas`, { retryable: true }, none);
    try {
      await rpc.request("eth_call", [request, `0x${Math.max(0, block_number - 1).toString(16)}`]);
    } catch (error) {
      if (error instanceof RpcFailure) return chainError(error, what);
      throw error;
    }
    return new RevertError("REVERTED", `${what} reverted in block ${block_number}`, {}, none);
  }
}

/** Somebody else has used the nonce that a transaction had to have. */
export const nonceTaken = (entry: Pick<Entry, "what" | "nonce">): MagnetError =>
  new MagnetError(
    "NONCE_TAKEN",
    `${entry.what} had to be transaction ${entry.nonce} of its account`,
    {
      hint: "the account was used by another program in between; a deployment begins again with --anew",
      exit: "chain",
    },
  );
