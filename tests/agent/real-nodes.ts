/**
 * Real nodes in this process: sockets on loopback, disks in a temporary folder, a model of a few
 * thousand parameters. Nothing is mocked; time is the host's, so tests await conditions with a
 * generous limit.
 */
import { afterAll } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { type NetworkFile, networkFileSchema } from "../../src/agent/network-file.ts";
import { type JobSettings, type PreparedJob, prepareJob } from "../../src/agent/prepare-job.ts";
import { type NodeOptions, type RunningNode, startNode } from "../../src/agent/runtime.ts";
import type { Deployment } from "../../src/chain/client/deployment.ts";
import { systemClock } from "../../src/core/clock.ts";
import { seededRandom, systemRandom } from "../../src/core/random.ts";
import type { NodeControl } from "../../src/http/control-server.ts";
import { nodeControl } from "../../src/http/node-control.ts";
import { type ModelConfig, modelConfigSchema } from "../../src/model/config.ts";
import { type Identity, identityOf } from "../../src/network/identity.ts";

const roots: string[] = [];
/** A new folder, removed when the test file has ended. */
export function makeFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-agent-"));
  roots.push(folder);
  return folder;
}
afterAll(() => {
  for (const root of roots) fs.rmSync(root, { recursive: true, force: true });
});

/** Loopback timing: dead within two seconds, so that tests of a death are short. */
const TIMING: NetworkFile["timing"] = {
  heartbeat_ms: 100,
  suspect_ms: 600,
  dead_ms: 1500,
  view_timeout_ms: 2000,
  grace_ms: 5000,
  repair_after_ms: 500,
};

const MODEL = modelConfigSchema.parse({
  variant: "bitnet",
  vocab_size: 300,
  d_model: 64,
  n_layers: 1,
  n_heads: 2,
  n_kv_heads: 1,
  head_dim: 32,
  d_ff: 128,
  context: 32,
});

const SETTINGS: JobSettings = {
  name: "test",
  rounds: 3,
  inner_steps: 3,
  batch: 2,
  inner: {
    lr: 2e-3,
    schedule: "constant",
    beta1: 0.9,
    beta2: 0.98,
    eps: 1e-8,
    weight_decay: 0.1,
    clip: 1,
  },
  outer: { lr: 0.7, momentum: 0.5 },
  compression: "int8",
  round_deadline_ms: 20_000,
  heldout_sequences: 4,
  seed: 1,
};

const WORDS = "the whale sea ship captain of a to and in white harpoon deep crew mast wind".split(
  " ",
);

/** Some text of words, the same for the same seed. */
export function someText(bytes: number, seed = 1): string {
  const random = seededRandom(seed);
  let text = "";
  while (text.length < bytes) text += `${WORDS[random.below(WORDS.length)]!} `;
  return text;
}

/** Prepares a job over its own small text. */
export async function makeJob(
  overrides: Partial<JobSettings> = {},
  model: ModelConfig = MODEL,
): Promise<PreparedJob> {
  const folder = makeFolder();
  const inputs = [0, 1, 2, 3].map((i) => {
    const file = path.join(folder, `text-${i}.txt`);
    fs.writeFileSync(file, someText(12_000, i));
    return file;
  });
  return prepareJob({
    inputs,
    model,
    settings: { ...SETTINGS, ...overrides },
    folder: path.join(folder, "job"),
  });
}

/** Waits until `read` gives a value other than undefined and false. */
export async function until<T>(
  what: string,
  read: () => T | undefined | false,
  limit_ms = 25_000,
): Promise<T> {
  const end = performance.now() + limit_ms;
  for (;;) {
    const value = read();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await Bun.sleep(10);
  }
}

/** One member of a test network: its data folder outlives its runs. */
export class Member {
  node: RunningNode | null = null;
  constructor(
    readonly identity: Identity,
    readonly data_dir: string,
    readonly network: NetworkFile,
  ) {}

