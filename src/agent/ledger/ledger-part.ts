/**
 * The ledger's side of a running node: gathers facts, follows the chain, drives the epoch machine and
 * carries out what it asks for. Training, merging and storage never wait for it; with the chain away
 * it goes on gathering and catches up when the chain is back.
 */
import fs from "node:fs";
import path from "node:path";
import { addressOf } from "../../chain/client/account.ts";
import { type Deployment, queueFile } from "../../chain/client/deployment.ts";
import { type Ledger, openLedger } from "../../chain/client/ledger.ts";
import { TransactionQueue } from "../../chain/client/transaction-queue.ts";
import { EpochMachine } from "../../chain/ledger/epoch-machine.ts";
import type {
  Address,
  EpochView,
  LedgerEvent,
  LedgerPlace,
} from "../../chain/ledger/ledger-types.ts";
import type { Clock } from "../../core/clock.ts";
import { toMagnetError } from "../../core/errors.ts";
import { type Log, roomLog } from "../../core/log.ts";
import type { Random } from "../../core/random.ts";
import type { Tier } from "../../core/tiers.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { ErasureCode } from "../../native/codec.ts";
import { walletVerifier } from "../../network/auth.ts";
import type { Identity } from "../../network/identity.ts";
import type { Message } from "../../network/protocol.ts";
import type { Transport } from "../../network/transport.ts";
import type { BlobStore } from "../../storage/blobs.ts";
import type { FetchBlob } from "../blob-fetcher.ts";
import type { CheckpointKeeper } from "../checkpoint-keeper.ts";
import { closeAll } from "../close-all.ts";
import { replaceFileSync } from "../durable-state.ts";
import type { NodeMachine } from "../node.ts";
import type { PublishedBlobs } from "../published-blobs.ts";
import type { RoundRecord } from "../round-history.ts";
import type { TrainingFacts } from "../training-audits/training-evidence.ts";
import { AuditBook } from "./audit-book.ts";
import { LedgerAudits } from "./audit-duty.ts";
import { type AuditReceipt, auditReceiptMessage } from "./audit-receipts.ts";
import { ChainFollower } from "./chain-follower.ts";
import { ChainReader } from "./chain-reader.ts";
import { FactGatherer } from "./fact-gatherer.ts";
import { accusations } from "./judge.ts";
import { LedgerEffects } from "./ledger-effects.ts";
import { LogIndex } from "./log-index.ts";
import { RecordStore } from "./record-store.ts";
import type { FactContext } from "./report-facts.ts";
import { ServingFacts } from "./serving-facts.ts";
import { StakeKeeper, type WantedStake } from "./stake-keeper.ts";

/** How this node takes part, besides what the network file says. */
export interface LedgerJoin {
  rpc_url: string;
  stake: WantedStake;
  /** False: rewards are left on the ledger. */
  claims: boolean;
}

export interface LedgerPartOptions {
  data_dir: string;
  deployment: Deployment;
  join: LedgerJoin;
  identity: Identity;
  tier: Tier;
  code: ErasureCode;
  machine: NodeMachine;
  transport: Transport;
  blobs: BlobStore;
  published: PublishedBlobs;
  fetchBlob: FetchBlob;
  checkpoints(): CheckpointKeeper;
  /** Own audits of training. */
  training: TrainingFacts;
  clock: Clock;
  random: Random;
}

/** With more nodes than this, commitments are gossiped and one root of them is committed. */
const DIRECT_NODES_MAX = 64;
const TICK_MAX_MS = 1000;
/** Looks at a fresh transaction, one after another, before the follower's pace is enough. */
const DRIVES_MAX = 20;
const DRIVE_PAUSE_MS = 250;
/** Ticks per epoch, so that short epochs of a test keep their windows. */
const TICKS_PER_EPOCH = 80;

const placeOf = ({ chain_id, contracts, genesis, epoch_seconds }: Deployment): LedgerPlace => {
  const { epochs, disputes } = contracts;
  return { chain_id, epochs, disputes, genesis_s: genesis, epoch_seconds };
};

/** What is read back of the machine's own state; broken JSON is an empty start, and said. */
function readState(file: string, log: Log): unknown {
  if (!fs.existsSync(file)) return undefined;
  try {
    return JSON.parse(fs.readFileSync(file, "utf8"));
  } catch (error) {
    log.warn("ledger_state_unreadable", { file, reason: toMagnetError(error).message });
    return undefined;
  }
}

