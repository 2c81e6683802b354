/**
 * eth_call and eth_estimateGas: runs a call on a copy of some block's state and keeps nothing. Gas is
 * counted as for a real transaction: intrinsic gas, warm addresses, refunds.
 */
import { EVMError } from "@ethereumjs/evm";
import { Account, Address } from "@ethereumjs/util";
import type { VM } from "@ethereumjs/vm";
import { CallQueue } from "./call-queue.ts";
import type { EmbeddedChain } from "./chain.ts";
import { type BlockSetting, blockOf, openVm } from "./execute.ts";
import { fromHex, type Hex, toHex } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";
import { revertReason } from "./revert-reason.ts";
import { RpcError, refused } from "./rpc-error.ts";
import type { ChainState } from "./state.ts";

/** An unsigned transaction as the caller described it. */
export interface CallRequest {
  from: Hex;
  /** Absent: a contract is created. */
  to?: Hex | undefined;
  data: Uint8Array;
  value: bigint;
  gas?: bigint | undefined;
  /** 0: gas costs nothing, and the base fee counts as 0. */
  gas_price: bigint;
  access_list: { address: Hex; slots: Hex[] }[];
}

/** Accounts as they should be for this call alone. */
export type StateOverrides = Record<
  Hex,
  {
    balance?: bigint;
    nonce?: bigint;
    code?: Uint8Array;
    /** Replaces the whole storage, or only the slots that it names. */
    state?: Record<Hex, Hex>;
    state_diff?: Record<Hex, Hex>;
  }
>;

/** Where a call runs: a block's surroundings, and the state it starts from. */
export interface CallPlace {
  setting: BlockSetting;
  state_root: Uint8Array;
  overrides?: StateOverrides | undefined;
}

export interface CallOutcome {
  /** What the sender of such a transaction would pay for. */
  gas_used: bigint;
  /** The same before the refund: the transaction needs it to run. */
  gas_needed: bigint;
  returned: Uint8Array;
  /** Undefined where the call succeeded. */
  failure: string | undefined;
}

/** Cancun's intrinsic gas (EIP-2028, EIP-2930, EIP-3860). */
export function intrinsicGas({
  to,
  data,
  access_list,
}: Pick<CallRequest, "to" | "data" | "access_list">): bigint {
  let gas = 21_000n;
  for (const byte of data) gas += byte === 0 ? 4n : 16n;
  if (to === undefined) gas += 32_000n + 2n * BigInt(Math.ceil(data.length / 32));
  for (const { slots } of access_list) gas += 2400n + 1900n * BigInt(slots.length);
  return gas;
}

const addressOf = (text: Hex) => new Address(fromHex(text));

async function override(state: ChainState, overrides: StateOverrides): Promise<void> {
  for (const [key, given] of Object.entries(overrides)) {
    const place = addressOf(key as Hex);
    const account = state.accountOf(key) ?? new Account();
    if (given.balance !== undefined) account.balance = given.balance;
    if (given.nonce !== undefined) account.nonce = given.nonce;
    await state.putAccount(place, account);
    if (given.code !== undefined) await state.putCode(place, given.code);
    if (given.state !== undefined) await state.clearStorage(place);
    for (const [slot, value] of Object.entries({ ...given.state, ...given.state_diff }))
      await state.putStorage(place, fromHex(slot), fromHex(value));
  }
}

/** The sender pays for its gas beforehand, as in a transaction. Throws where it cannot. */
async function payForGas(state: ChainState, call: CallRequest, gas: bigint): Promise<void> {
  const account = state.accountOf(call.from) ?? new Account();
  const cost = gas * call.gas_price;
  if (account.balance < cost + call.value)
    throw refused(
      `insufficient funds for gas * price + value: address ${call.from} have ${account.balance} want ${cost + call.value}`,
    );
  if (cost === 0n) return;
  account.balance -= cost;
  await state.putAccount(addressOf(call.from), account);
}

