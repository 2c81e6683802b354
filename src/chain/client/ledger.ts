/**
 * The deployed ledger, typed: reads, the calls that transactions carry, events. Every failure comes
 * out as a MagnetError with exit code 8. Nothing is sent from here: see TransactionQueue.
 */
import {
  type Address,
  type ContractEventName,
  decodeFunctionResult,
  encodeEventTopics,
  encodeFunctionData,
  type Hex,
  numberToHex,
  type ParseEventLogsReturnType,
  parseEventLogs,
} from "viem";
import type { Clock } from "../../core/clock.ts";
import { MagnetError } from "../../core/errors.ts";
import {
  type AbiOf,
  CONTRACTS,
  type ReadArgs,
  type ReadName,
  type ReadResult,
  type WriteArgs,
  type WriteName,
} from "./abis.ts";
import { type ContractName, contractAddress, type Deployment } from "./deployment.ts";
import { onChain } from "./errors.ts";
import { openRpc, type Rpc } from "./rpc.ts";

/** Public RPCs refuse wider ranges of blocks for logs. */
const LOG_RANGE_BLOCKS = 9_000n;

/** What a transaction does; `what` names it in messages ("epochs.reveal"). */
export interface Call {
  what: string;
  to: Address;
  data: Hex;
}

export interface ChainHead {
  number: bigint;
  hash: Hex;
  /** Seconds. */
  timestamp: number;
}

/** A contract's event as viem types it: name, args, block, transaction. */
export type LedgerEvent<
  N extends ContractName,
  E extends ContractEventName<AbiOf<N>>,
> = ParseEventLogsReturnType<AbiOf<N>, E, true>[number];

export interface LedgerOptions {
  rpc_url: string;
  deployment: Deployment;
  clock: Clock;
  signal?: AbortSignal;
}

interface RawBlock {
  number: Hex;
  hash: Hex;
  timestamp: Hex;
}

/** Throws WRONG_CHAIN where the RPC serves another chain, RPC_DOWN where it does not answer. */
export async function checkChainId(rpc: Rpc, chain_id: number): Promise<void> {
  const found = Number(await onChain("chain id", () => rpc.request<Hex>("eth_chainId")));
  if (found === chain_id) return;
  throw new MagnetError(
    "WRONG_CHAIN",
    `RPC ${rpc.name} serves chain ${found}, the network's ledger is on chain ${chain_id}`,
    { hint: "name an RPC of the right chain with --rpc (setting chain.rpc)", exit: "chain" },
  );
}

export class Ledger {
  readonly rpc: Rpc;
  readonly deployment: Deployment;

  constructor(rpc: Rpc, deployment: Deployment) {
    this.rpc = rpc;
    this.deployment = deployment;
  }

  address(name: ContractName): Address {
    return contractAddress(this.deployment, name);
  }

  /** Throws WRONG_CHAIN, RPC_DOWN, or NOT_DEPLOYED where the addresses hold no code. */
  async check(): Promise<void> {
    await checkChainId(this.rpc, this.deployment.chain_id);
    const code = await onChain("code of params", () =>
      this.rpc.request<Hex>("eth_getCode", [this.address("params"), "latest"]),
    );
    if (code !== "0x") return;
    throw new MagnetError(
      "NOT_DEPLOYED",
      `chain ${this.deployment.chain_id} at ${this.rpc.name} has no ledger at ${this.address("params")}`,
      { hint: "was the chain started anew? magnet chain deploy makes a ledger", exit: "chain" },
    );
  }

  /** Calls a view; of the latest block unless `block` says otherwise. Decoded reverts. */
  async read<
    N extends ContractName,
    F extends ReadName<N>,
    const A extends ReadArgs<N, F> = ReadArgs<N, F>,
  >(name: N, fn: F, args: A, block: bigint | "latest" | "pending" = "latest") {
    const abi = CONTRACTS[name].abi as never;
    const data = encodeFunctionData({ abi, functionName: fn, args } as never);
    const at = typeof block === "bigint" ? numberToHex(block) : block;
    const answer = await onChain(`${name}.${fn}`, () =>
      this.rpc.request<Hex>("eth_call", [{ to: this.address(name), data }, at]),
    );
    return decodeFunctionResult({
      abi,
      functionName: fn,
      args,
      data: answer,
    } as never) as ReadResult<N, F>;
  }

  /** What a transaction has to carry. */
  call<N extends ContractName, F extends WriteName<N>, const A extends WriteArgs<N, F>>(
    name: N,
    fn: F,
    args: A,
  ): Call {
    const abi = CONTRACTS[name].abi as never;
    const data = encodeFunctionData({ abi, functionName: fn, args } as never);
    return { what: `${name}.${fn}`, to: this.address(name), data };
  }

  /** Runs a call in the next block without sending it; throws what it would revert with. */
  async simulate({ what, to, data }: Call, from: Address): Promise<Hex> {
    const request = { from, to, data };
    return await onChain(what, () => this.rpc.request<Hex>("eth_call", [request, "pending"]));
  }

  async head(tag: "latest" | "pending" = "latest"): Promise<ChainHead> {
    const block = await onChain("newest block", () =>
      this.rpc.request<RawBlock>("eth_getBlockByNumber", [tag, false]),
    );
    return { number: BigInt(block.number), hash: block.hash, timestamp: Number(block.timestamp) };
  }

  /**
   * Seconds of the chain's clock: what the next block would carry where the RPC can say it (a chain
   * that only mines for transactions stands still in between), else the newest block's.
   */
  async time(): Promise<number> {
    const { timestamp } = await this.head("pending").catch(() => this.head());
    return timestamp;
  }

  /** Events of one kind in [from, to], oldest first; indexed arguments filter on the chain. */
  async events<N extends ContractName, const E extends ContractEventName<AbiOf<N>>>(
    name: N,
    event: E,
    range: { from: bigint; to?: bigint; args?: Record<string, unknown> },
  ): Promise<LedgerEvent<N, E>[]> {
    const abi = CONTRACTS[name].abi as never;
    const topics = encodeEventTopics({ abi, eventName: event, args: range.args } as never);
    const to = range.to ?? (await this.head()).number;
    const found: unknown[] = [];
    for (let from = range.from; from <= to; from += LOG_RANGE_BLOCKS) {
      const last = from + LOG_RANGE_BLOCKS - 1n;
      const filter = {
        address: this.address(name),
        topics,
        fromBlock: numberToHex(from),
        toBlock: numberToHex(last < to ? last : to),
      };
      const logs = await onChain(`events ${name}.${String(event)}`, () =>
        this.rpc.request<never[]>("eth_getLogs", [filter]),
      );
      found.push(...logs.map(fromRpcLog));
    }
    return parseEventLogs({ abi, logs: found, eventName: event } as never) as never;
  }
}

/** A log with numbers as numbers. */
function fromRpcLog(raw: Record<string, Hex>): Record<string, unknown> {
  return {
    ...raw,
    blockNumber: BigInt(raw.blockNumber!),
    logIndex: Number(raw.logIndex),
    transactionIndex: Number(raw.transactionIndex),
  };
}

/** Opens the ledger of a deployment; asks the chain nothing yet (see `check`). */
export function openLedger({ rpc_url, deployment, clock, signal }: LedgerOptions): Ledger {
  const rpc = openRpc({ url: rpc_url, clock, ...(signal && { signal }) });
  return new Ledger(rpc, deployment);
}
