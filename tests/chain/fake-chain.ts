/**
 * A chain by script, for the queue's tests: mempool, blocks, forks, and every fault that an RPC has
 * shown in practice. Transactions count by their data: what starts with 0xff reverts.
 */
import { type Hex, keccak256, parseTransaction, toHex } from "viem";
import { type Rpc, RpcFailure, type RpcHealth } from "../../src/chain/client/rpc.ts";
import { MagnetError } from "../../src/core/errors.ts";

export interface PoolTransaction {
  hash: Hex;
  nonce: number;
  data: Hex;
  to: Hex | null;
  max_fee: bigint;
}
interface Block {
  number: number;
  hash: Hex;
  timestamp: number;
  transactions: PoolTransaction[];
}

/** The process died here. */
export class Crash extends Error {}

export class FakeChain implements Rpc {
  readonly name = "fake";
  chain_id = 31337;
  base_fee = 100n;
  tip = 1n;
  time_s = 1_000_000;
  /** Refuses everything with RPC_DOWN. */
  down = false;
  /** The account's coin; a transaction needs gas * fee. */
  funds = 10n ** 30n;
  /** Requests left until the process dies, before (or after) the request has its effect. */
  crash_in: number | undefined;
  crash_after_effect = false;
  /** Pretends not to know receipts (a machine of the RPC that lags). */
  hide_receipts = false;
  /** Answers by method that are errors. */
  failures = new Map<string, RpcFailure>();
  requests: string[] = [];
  pool = new Map<Hex, PoolTransaction>();
  blocks: Block[] = [{ number: 0, hash: keccak256("0x"), timestamp: 1_000_000, transactions: [] }];
  private fork = 0;
  private state: RpcHealth = { state: "unknown", since_ms: 0, reason: "" };

  health(): RpcHealth {
    return this.state;
  }

  get head(): Block {
    return this.blocks.at(-1)!;
  }

  /** Everything in blocks, in order. */
  get mined(): PoolTransaction[] {
    return this.blocks.flatMap((block) => block.transactions);
  }

  get nextNonce(): number {
    return this.mined.length;
  }

  async request<T>(method: string, params: readonly unknown[] = []): Promise<T> {
    this.requests.push(method);
    const crashes = this.crash_in !== undefined && this.crash_in-- === 0;
    if (crashes && !this.crash_after_effect) throw new Crash(method);
    if (this.down) {
      if (this.state.state !== "down")
        this.state = { state: "down", since_ms: 5, reason: "script" };
      throw new MagnetError("RPC_DOWN", "down", { retryable: true, exit: "chain" });
    }
    if (this.state.state !== "up") this.state = { state: "up", since_ms: 5, reason: "" };
    const failure = this.failures.get(method);
    if (failure) throw failure;
    const answer = this.answer(method, params as never[]);
    if (crashes) throw new Crash(method);
    return answer as T;
  }

  private answer(method: string, [first]: [unknown, ...unknown[]] | never[]): unknown {
    switch (method) {
      case "eth_chainId":
        return toHex(this.chain_id);
      case "eth_getBlockByNumber": {
        const pending = first === "pending";
        const { number, hash, timestamp } = this.head;
        return {
          number: toHex(number + (pending ? 1 : 0)),
          hash,
          timestamp: toHex(pending ? this.time_s : timestamp),
          baseFeePerGas: toHex(this.base_fee),
        };
      }
      case "eth_getTransactionCount":
        return toHex(this.nextNonce);
      case "eth_maxPriorityFeePerGas":
        return toHex(this.tip);
      case "eth_estimateGas": {
        if ((first as { data: Hex }).data.startsWith("0xff")) throw reverted(method);
        return toHex(50_000);
      }
      case "eth_call": {
        if ((first as { data: Hex }).data.startsWith("0xff")) throw reverted(method);
        return "0x";
      }
      case "eth_getTransactionReceipt":
        return this.hide_receipts ? null : this.receipt(first as Hex);
      case "eth_getTransactionByHash":
        return this.pool.get(first as Hex) ?? this.receipt(first as Hex);
      case "eth_sendRawTransaction":
        return this.accept(first as Hex);
      default:
        throw new RpcFailure(method, -32601, "method not found", undefined);
    }
  }

  private receipt(hash: Hex): object | null {
    for (const block of this.blocks)
      for (const { hash: found, data } of block.transactions)
        if (found === hash)
          return {
            transactionHash: hash,
            blockNumber: toHex(block.number),
            blockHash: block.hash,
            status: data.startsWith("0xff") ? "0x0" : "0x1",
            gasUsed: toHex(40_000),
          };
    return null;
  }

  private accept(raw: Hex): Hex {
    const refuse = (message: string) =>
      new RpcFailure("eth_sendRawTransaction", -32000, message, undefined);
    const { nonce = 0, data = "0x", to, maxFeePerGas = 0n, gas = 0n } = parseTransaction(raw);
    const hash = keccak256(raw);
    if (this.pool.has(hash)) throw refuse("already known");
    if (nonce < this.nextNonce) throw refuse("nonce too low");
    if (gas * maxFeePerGas > this.funds) throw refuse("insufficient funds for gas * price + value");
    const rival = [...this.pool.values()].find((other) => other.nonce === nonce);
    if (rival !== undefined) {
      if (maxFeePerGas * 10n < rival.max_fee * 11n)
        throw refuse("replacement transaction underpriced");
      this.pool.delete(rival.hash);
    }
    this.pool.set(hash, {
      hash,
      nonce,
      data,
      to: (to ?? null) as Hex | null,
      max_fee: maxFeePerGas,
    });
    return hash;
  }

  /** Mines blocks with what the pool has at the base fee. */
  mine(count = 1): void {
    for (let i = 0; i < count; i++) {
      const transactions: PoolTransaction[] = [];
      for (let nonce = this.nextNonce; ; nonce++) {
        const found = [...this.pool.values()].find((t) => t.nonce === nonce);
        if (found === undefined || found.max_fee < this.base_fee) break;
        this.pool.delete(found.hash);
        transactions.push(found);
      }
      this.add(transactions);
    }
  }

  private add(transactions: PoolTransaction[]): void {
    const number = this.head.number + 1;
    const hash = keccak256(toHex(`${this.fork}:${number}`));
    this.time_s++;
    this.blocks.push({ number, hash, timestamp: this.time_s, transactions });
    for (const { hash: gone, nonce } of this.pool.values())
      if (nonce < this.nextNonce) this.pool.delete(gone);
  }

  /** A transaction of the same account that is not the queue's, in a block. */
  mineForeign(): void {
    const nonce = this.nextNonce;
    const hash = keccak256(toHex(`foreign ${nonce} ${this.fork}`));
    this.add([{ hash, nonce, data: "0xee", to: null, max_fee: 1n << 60n }]);
  }

  /** Another branch wins: the last blocks are gone, empty ones (and one more) in their place. */
  reorganise(depth: number, lose: (transaction: PoolTransaction) => boolean = () => false): void {
    this.fork++;
    const gone = this.blocks.splice(Math.max(1, this.blocks.length - depth));
    for (const transaction of gone.flatMap((block) => block.transactions))
      if (!lose(transaction)) this.pool.set(transaction.hash, transaction);
    for (let i = 0; i <= gone.length; i++) this.add([]);
  }
}

const reverted = (method: string) =>
  // Error(string) with "no", as solc encodes it.
  new RpcFailure(
    method,
    3,
    "execution reverted: no",
    `0x08c379a0${(32).toString(16).padStart(64, "0")}${(2).toString(16).padStart(64, "0")}${"6e6f".padEnd(64, "0")}`,
  );