/** A fresh transaction's surroundings: nothing transient, and what is warm from its start. */
function warm(vm: VM, setting: ReturnType<typeof blockOf>, call: CallRequest): void {
  const { journal, precompiles, transientStorage } = vm.evm as unknown as {
    transientStorage: { clear(): void };
    journal: {
      cleanJournal(): void;
      addAlwaysWarmAddress(address: string): void;
      addAlwaysWarmSlot(address: string, slot: string): void;
    };
    precompiles: Map<string, unknown>;
  };
  journal.cleanJournal();
  transientStorage.clear(); // it lives as long as a transaction (EIP-1153)
  for (const address of precompiles.keys()) journal.addAlwaysWarmAddress(address);
  journal.addAlwaysWarmAddress(call.from);
  if (call.to !== undefined) journal.addAlwaysWarmAddress(call.to);
  journal.addAlwaysWarmAddress(setting.header.coinbase.toString());
  for (const { address, slots } of call.access_list) {
    journal.addAlwaysWarmAddress(address);
    for (const slot of slots) journal.addAlwaysWarmSlot(address, slot);
  }
}

/**
 * A state and an EVM on it; each call leaves the state as it was. Making an EVM costs more than most
 * calls, so one serves them all, one after the other, from whatever block they start.
 */
export class CallRunner {
  readonly #state: ChainState;
  readonly #vm: VM;
  #root: Uint8Array;
  #block: { key: string; block: ReturnType<typeof blockOf> } | undefined;

  private constructor(state: ChainState, vm: VM, root: Uint8Array) {
    this.#state = state;
    this.#vm = vm;
    this.#root = root;
  }

  static async open(chain: EmbeddedChain): Promise<CallRunner> {
    const root = chain.head.header.state_root;
    const state = chain.stateAt(root);
    const vm = await openVm(state, chain.common, (number) => chain.hashOf(number));
    return new CallRunner(state, vm, root);
  }

  /** Runs `use` on the state of `place`, its overrides applied; then all is as before. */
  async at<T>(place: CallPlace, use: () => Promise<T>): Promise<T> {
    const full = this.#state.cached_values > CHAIN_LIMITS.cached_values;
    if (full || Buffer.compare(place.state_root, this.#root) !== 0) {
      await this.#state.setStateRoot(place.state_root);
      this.#root = place.state_root;
    }
    await this.#state.checkpoint();
    try {
      if (place.overrides !== undefined) await override(this.#state, place.overrides);
      return await use();
    } finally {
      await this.#state.revert();
    }
  }

  #blockOf({ setting }: CallPlace, base_fee: bigint) {
    const { number, timestamp, parent_hash } = setting;
    const key = `${number} ${timestamp} ${base_fee} ${toHex(parent_hash)}`;
    if (this.#block?.key !== key)
      this.#block = { key, block: blockOf({ ...setting, base_fee }, this.#vm.common) };
    return this.#block.block;
  }

  /** Throws RpcError where the call cannot even begin. */
  async run(place: CallPlace, call: CallRequest, gas: bigint): Promise<CallOutcome> {
    const intrinsic = intrinsicGas(call);
    if (gas < intrinsic)
      return {
        ...{ gas_used: gas, gas_needed: gas, returned: new Uint8Array(0) },
        failure: `intrinsic gas too low: gas ${gas}, minimum needed ${intrinsic}`,
      };
    await this.#state.checkpoint();
    try {
      await payForGas(this.#state, call, gas);
      return await this.#execute(place, call, gas, intrinsic);
    } finally {
      await this.#state.revert();
    }
  }

  async #execute(
    place: CallPlace,
    call: CallRequest,
    gas: bigint,
    intrinsic: bigint,
  ): Promise<CallOutcome> {
    const base_fee = call.gas_price === 0n ? 0n : place.setting.base_fee;
    const block = this.#blockOf(place, base_fee);
    warm(this.#vm, block, call);
    const caller = addressOf(call.from);
    const { execResult } = await this.#vm.evm.runCall({
      ...{ block, caller, origin: caller, gasPrice: call.gas_price, gasLimit: gas - intrinsic },
      ...(call.to === undefined ? {} : { to: addressOf(call.to) }),
      ...{ data: call.data, value: call.value },
    });
    const needed = intrinsic + execResult.executionGasUsed;
    const refund = execResult.gasRefund ?? 0n;
    const refunded = refund < needed / 5n ? refund : needed / 5n;
    return {
      ...{ gas_used: needed - refunded, gas_needed: needed, returned: execResult.returnValue },
      failure: execResult.exceptionError?.error,
    };
  }
}

/** The failure as clients expect it: reverts carry their data. */
function failureOf({ failure, returned }: CallOutcome): RpcError {
  if (failure !== EVMError.errorMessages.REVERT) return refused(failure ?? "the call failed");
  const reason = revertReason(returned);
  const message = reason === undefined ? "execution reverted" : `execution reverted: ${reason}`;
  return new RpcError("reverted", message, toHex(returned));
}

/** Math.min does not take bigints. */
function least(a: bigint, b: bigint): bigint {
  if (a < b) return a;
  return b;
}

/** The calls of one chain: they take turns on one EVM. */
export class Calls {
  readonly #chain: EmbeddedChain;
  readonly #queue = new CallQueue({
    waiting: CHAIN_LIMITS.calls_waiting,
    wait_ms: CHAIN_LIMITS.call_wait_ms,
  });
  #runner: CallRunner | undefined;

  constructor(chain: EmbeddedChain) {
    this.#chain = chain;
  }

  #turn<T>(place: CallPlace, use: (runner: CallRunner) => Promise<T>): Promise<T> {
    return this.#queue.run(async () => {
      this.#runner ??= await CallRunner.open(this.#chain);
      const runner = this.#runner;
      try {
        return await runner.at(place, () => use(runner));
      } catch (error) {
        // What is no answer to the caller may have left the EVM in the middle of something.
        if (!(error instanceof RpcError)) this.#runner = undefined;
        throw error;
      }
    });
  }

  /** What the call returns. Throws RpcError with the revert's data. */
  call(place: CallPlace, call: CallRequest): Promise<Uint8Array> {
    return this.#turn(place, async (runner) => {
      const gas = least(call.gas ?? CHAIN_LIMITS.call_gas, CHAIN_LIMITS.call_gas);
      const outcome = await runner.run(place, call, gas);
      if (outcome.failure !== undefined) throw failureOf(outcome);
      return outcome.returned;
    });
  }

  /**
   * The least gas limit that the call succeeds with. A call may need more than it uses: a refund
   * comes only at its end, and each inner call gets at most 63/64 of what is left. So the limit is
   * searched by running, as long as CHAIN_LIMITS.estimate_gas lasts. Throws RpcError where no limit
   * is enough.
   */
  estimate(place: CallPlace, call: CallRequest): Promise<bigint> {
    const ceiling = gasCeiling(this.#chain, place, call);
    return this.#turn(place, (runner) => leastGas(runner, place, call, ceiling));
  }
}