export class LedgerPart {
  readonly ledger: Ledger;
  readonly queue: TransactionQueue;
  readonly reader: ChainReader;
  readonly machine: EpochMachine;
  readonly gatherer: FactGatherer;
  readonly follower: ChainFollower;
  readonly stake: StakeKeeper;
  readonly records: RecordStore;
  readonly address: Address;
  readonly #options: LedgerPartOptions;
  readonly #audits: LedgerAudits;
  readonly #effects: LedgerEffects;
  readonly #facts: FactContext;
  readonly #log = roomLog("ledger");
  readonly #abort = new AbortController();
  /** Records that this node has cut into shards, and accusations it has made, since it started. */
  readonly #done = new Set<string>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #driving = false;

  /** Throws QUEUE_FILE, FACTS_UNUSABLE, BAD_RPC_URL; nothing is open then. */
  constructor(options: LedgerPartOptions) {
    this.#options = options;
    const { data_dir, deployment, join, identity, tier, transport, clock, random } = options;
    this.address = addressOf(identity.public_key).toLowerCase() as Address;
    const place = placeOf(deployment);
    const { signal } = this.#abort;
    this.ledger = openLedger({ rpc_url: join.rpc_url, deployment, clock, signal });
    const index = new LogIndex(this.ledger);
    this.reader = new ChainReader(this.ledger, index, this.address);
    this.gatherer = new FactGatherer({
      ...options,
      manifestOf: (cid) => options.checkpoints().manifestOf(cid),
      epoch_seconds: deployment.epoch_seconds,
      log: this.#log,
      duty: () => this.#audits.duty,
    });
    const { facts, archive } = this.gatherer;
    const book = new AuditBook(facts);
    const keys = { signer: identity, verifier: walletVerifier };
    this.#audits = new LedgerAudits({ ...options, ...keys, place, facts, archive, book });
    this.records = new RecordStore({ ...options, log: this.#log });
    this.queue = new TransactionQueue({
      rpc: this.ledger.rpc,
      chain_id: deployment.chain_id,
      signer: identity,
      file: queueFile(data_dir, deployment),
      clock,
      onEvent: (event) => this.#effects.queueEvent(event),
    });
    const { ledger, queue } = this;
    const { public_key } = identity;
    this.stake = new StakeKeeper({ ledger, queue, public_key, tier, wanted: join.stake });
    this.machine = new EpochMachine({
      ...keys,
      random,
      address: this.address,
      place,
      direct_nodes_max: DIRECT_NODES_MAX,
      resend_ms: this.#tick_ms,
    });
    this.#facts = {
      place,
      self: { public_key, address: this.address },
      gatherer: this.gatherer,
      book,
      training: options.training,
      serving: new ServingFacts({ ledger, place, data_dir }),
      nodeOf: (address) => this.#newestView?.nodes.find((node) => node.address === address),
    };
    this.#effects = this.#makeEffects(place);
    this.follower = new ChainFollower({
      ledger,
      index,
      reader: this.reader,
      self: this.address,
      log: this.#log,
      feed: (event) => this.feed(event),
      wanted: () => this.machine.wanted,
      epochRuns: (view) => this.#epochRuns(view),
      beforeLook: async () => {
        await this.stake.advance();
        await this.queue.tick();
        if (this.stake.status.state === "working") this.#driveQueue();
      },
    });
    transport.on({ message: (from, message) => this.#message(from, message) });
  }

  #makeEffects(place: LedgerPlace): LedgerEffects {
    const options = this.#options;
    return new LedgerEffects({
      ledger: this.ledger,
      queue: this.queue,
      reader: this.reader,
      transport: options.transport,
      records: this.records,
      facts: this.#facts,
      verify: {
        ...{ place, code: options.code, verifier: walletVerifier },
        serving: this.#facts.serving,
      },
      claims: options.join.claims,
      viewOf: (epoch) => this.follower.views.get(epoch),
      now_ms: () => options.clock.now_ms(),
      persist: (value) => replaceFileSync(this.#stateFile, JSON.stringify(value)),
      feed: (event) => this.feed(event),
      submitted: () => this.#driveQueue(),
      log: this.#log,
    });
  }

  get #stateFile(): string {
    return path.join(this.#options.data_dir, "ledger", "machine.json");
  }

  get #tick_ms(): number {
    const { epoch_seconds } = this.#options.deployment;
    return Math.min(TICK_MAX_MS, Math.ceil((epoch_seconds * 1000) / TICKS_PER_EPOCH));
  }

  get #newestView(): EpochView | undefined {
    return [...this.follower.views.values()].at(-1);
  }

  /** Reads back what is on this disk and begins. */
  async start(): Promise<void> {
    const persisted = readState(this.#stateFile, this.#log);
    const records = await this.records.open();
    this.feed({ type: "start", persisted, records });
    this.gatherer.start();
    this.follower.start();
    this.#timer = setInterval(() => this.feed({ type: "tick" }), this.#tick_ms);
  }

  /** One event of the machine; a failure of this part is logged and never ends the node. */
  feed(event: LedgerEvent): void {
    if (this.#abort.signal.aborted) return;
    try {
      if (event.type === "epoch_view") this.#spreadRecord(event.view);
      const now_ms = this.#options.clock.now_ms();
      for (const effect of this.machine.step(event, now_ms)) this.#effects.perform(effect);
    } catch (error) {
      const { code, message } = toMagnetError(error);
      this.#log.error("ledger_step_failed", { event: event.type, code, reason: message });
    }
  }

  /**
   * Drives what was just submitted into a block, or as far as it goes: a challenge that waits for the
   * allowance of its bond must not wait for two more looks at the chain.
   */
  #driveQueue(): void {
    if (this.#driving) return;
    this.#driving = true;
    const drive = async () => {
      for (let i = 0; i < DRIVES_MAX && !this.#abort.signal.aborted; i++) {
        await this.queue.tick();
        if (!this.queue.live().some(({ state }) => state === "queued" || state === "sent")) break;
        await Bun.sleep(DRIVE_PAUSE_MS);
      }
      // An allowance is followed by what it is for.
      const isOpen = !this.#abort.signal.aborted;
      if (isOpen && this.stake.status.state === "working") await this.follower.look();
    };
    drive()
      .catch((error) => this.#log.warn("queue_failed", { reason: toMagnetError(error).message }))
      .finally(() => {
        this.#driving = false;
      });
  }

  #message(from: PublicKey, message: Message): void {
    if (!message.type.startsWith("ledger.")) return;
    if (message.type === auditReceiptMessage.type)
      this.#audits.receive(from, message.body as AuditReceipt);
    else this.feed({ type: "message", from, message });
  }

  #epochRuns(view: EpochView): void {
    this.#audits.epochRuns(view);
    for (const { evidence, ...accusation } of accusations(this.#facts, view)) {
      const once = `accuse/${accusation.accused}/${view.epoch}`;
      if (this.#done.has(once)) continue;
      this.#done.add(once);
      this.#log.warn("tier_not_met", { accused: accusation.accused, epoch: view.epoch });
      this.records.storeEvidence(accusation.evidence_hash, evidence).then(
        () => this.feed({ type: "accuse", offence: "false_tier", ...accusation }),
        (error) => this.#log.warn("evidence_not_kept", { reason: toMagnetError(error).message }),
      );
    }
  }

  /** The record of a final settlement is spread in shards by whoever proposed it. */
  #spreadRecord({ settlement }: EpochView): void {
    if (!settlement?.final || settlement.proposer !== this.address) return;
    const { data_hash } = settlement;
    if (this.#done.has(data_hash) || !this.#options.blobs.has(data_hash)) return;
    this.#done.add(data_hash);
    this.#options.checkpoints().spread(data_hash);
  }

  /** Records that the chain or this node knows of: their shards are kept. */
  isKept(content_hash: Hash): boolean {
    if (this.records.hashes().includes(content_hash)) return true;
    for (const { settlement } of this.follower.views.values())
      if (settlement?.data_hash === content_hash && !settlement.rejected) return true;
    return false;
  }

  observe(): void {
    this.gatherer.observe();
  }

  promoted(): void {
    this.gatherer.promoted();
  }

  evaluated(record: RoundRecord): void {
    this.gatherer.evaluated(record);
  }

  /** What a slow RPC still owes is not waited for. */
  async close(): Promise<void> {
    this.#abort.abort(new Error("the node is closing"));
    clearInterval(this.#timer);
    await closeAll([
      () => this.gatherer.close(),
      () => this.queue.close(),
      () => this.follower.stop(),
    ]);
  }
}
