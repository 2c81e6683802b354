/**
 * A running node: the state machine of node.ts driven by real sockets, timers, disk and training.
 * It decides nothing; every effect is carried out here or in effects.ts and comes back as an event.
 */
import fs from "node:fs";
import path from "node:path";
import type { Clock } from "../core/clock.ts";
import { type MagnetError, toMagnetError } from "../core/errors.ts";
import { roomLog } from "../core/log.ts";
import type { Random } from "../core/random.ts";
import type { Tier } from "../core/tiers.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import { type ChosenDevice, ON_CPU } from "../native/device.ts";
import { serveBlobs } from "../network/bulk.ts";
import type { Identity } from "../network/identity.ts";
import type { Transport } from "../network/transport.ts";
import { BlobStore } from "../storage/blobs.ts";
import { hostDisk } from "../storage/disk.ts";
import { blobFetcher, dropOldParts, type FetchBlob } from "./blob-fetcher.ts";
import { BlobSweeper } from "./blob-sweeper.ts";
import { CheckpointKeeper } from "./checkpoint-keeper.ts";
import { closeAll } from "./close-all.ts";
import { CurrentState } from "./current-state.ts";
import { openDurableState } from "./durable-state.ts";
import { createEffects } from "./effects.ts";
import { createEventLoop } from "./event-loop.ts";
import { JobRegistry } from "./job-registry.ts";
import { type LedgerJoin, LedgerPart } from "./ledger/ledger-part.ts";
import { isInUse, neededBlobs } from "./needed-blobs.ts";
import { type NetworkFile, networkConfigHash } from "./network-file.ts";
import type { NodeMachine } from "./node.ts";
import type { NodeEvent } from "./node-types.ts";
import { makeMachine, openNetwork } from "./open-node.ts";
import { firstOf, PublishedBlobs } from "./published-blobs.ts";
import { NO_RESEARCH, ResearchPart } from "./research/research-part.ts";
import type { ResearchOffer } from "./research/trial-executor.ts";
import { RoundHistory } from "./round-history.ts";
import { TrailStore } from "./trail/trail-store.ts";
import { AuditFiles } from "./training-audits/audit-files.ts";
import { type AuditOptions, TrainingAudits } from "./training-audits/training-audits.ts";

export interface NodeOptions {
  data_dir: string;
  network: NetworkFile;
  identity: Identity;
  listen: { host: string; port: number };
  /** "host:port" that others are told; null: the listening address. */
  advertise: string | null;
  tier: Tier;
  /** Where it trains; the CPU unless given. */
  device?: ChosenDevice;
  /** "host:port" of peers to knock at, besides the network file's. */
  peers: readonly string[];
  /** Threads of training and merging; 0 = all. */
  threads: number;
  /** Most bytes of blobs on this disk. */
  max_disk_bytes: number;
  clock: Clock;
  random: Random;
  /** How to take part in the network's ledger, where the network file names one. */
  ledger?: LedgerJoin;
  /** Only tests set them. */
  audits?: AuditOptions;
  /** Trials of research that this node runs for other members; none unless given. */
  research?: ResearchOffer;
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
  /** Where it trains. */
  readonly device: ChosenDevice;
  readonly machine: NodeMachine;
  readonly transport: Transport;
  readonly blobs: BlobStore;
  readonly published: PublishedBlobs;
  readonly jobs: JobRegistry;
  readonly trails: TrailStore;
  readonly audits: TrainingAudits;
  readonly history: RoundHistory;
  readonly checkpoints: CheckpointKeeper;
  /** Null in a network without a ledger. */
  readonly ledger: LedgerPart | null;
  readonly research: ResearchPart;
  readonly progress: TrainingProgress | null;
  readonly fetchBlob: FetchBlob;
  /**
   * Fulfilled when the node cannot go on (its disk is full, its state is broken); close it then.
   */
  readonly failure: Promise<MagnetError>;
  feed(event: NodeEvent): void;
  /** Leaves the network, ends local training; returns when everything is closed. */
  close(): Promise<void>;
}

/** Of the node's disk: points of its rounds, for audits and for going on after a restart. */
const TRAIL_SHARE = 0.5;
/** Of the node's disk: points of other nodes, while they are audited or as evidence. */
const AUDIT_SHARE = 0.25;
/** Ticks per heartbeat: the machine asks for at least two. */
const TICKS_PER_HEARTBEAT = 4;

/**
 * Starts a node on its data folder. Throws PORT_IN_USE, STATE_CORRUPT, disk errors; nothing is left
 * open then.
 */
export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const closers: (() => unknown)[] = [];
  try {
    return await startParts(options, closers);
  } catch (error) {
    await closeAll(closers).catch(() => undefined); // why it did not start matters more
    throw error;
  }
}