  get running(): RunningNode {
    if (!this.node) throw new Error("this member is not running");
    return this.node;
  }
  get control(): NodeControl {
    return nodeControl(this.running, () => undefined);
  }
  get states(): string[] {
    return this.running.history.records.map(({ state_hash }) => state_hash);
  }
  get head(): { round: number; state_hash: string } | null {
    return this.running.machine.view().promoted;
  }

  async start(peers: readonly Member[], overrides: Partial<NodeOptions> = {}): Promise<this> {
    this.node = await startNode({
      data_dir: this.data_dir,
      network: this.network,
      identity: this.identity,
      listen: { host: "127.0.0.1", port: 0 },
      advertise: null,
      tier: "cpu_only",
      peers: peers.map((peer) => peer.running.transport.address),
      threads: 1,
      max_disk_bytes: 1 << 28,
      clock: systemClock,
      random: systemRandom,
      ...overrides,
    });
    return this;
  }

  async stop(): Promise<void> {
    const { node } = this;
    this.node = null;
    await node?.close();
  }

  async submit({ job, files }: PreparedJob): Promise<{ job_id: string; base_hash: string }> {
    return (await this.control.submitJob({ job, files })) as { job_id: string; base_hash: string };
  }
}

/** A network of `members` voters and `strangers` without a vote; nobody runs yet. */
export class TestNetwork {
  readonly members: Member[];
  readonly strangers: Member[];
  readonly network: NetworkFile;
  readonly folder = makeFolder();

  constructor(members: number, strangers = 0, seed = 1, storage = {}, ledger?: Deployment) {
    const identities = Array.from({ length: members + strangers }, (_, i) =>
      identityOf(seededRandom(1000 * seed + i).bytes(32)),
    );
    this.network = networkFileSchema.parse({
      schema: "magnet.network/1",
      id: "testnet",
      roster: identities.slice(0, members).map(({ public_key }) => public_key),
      timing: TIMING,
      storage: { data_shards: 2, parity_shards: 2, ...storage },
      ...(ledger && { ledger }),
    });
    const all = identities.map(
      (identity, i) => new Member(identity, path.join(this.folder, `node-${i}`), this.network),
    );
    this.members = all.slice(0, members);
    this.strangers = all.slice(members);
  }

  get running(): Member[] {
    return [...this.members, ...this.strangers].filter(({ node }) => node !== null);
  }

  /** Starts these members, the first as the one that the others knock at. */
  async start(members: readonly Member[] = this.members): Promise<void> {
    for (const member of members) await member.start(this.running.slice(0, 1));
    await until("everyone to be seen by everyone", () =>
      this.running.every(({ running }) => running.transport.peers().length >= members.length - 1),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.running.map((member) => member.stop()));
  }
}

/** States by round as these nodes saw them; a round on which two nodes differ is an error. */
function agreedStates(members: readonly Member[]): Map<number, string> {
  const states = new Map<number, string>();
  for (const { running } of members)
    for (const { round, state_hash } of running.history.records) {
      const other = states.get(round) ?? state_hash;
      if (other !== state_hash) throw new Error(`two states after round ${round}`);
      states.set(round, state_hash);
    }
  return states;
}

/**
 * Waits until `rounds` rounds are promoted and every one of these nodes has adopted the last of
 * them or a later one (a slow node may pass rounds over). Returns the states, on which all agree.
 */
export async function awaitStates(
  members: readonly Member[],
  rounds: number,
  limit_ms?: number,
): Promise<string[]> {
  const read = () => {
    const agreed = [...agreedStates(members)].sort(([a], [b]) => a - b).slice(0, rounds);
    const last = agreed[rounds - 1]?.[0] ?? Number.POSITIVE_INFINITY;
    const behind = members.some(
      ({ running }) => (running.history.records.at(-1)?.round ?? -1) < last,
    );
    return behind ? undefined : agreed.map(([, state_hash]) => state_hash);
  };
  return until(`${rounds} rounds on ${members.length} nodes`, read, limit_ms);
}