async function leastGas(
  runner: CallRunner,
  place: CallPlace,
  call: CallRequest,
  ceiling: bigint,
): Promise<bigint> {
  let enough = ceiling;
  const first = await runner.run(place, call, enough);
  if (first.failure !== undefined) throw failureOf(first);
  let spent = first.gas_needed;
  const works = async (gas: bigint) => {
    const { failure, gas_needed } = await runner.run(place, call, gas);
    spent += failure === undefined ? gas_needed : gas;
    return failure === undefined;
  };
  if (first.gas_needed >= enough || (await works(first.gas_needed)))
    return least(first.gas_needed, enough);
  let short = first.gas_needed;
  // Usually a little more is enough: tried before the whole range is halved.
  const guess = ((first.gas_needed + 2300n) * 64n) / 63n;
  if (guess < enough && (await works(guess))) enough = guess;
  while (enough - short > 1n && spent < CHAIN_LIMITS.estimate_gas) {
    const middle = (enough + short) / 2n;
    if (await works(middle)) enough = middle;
    else short = middle;
  }
  return enough;
}

/** Most gas that the sender may and can pay for. */
function gasCeiling(chain: EmbeddedChain, place: CallPlace, call: CallRequest): bigint {
  const most = least(call.gas ?? chain.genesis.gas_limit, chain.genesis.gas_limit);
  if (call.gas_price === 0n) return most;
  const given = place.overrides?.[call.from]?.balance;
  const balance = given ?? chain.stateAt(place.state_root).accountOf(call.from)?.balance ?? 0n;
  if (balance < call.value) return most; // running it says what is missing
  return least(most, (balance - call.value) / call.gas_price);
}
