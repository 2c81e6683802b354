/** The demo's network: keys, network file, agents, and what is asked of them while they run. */
import fs from "node:fs";
import path from "node:path";
import { networkFileSchema } from "../../agent/network-file.ts";
import { MagnetError } from "../../core/errors.ts";
import { systemRandom } from "../../core/random.ts";
import type { PublicKey } from "../../core/types.ts";
import { type ControlClient, connectControl } from "../../http/control-client.ts";
import { nodeIdOf } from "../../network/identity.ts";
import { openIdentity } from "../../network/key-storage.ts";
import type { DemoLedger } from "./ledger.ts";
import { type Agent, startAgent, stopAgents } from "./processes.ts";
import { AGENT_THREADS, AGENTS, DEMO_TIMING } from "./recipe.ts";

const POLL_MS = 200;

export interface RoundSeen {
  round: number;
  leader: string;
  view: number;
  contributors: string[];
  workers: { loss_after: number | null }[];
  state_hash: string;
  loss_merged: number | null;
  bits_per_byte: number | null;
  took_ms: number;
}
export interface StatusSeen {
  phase: string;
  reason: string;
  alive: number;
  training: { step: number; steps: number } | null;
  wire_bytes_out: number;
}
export interface ObjectSeen {
  cid: string;
  /** Of the state, or of the ledger's record, that it holds. */
  content_hash: string | null;
  live: number;
  total: number;
  holders: string[][];
}

export interface Member {
  agent: Agent;
  control: ControlClient;
}

export class Cluster {
  /** Those that live. */
  readonly members: Member[] = [];
  /** Those that have lived. */
  readonly everybody: Agent[] = [];
  readonly #signal: AbortSignal;
  #folders: string[] = [];
  /** Bytes that agents which are gone had sent. */
  #bytes_of_gone = 0;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Makes the agents' folders and keys. */
  prepare(folder: string): PublicKey[] {
    this.#folders = Array.from({ length: AGENTS }, (_, i) => path.join(folder, `agent-${i + 1}`));
    return this.#folders.map((dir) => {
      fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
      return openIdentity({ dir }, systemRandom).identity.public_key;
    });
  }

  /** Writes the network file, starts every agent and waits until all are connected. */
  async start(folder: string, roster: readonly PublicKey[], ledger: DemoLedger): Promise<void> {
    const network_file = path.join(folder, "network.json");
    const network = networkFileSchema.parse({
      schema: "magnet.network/1",
      id: "demo",
      roster,
      timing: DEMO_TIMING,
      ledger: ledger.deployment,
    });
    fs.writeFileSync(network_file, `${JSON.stringify(network, null, 2)}\n`);
    for (const [i, data_dir] of this.#folders.entries()) {
      const peer = this.members[0]?.agent.address;
      const agent = await startAgent({
        index: i + 1,
        data_dir,
        network_file,
        threads: AGENT_THREADS,
        ledger: ledger.flags,
        ...(peer === undefined ? {} : { peer }),
      });
      this.members.push({ agent, control: connectControl(data_dir) });
      this.everybody.push(agent);
    }
    await this.until("the agents to find each other", 20_000, async () => {
      const seen = await Promise.all(this.members.map((member) => this.status(member)));
      return seen.every(({ alive }) => alive === AGENTS) ? true : undefined;
    });
  }

  /**
   * Asks again and again until there is a value. Throws TIMEOUT, or AGENT_GONE for a dead agent.
   */
  async until<T>(
    what: string,
    deadline_ms: number,
    read: () => Promise<T | undefined>,
  ): Promise<T> {
    const deadline = performance.now() + deadline_ms;
    for (;;) {
      this.#signal.throwIfAborted();
      const value = await read();
      if (value !== undefined) return value;
      const gone = this.members.find(({ agent }) => agent.process.exitCode !== null);
      if (gone)
        throw new MagnetError("AGENT_GONE", `agent ${gone.agent.index} ended by itself`, {
          hint: `see ${path.join(gone.agent.data_dir, "agent.log")}`,
        });
      if (performance.now() > deadline)
        throw new MagnetError("TIMEOUT", `waited ${deadline_ms / 1000} s for ${what}`, {
          hint: "the agents' logs, agent.log in their data folders, say why",
          exit: "timeout",
        });
      await Bun.sleep(POLL_MS);
    }
  }

  status = async ({ control }: Member) => (await control.get("/v1/status")) as StatusSeen;
  rounds = async ({ control }: Member) =>
    ((await control.get("/v1/rounds")) as { rounds: RoundSeen[] }).rounds;
  objects = async ({ control }: Member) =>
    ((await control.get("/v1/storage")) as { objects: ObjectSeen[] }).objects;

  /** Bytes that all agents together have put on the wire. */
  async wireBytes(): Promise<number> {
    const seen = await Promise.all(this.members.map((member) => this.status(member)));
    return this.#bytes_of_gone + seen.reduce((sum, s) => sum + s.wire_bytes_out, 0);
  }

  /** SIGKILL: no goodbye, nothing flushed. */
  async kill(member: Member): Promise<void> {
    this.#bytes_of_gone += (await this.status(member)).wire_bytes_out;
    this.members.splice(this.members.indexOf(member), 1);
    member.agent.process.kill("SIGKILL");
    await member.agent.process.exited;
  }

  nodeIdOf(public_key: string): string {
    return nodeIdOf(public_key as Parameters<typeof nodeIdOf>[0]);
  }

  async stop(): Promise<void> {
    await stopAgents(this.members.map(({ agent }) => agent));
  }
}
