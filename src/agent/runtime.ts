/**
 * A running node: the state machine of node.ts driven by real sockets, timers, disk and training. It
 * decides nothing; every effect is carried out here or in effects.ts and comes back as an event.
 */
import fs from "node:fs";
import path from "node:path";
import type { Clock } from "../core/clock.ts";
import { roomLog } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Tier } from "../core/tiers.ts";
import type { Hash } from "../core/types.ts";
import { walletVerifier } from "../network/auth.ts";
import { serveBlobs } from "../network/bulk.ts";
import { blobGet } from "../network/bulk-messages.ts";
import { openCertificate } from "../network/certificate.ts";
import type { Identity } from "../network/identity.ts";
import { openPeerDatabase } from "../network/peer-database.ts";
import { PinStore } from "../network/tls-pins.ts";
import { createTransport, type Transport } from "../network/transport.ts";
import { BlobStore } from "../storage/blobs.ts";
import { hostDisk } from "../storage/disk.ts";
import { blobFetcher, type FetchBlob } from "./blob-fetcher.ts";
import { CheckpointKeeper } from "./checkpoint-keeper.ts";
import { CurrentState } from "./current-state.ts";
import { openDurableState } from "./durable-state.ts";
import { createEffects } from "./effects.ts";
import { createEventLoop } from "./event-loop.ts";
import { JobRegistry } from "./job-registry.ts";
import { type NetworkFile, networkConfigHash } from "./network-file.ts";
import { createNode, type NodeMachine } from "./node.ts";
import type { NodeEvent } from "./node-types.ts";
import { protocol } from "./protocol.ts";
import { PublishedBlobs } from "./published-blobs.ts";
import { RoundHistory } from "./round-history.ts";

export interface NodeOptions {
  data_dir: string;
  network: NetworkFile;
  identity: Identity;
  listen: { host: string; port: number };
  /** "host:port" that others are told; null: the listening address. */
  advertise: string | null;
  tier: Tier;
  /** "host:port" of peers to knock at, besides the network file's. */
  peers: readonly string[];
  /** Threads of training and merging; 0 = all. */
  threads: number;
  /** Most bytes of blobs on this disk. */
  max_disk_bytes: number;
  clock: Clock;
  random: Random;
}

/** What a round's training has done so far, for status and progress. */
export interface TrainingProgress {
  job_id: Hash;
  step: number;
  steps: number;
  loss: number;
}

export interface RunningNode {
  readonly options: NodeOptions;
  readonly machine: NodeMachine;
  readonly transport: Transport;
  readonly blobs: BlobStore;
  readonly published: PublishedBlobs;
  readonly jobs: JobRegistry;
  readonly history: RoundHistory;
  readonly checkpoints: CheckpointKeeper;
  readonly progress: TrainingProgress | null;
  readonly fetchBlob: FetchBlob;
  feed(event: NodeEvent): void;
  /** Leaves the network; returns when everything is closed. */
  close(): Promise<void>;
}

/** Ticks per heartbeat: the machine asks for at least two. */
const TICKS_PER_HEARTBEAT = 4;

function openNetwork(options: NodeOptions): { transport: Transport; closeDatabase: () => void } {
  const { data_dir, identity, network, clock, random } = options;
  const database = openPeerDatabase(path.join(data_dir, "peers.sqlite"));
  try {
    const certificate = openCertificate(data_dir, identity, walletVerifier, random, clock);
    const transport = createTransport({
      identity,
      network: { id: network.id, config_hash: networkConfigHash(network) },
      listen: options.listen,
      ...(options.advertise === null ? {} : { advertise: options.advertise }),
      tier: options.tier,
      specs: protocol,
      requests: [blobGet],
      certificate,
      pins: new PinStore(database),
      clock,
      random,
      log: roomLog("network"),
    });
    return { transport, closeDatabase: () => database.close() };
  } catch (error) {
    database.close();
    throw error;
  }
}

function makeMachine(options: NodeOptions, transport: Transport): NodeMachine {
  const { identity, network, random, tier } = options;
  const knocked = options.peers.map((address) => ({ address }));
  return createNode({
    signer: identity,
    verifier: walletVerifier,
    random,
    roster: network.roster,
    roster_hash: networkConfigHash(network),
    tier,
    address: transport.advertised,
    bootstrap: [...knocked, ...network.bootstrap],
    timing: network.timing,
  });
}

/** Starts a node on its data folder. Throws PORT_IN_USE, STATE_CORRUPT, disk errors. */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { data_dir, network, clock, threads, max_disk_bytes } = options;
  fs.mkdirSync(data_dir, { recursive: true, mode: 0o700 });
  const durable = openDurableState(path.join(data_dir, "state"));
  const persisted = durable.load();
  const blobs = await BlobStore.open({
    folder: path.join(data_dir, "store"),
    disk: hostDisk,
    quota_bytes: max_disk_bytes,
  });
  const { transport, closeDatabase } = openNetwork(options);
  const published = new PublishedBlobs(blobs);
  serveBlobs(transport, published);
  const machine = makeMachine(options, transport);
  const history = new RoundHistory();
  const current = new CurrentState(data_dir, blobs);
  const fetchBlob = blobFetcher(transport, blobs, path.join(data_dir, "fetch"));
  const log = roomLog("agent");
  let progress: TrainingProgress | null = null;
  const jobs = new JobRegistry({
    blobs,
    published,
    threads,
    fetchBlob,
    onStep: (job_id, step) => {
      progress = { job_id, ...step };
    },
  });
  const feed = (event: NodeEvent) => loop.feed(event);
  const { storage } = network;
  const keeper = { data_dir, blobs, published, fetchBlob, transport, code: storage, log, feed };
  const checkpoints = new CheckpointKeeper(keeper);
  const perform = createEffects({
    data_dir,
    transport,
    durable,
    blobs,
    published,
    jobs,
    current,
    log,
    feed,
    fetchBlob,
    checkpoints,
    promoted: ({ job_id, state_hash }) => {
      const record = history.promoted(machine, clock.now_ms());
      if (!record) return;
      log.info("round_promoted", { round: record.round, state_hash, view: record.view });
      const evaluated = jobs.enqueue(() => jobs.runner(job_id).evaluateState(state_hash));
      evaluated.then(
        ({ loss, bits_per_byte }) => Object.assign(record, { loss_merged: loss, bits_per_byte }),
        (error) => log.debug("merged_state_not_evaluated", { reason: String(error) }),
      );
    },
  });
  const step = (event: NodeEvent, now_ms: number) => {
    const effects = machine.step(event, now_ms);
    history.observe(machine, now_ms);
    return effects;
  };
  const loop = createEventLoop(step, perform, clock);
  transport.on({
    peer_up: ({ public_key, tier, dialed }) => feed({ type: "peer_up", public_key, tier, dialed }),
    peer_down: (public_key, reason) => feed({ type: "peer_down", public_key, reason }),
    message: (from, message) => feed({ type: "message", from, message }),
  });
  for (const { state_hash } of current.states) published.publish(state_hash);
  feed({ type: "start", persisted, states: current.states.map(({ state_hash }) => state_hash) });
  await checkpoints.start();
  const tick_ms = network.timing.heartbeat_ms / TICKS_PER_HEARTBEAT;
  const timer = setInterval(() => feed({ type: "tick" }), tick_ms);
  return {
    options,
    machine,
    transport,
    blobs,
    published,
    jobs,
    history,
    checkpoints,
    fetchBlob,
    feed,
    get progress() {
      return progress;
    },
    async close() {
      clearInterval(timer);
      await transport.close();
      await jobs.close();
      closeDatabase();
    },
  };
}
