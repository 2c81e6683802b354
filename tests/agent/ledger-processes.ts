/**
 * Agents as processes of their own on one ledger, and a chain whose time the test moves from window to
 * window. Cheats are made here, with keys of their own and plain transactions: the program has no flag
 * for any. Nothing waits for a duration: states are asked for until they are there.
 */
import fs from "node:fs";
import path from "node:path";
import type { Hex } from "viem";
import type { NetworkFile } from "../../src/agent/network-file.ts";
import { addressOf } from "../../src/chain/client/account.ts";
import type { Deployment } from "../../src/chain/client/deployment.ts";
import { type Call, Ledger } from "../../src/chain/client/ledger.ts";
import { openRpc } from "../../src/chain/client/rpc.ts";
import { TransactionQueue } from "../../src/chain/client/transaction-queue.ts";
import type { Address, LedgerStatus } from "../../src/chain/ledger/ledger-types.ts";
import { systemClock } from "../../src/core/clock.ts";
import { type ControlClient, connectControl } from "../../src/http/control-client.ts";
import type { Identity } from "../../src/network/identity.ts";
import { MAIN } from "../cli/magnet.ts";

/** Longest wait for a state, far above what it takes: a busy machine must not fail the test. */
const STATE_LIMIT_MS = 60_000;

/** Steps in which chain time passes while the test waits for a turn of nodes. */
const MOVE_S = 5;
const MOVE_PAUSE_MS = 1500;

/** Asks until there is a value; between two questions the event loop runs, nothing else. */
export async function eventually<T>(
  what: string,
  read: () => Promise<T | undefined | false | null>,
): Promise<T> {
  const end = performance.now() + STATE_LIMIT_MS;
  for (;;) {
    const value = await read();
    if (value !== undefined && value !== false && value !== null) return value;
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await Bun.sleep(20);
  }
}

/** The ledger as tests see it: reads, the chain's time, transactions of a test's own key. */
export class ChainHand {
  readonly ledger: Ledger;
  readonly deployment: Deployment;

  constructor(url: string, deployment: Deployment) {
    this.deployment = deployment;
    this.ledger = new Ledger(openRpc({ url, clock: systemClock }), deployment);
  }

  endOf(epoch: number): number {
    const { genesis, epoch_seconds } = this.deployment;
    return genesis + (epoch + 1) * epoch_seconds;
  }

  /** Moves the chain's time to this second, with a block. */
  async travelTo(time_s: number): Promise<void> {
    const ahead = time_s - (await this.ledger.time());
    if (ahead > 0) await this.ledger.rpc.request("evm_increaseTime", [ahead]);
    await this.ledger.rpc.request("evm_mine");
  }

  /**
   * Waits for a state that takes chain time, of which as much passes as is needed but no more than
   * `most_s`: nodes take turns by it.
   */
  async passing<T>(
    what: string,
    most_s: number,
    read: () => Promise<T | undefined | false | null>,
  ): Promise<T> {
    const end_s = (await this.ledger.time()) + most_s;
    let moved_ms = performance.now();
    return eventually(what, async () => {
      const value = await read();
      const isHere = value !== undefined && value !== false && value !== null;
      // Not faster than nodes on a busy machine act: a window must not be over before they have.
      if (isHere || performance.now() - moved_ms < MOVE_PAUSE_MS) return value;
      moved_ms = performance.now();
      const now_s = await this.ledger.time();
      if (now_s + MOVE_S <= end_s) await this.travelTo(now_s + MOVE_S);
      return value;
    });
  }

  /** A transaction of a test's own key; throws what it reverts with. */
  async send(identity: Identity, call: Call): Promise<void> {
    const { rpc } = this.ledger;
    const { chain_id } = this.deployment;
    const queue = new TransactionQueue({
      ...{ rpc, chain_id, signer: identity, file: ":memory:", clock: systemClock },
    });
    try {
      queue.submit({ key: "one", ...call });
      const { state, reason } = await queue.wait("one", { poll_ms: 20 });
      if (state !== "mined") throw new Error(`${call.what} ${state}: ${reason?.message}`);
    } finally {
      await queue.close();
    }
  }

  balanceOf(address: Address): Promise<bigint> {
    return this.ledger.read("magToken", "balanceOf", [address]);
  }
  bondOf(address: Address): Promise<bigint> {
    return this.ledger.read("nodes", "nodeOf", [address]).then(({ bond }) => bond);
  }
  claimedBy(address: Address): Promise<bigint> {
    return this.ledger.read("epochs", "claimed", [address]);
  }
}

export interface RoundShown {
  round: number;
  job_id: string;
  contributors: string[];
  loss_merged: number | null;
  state_hash: string;
}

/** One agent: a data folder with a key, and a process on it while it runs. */
export class Agent {
  readonly address: Address;
  #child: Bun.Subprocess | undefined;
  #starts = 0;
  wss = "";

  constructor(
    readonly name: string,
    readonly identity: Identity,
    readonly data_dir: string,
    readonly network_file: string,
  ) {
    this.address = addressOf(identity.public_key).toLowerCase() as Address;
  }

  get control(): ControlClient {
    return connectControl(this.data_dir);
  }

  /** `ledger`: flags by which it takes part; none: it trains only. */
  async start(peer: Agent | undefined, ledger: readonly string[]): Promise<void> {
    const ready = path.join(this.data_dir, `ready-${this.#starts++}.json`);
    const flags = [
      ...["--data-dir", this.data_dir, "--network", this.network_file, "--ready-file", ready],
      ...["--listen", "127.0.0.1:0", "--threads", "1", ...ledger],
      ...(peer ? ["--peer", peer.wss] : []),
    ];
    const log = Bun.file(path.join(this.data_dir, "agent.log"));
    const child = Bun.spawn([...MAIN.command, "join", ...flags], {
      cwd: this.data_dir,
      env: { PATH: process.env.PATH!, HOME: this.data_dir },
      stdout: "ignore",
      stderr: log,
    });
    this.#child = child;
    const { address } = await eventually(`${this.name} to be ready`, async () => {
      if (child.exitCode !== null)
        throw new Error(`${this.name} ended with ${child.exitCode}: ${await log.text()}`);
      if (!fs.existsSync(ready)) return undefined;
      return JSON.parse(fs.readFileSync(ready, "utf8")) as { address: string };
    });
    this.wss = address;
  }

  /** SIGKILL: no goodbye, nothing flushed. */
  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.exited;
    this.#child = undefined;
  }

  async status(): Promise<LedgerStatus & { stake: { state: string; reason: string } }> {
    return (await this.control.get("/v1/ledger")) as Awaited<ReturnType<Agent["status"]>>;
  }

  async epoch(number: number): Promise<LedgerStatus["epochs"][number] | undefined> {
    return (await this.status()).epochs.find(({ epoch }) => epoch === number);
  }

  async rounds(): Promise<RoundShown[]> {
    return ((await this.control.get("/v1/rounds")) as { rounds: RoundShown[] }).rounds;
  }
}

/** A network file over these keys. */
export function writeNetwork(file: string, network: NetworkFile): void {
  fs.writeFileSync(file, JSON.stringify(network, null, 2));
}

export const word = (text: string): Hex => `0x${text}`;
