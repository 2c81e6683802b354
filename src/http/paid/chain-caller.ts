/**
 * The facilitator's hands on the chain: reads, one lane for its own transactions, and receipts.
 * What failed because the chain could not be asked is kept apart from what the chain refused: the
 * first says nothing about a customer's payment, the second does.
 */
import {
  type Abi,
  type Address,
  BaseError,
  createPublicClient,
  defineChain,
  encodeFunctionData,
  type Hash,
  HttpRequestError,
  http,
  type LocalAccount,
  NonceTooLowError,
  type PublicClient,
  RpcRequestError,
  TimeoutError,
  type TransactionReceipt,
  TransactionReceiptNotFoundError,
} from "viem";
import { CONFIRMATION_MS, FEES_MS, RPC_TIMEOUT_MS } from "./limits.ts";

/** A node's own failure (overload, no state yet), which another try may not meet. */
const NODE_FAILURES = new Set([-32603, -32005, -32001, -32002]);

/** The chain could not be asked, or could not answer. */
export function isUnreachable(error: unknown): boolean {
  if (!(error instanceof BaseError)) return false;
  const found = error.walk(
    (cause) =>
      cause instanceof HttpRequestError ||
      cause instanceof TimeoutError ||
      (cause instanceof RpcRequestError &&
        NODE_FAILURES.has(cause.code) &&
        !/revert/i.test(cause.message)),
  );
  return found !== null;
}

/** Another process sent with the same key in between. */
const isNonceTaken = (error: unknown): boolean =>
  error instanceof BaseError &&
  (error.walk((cause) => cause instanceof NonceTooLowError) !== null ||
    /nonce too low|replacement transaction underpriced|already known/i.test(error.message));

interface Fees {
  maxFeePerGas: bigint;
  maxPriorityFeePerGas: bigint;
}

export interface ContractCall {
  address: Address;
  abi: readonly unknown[];
  functionName: string;
  args?: readonly unknown[];
}

/** Waits between looks for a receipt: quick for a chain that mines at once, then patient. */
const FIRST_WAIT_MS = 4;
const LONGEST_WAIT_MS = 1000;
const SEND_TRIES = 5;

export class ChainCaller {
  readonly client: PublicClient;
  #fees: { at_ms: number; known: Promise<Fees> } | undefined;
  #lane: Promise<unknown> = Promise.resolve();

  constructor(
    rpc_url: string,
    readonly chain_id: number,
    readonly account: LocalAccount,
  ) {
    const chain = defineChain({
      id: chain_id,
      name: `chain ${chain_id}`,
      nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
      rpcUrls: { default: { http: [rpc_url] } },
    });
    const transport = http(rpc_url, { timeout: RPC_TIMEOUT_MS, retryCount: 1, retryDelay: 50 });
    // Answers must be of now: nothing is remembered between two calls.
    this.client = createPublicClient({ chain, transport, cacheTime: 0 });
  }

  read(call: ContractCall): Promise<unknown> {
    return this.client.readContract(call as Parameters<PublicClient["readContract"]>[0]);
  }

  /**
   * Sends one transaction after the other, so that each has its own nonce; the wait for its
   * receipt is not in the lane. `gas` is its limit. Fails with viem's errors.
   */
  send(call: ContractCall, gas: bigint): Promise<Hash> {
    const sent = this.#lane.then(() => this.#send(call, gas));
    this.#lane = sent.catch(() => undefined);
    return sent;
  }

  async #send({ address: to, abi, functionName, args }: ContractCall, gas: bigint): Promise<Hash> {
    const { address } = this.account;
    const data = encodeFunctionData({ abi: abi as Abi, functionName, args: args ?? [] });
    for (let tries = 1; ; tries++) {
      const [nonce, fees] = await Promise.all([
        this.client.getTransactionCount({ address, blockTag: "pending" }),
        this.#feesNow(),
      ]);
      const chainId = this.chain_id;
      const transaction = { type: "eip1559", chainId, nonce, to, data, gas, ...fees } as const;
      const serializedTransaction = await this.account.signTransaction(transaction);
      try {
        return await this.client.sendRawTransaction({ serializedTransaction });
      } catch (error) {
        this.#fees = undefined;
        if (!isNonceTaken(error) || tries >= SEND_TRIES) throw error;
      }
    }
  }

  /** Twice the base fee covers what it can grow to while they are remembered. */
  #feesNow(): Promise<Fees> {
    const now = performance.now();
    if (this.#fees === undefined || now - this.#fees.at_ms > FEES_MS) {
      const known = this.#readFees();
      this.#fees = { at_ms: now, known };
      known.catch(() => {
        this.#fees = undefined;
      });
    }
    return this.#fees.known;
  }

  async #readFees(): Promise<Fees> {
    const [block, maxPriorityFeePerGas] = await Promise.all([
      this.client.getBlock(),
      this.client.estimateMaxPriorityFeePerGas(),
    ]);
    const base = block.baseFeePerGas ?? 0n;
    return { maxFeePerGas: 2n * base + maxPriorityFeePerGas, maxPriorityFeePerGas };
  }

  /** The receipt of a sent transaction. Fails after CONFIRMATION_MS, or where nobody answers. */
  async receipt(hash: Hash): Promise<TransactionReceipt> {
    const end = performance.now() + CONFIRMATION_MS;
    for (let wait_ms = FIRST_WAIT_MS; ; wait_ms = Math.min(2 * wait_ms, LONGEST_WAIT_MS)) {
      try {
        return await this.client.getTransactionReceipt({ hash });
      } catch (error) {
        const absent = error instanceof TransactionReceiptNotFoundError;
        if (!absent || performance.now() + wait_ms > end) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, wait_ms));
    }
  }
}