async function startParts(options: NodeOptions, closers: (() => unknown)[]): Promise<RunningNode> {
  const { data_dir, network, clock, threads, max_disk_bytes, device = ON_CPU } = options;
  fs.mkdirSync(data_dir, { recursive: true, mode: 0o700 });
  const durable = openDurableState(path.join(data_dir, "state"));
  const persisted = durable.load();
  const blobs = await BlobStore.open({
    folder: path.join(data_dir, "store"),
    disk: hostDisk,
    quota_bytes: max_disk_bytes,
  });
  const fetch_dir = path.join(data_dir, "fetch");
  await dropOldParts(fetch_dir, clock.now_ms());
  const { transport, closeDatabase } = openNetwork(options);
  closers.push(closeDatabase, () => transport.close());
  const published = new PublishedBlobs(blobs);
  const research = await ResearchPart.open({
    ...{ data_dir, transport, max_disk_bytes, clock, signer: options.identity },
    network: networkConfigHash(network),
    roster: network.roster,
    offer: options.research ?? NO_RESEARCH,
  });
  closers.push(() => research.close());
  const isMember = (key: PublicKey) => network.roster.includes(key);
  const trails = await TrailStore.open({
    folder: path.join(data_dir, "trails"),
    quota_bytes: Math.floor(max_disk_bytes * TRAIL_SHARE),
    public_key: options.identity.public_key,
    isMember,
  });
  const audit_files = await AuditFiles.open({
    ...{ folder: path.join(data_dir, "audits"), transport, isMember },
    quota_bytes: Math.floor(max_disk_bytes * AUDIT_SHARE),
  });
  serveBlobs(transport, firstOf(published, research.published, trails, audit_files));
  const machine = makeMachine(options, transport);
  const history = new RoundHistory();
  const current = new CurrentState(data_dir, blobs);
  const fetchBlob = blobFetcher(transport, blobs, fetch_dir, max_disk_bytes);
  const log = roomLog("agent");
  const failure = Promise.withResolvers<MagnetError>();
  let broken: MagnetError | undefined;
  let progress: TrainingProgress | null = null;
  const jobs = new JobRegistry({
    blobs,
    published,
    threads,
    device,
    trails,
    fetchBlob,
    onStep: (job_id, step) => {
      progress = { job_id, ...step };
    },
  });
  closers.push(() => jobs.close());
  const feed = (event: NodeEvent) => loop.feed(event);
  const needed = () => neededBlobs(machine, current, jobs);
  const audits = new TrainingAudits({
    ...{ data_dir, machine, transport, jobs, blobs, trails, clock, feed },
    ...{ signer: options.identity, tier: options.tier, device: device.device.kind },
    ...{ files: audit_files, audits: options.audits },
  });
  trails.isAudited = (hash) => audits.isAudited(hash);
  closers.push(() => audits.close());
  const checkpoints = new CheckpointKeeper({
    data_dir,
    blobs,
    published,
    fetchBlob,
    transport,
    code: network.storage,
    log,
    feed,
    isNeeded: (hash) => needed().has(hash),
    isKept: (hash) => ledger?.isKept(hash) ?? false,
  });
  const ledger =
    options.ledger && network.ledger
      ? new LedgerPart({
          ...{ data_dir, deployment: network.ledger, join: options.ledger },
          ...{ identity: options.identity, tier: options.tier, code: network.storage },
          ...{ machine, transport, blobs, published, fetchBlob, training: audits.facts },
          checkpoints: () => checkpoints,
          ...{ clock, random: options.random },
        })
      : null;
  if (ledger) closers.push(() => ledger.close());
  const sweeper = new BlobSweeper(blobs);
  const tidyUp = async (): Promise<void> => {
    await jobs.retire((job_id) => isInUse(machine, job_id));
    const gone = await sweeper.sweep(needed);
    for (const hash of gone) published.withdraw(hash);
    if (gone.length > 0) log.debug("blobs_swept", { count: gone.length });
  };
  const promoted = ({ job_id, state_hash }: { job_id: Hash; state_hash: Hash }): void => {
    const record = history.promoted(machine, clock.now_ms());
    if (!record) return;
    ledger?.promoted();
    audits.promoted();
    log.info("round_promoted", { round: record.round, state_hash, view: record.view });
    const unheard = (event: string) => (error: unknown) =>
      log.debug(event, { reason: toMagnetError(error).message });
    jobs
      .run(job_id, (runner) => runner.evaluateState(state_hash))
      .then(({ loss, bits_per_byte }) => {
        Object.assign(record, { loss_merged: loss, bits_per_byte });
        ledger?.evaluated(record);
      }, unheard("merged_state_not_evaluated"))
      .then(tidyUp)
      .catch(unheard("blobs_not_swept"));
  };
  const effects = createEffects({
    data_dir,
    transport,
    durable,
    blobs,
    published,
    jobs,
    trails,
    current,
    log,
    feed,
    fetchBlob,
    checkpoints,
    promoted,
  });
  const loop = createEventLoop({
    step(event, now_ms) {
      const todo = machine.step(event, now_ms);
      history.observe(machine, now_ms);
      ledger?.observe();
      audits.observe();
      return todo;
    },
    perform: effects.perform,
    clock,
    failed(error) {
      const known = toMagnetError(error);
      log.error("node_failed", { code: known.code, reason: known.message });
      broken = known;
      failure.resolve(known);
    },
  });
  closers.push(effects.stop, () => loop.stop());
  transport.on({
    peer_up: ({ public_key, tier, dialed }) => feed({ type: "peer_up", public_key, tier, dialed }),
    peer_down: (public_key, reason) => feed({ type: "peer_down", public_key, reason }),
    message: (from, message) => feed({ type: "message", from, message }),
  });
  for (const { state_hash } of current.states) published.publish(state_hash);
  feed({ type: "start", persisted, states: current.states.map(({ state_hash }) => state_hash) });
  await checkpoints.start();
  await ledger?.start();
  audits.start();
  if (broken) throw broken;
  const tick_ms = network.timing.heartbeat_ms / TICKS_PER_HEARTBEAT;
  const timer = setInterval(() => feed({ type: "tick" }), tick_ms);
  closers.push(() => clearInterval(timer));
  return {
    options,
    device,
    machine,
    transport,
    blobs,
    published,
    jobs,
    trails,
    audits,
    history,
    checkpoints,
    ledger,
    research,
    fetchBlob,
    failure: failure.promise,
    feed,
    get progress() {
      return progress;
    },
    close: () => closeAll(closers.splice(0)),
  };
}
