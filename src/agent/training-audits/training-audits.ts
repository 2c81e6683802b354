/**
 * Audits of training in a running node: what was drawn of each promoted round is noted, what falls
 * to this node is done beside its rounds, and what comes of it is told. The round machine hears of
 * one thing only: whose commits to leave out.
 */
import path from "node:path";
import type { Clock } from "../../core/clock.ts";
import { toMagnetError } from "../../core/errors.ts";
import { type Log, roomLog } from "../../core/log.ts";
import { type Tier, trains } from "../../core/tiers.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { Device } from "../../native/device.ts";
import { walletVerifier } from "../../network/auth.ts";
import type { Message } from "../../network/protocol.ts";
import type { Signer } from "../../network/signer.ts";
import type { Transport } from "../../network/transport.ts";
import type { BlobStore } from "../../storage/blobs.ts";
import type { JobRegistry } from "../job-registry.ts";
import type { NodeMachine } from "../node.ts";
import type { NodeEvent } from "../node-types.ts";
import type { TrailStore } from "../trail/trail-store.ts";
import { type CertifiedContents, casesOf } from "./audit-case.ts";
import type { AuditFiles } from "./audit-files.ts";
import { type KnownJob, TrainingAuditor } from "./auditor.ts";
import { type BaseParams, baseParams } from "./base-params.ts";
import { type AuditCounts, type NotedCase, TrainingBook } from "./book.ts";
import { ClaimDesk } from "./claim-desk.ts";
import { AUDIT_WINDOW_MS } from "./draw.ts";
import { EvidenceKeeper } from "./evidence-keeper.ts";
import {
  claimRequest,
  takeOverRequest,
  trailRequest,
  type Verdict,
  verdictMessage,
} from "./messages.ts";
import { RoundWatch } from "./round-watch.ts";
import { type TrainingFacts, trainingFacts } from "./training-evidence.ts";

/** What only tests set. */
export interface AuditOptions {
  /** Part of the steps that is done again; one value in the whole network. */
  share?: number;
  serve_ms?: number;
  poll_ms?: number;
}

const SERVE_MS = 60_000;
const POLL_MS = 3000;
/** Points off the score of who was found wrong; another offence and it is barred for a while. */
const WRONG_POINTS = 50;
/** Verdicts told to a peer that connects. */
const TOLD_MAX = 16;

export interface TrainingAuditsOptions {
  data_dir: string;
  machine: NodeMachine;
  transport: Transport;
  jobs: JobRegistry;
  blobs: BlobStore;
  files: AuditFiles;
  signer: Signer;
  tier: Tier;
  device: Device["kind"];
  clock: Clock;
  audits: AuditOptions | undefined;
  feed(event: NodeEvent): void;
  /** Of this node's own contributions. */
  trails: Pick<TrailStore, "trail" | "textFor">;
}

export interface AuditStatus extends AuditCounts {
  /** Members left out of the rounds that this node leads, by job. */
  left_out: { job_id: Hash; public_key: PublicKey }[];
}

export class TrainingAudits {
  readonly book: TrainingBook;
  readonly auditor: TrainingAuditor;
  readonly desk: ClaimDesk;
  readonly files: AuditFiles;
  /** What the ledger's notaries ask. */
  readonly facts: TrainingFacts;
  readonly #options: TrainingAuditsOptions;
  readonly #watch: RoundWatch;
  readonly #evidence: EvidenceKeeper;
  readonly #base: BaseParams;
  readonly #abort = new AbortController();
  readonly #log: Log = roomLog("audits");
  #timer: ReturnType<typeof setInterval> | undefined;
  /** An audit has ended since files were last deleted, or this node was started. */
  #has_ended = true;

  /** Throws AUDITS_UNUSABLE, disk errors. */
  constructor(options: TrainingAuditsOptions) {
    this.#options = options;
    const { data_dir, machine, transport, jobs, files, signer, device, clock, audits } = options;
    this.book = new TrainingBook(path.join(data_dir, "audits", "book.sqlite"));
    this.files = files;
    this.#watch = new RoundWatch(machine);
    this.#evidence = new EvidenceKeeper(this.book, files);
    this.#base = baseParams(options.blobs);
    const shared = {
      ...{ transport, book: this.book, files, jobs, device, signer, log: this.#log },
      ...{ self: signer.public_key, verifier: walletVerifier, signal: this.#abort.signal },
      now_ms: () => clock.now_ms(),
    };
    this.auditor = new TrainingAuditor({
      ...shared,
      serve_ms: audits?.serve_ms ?? SERVE_MS,
      idle: () => this.#evidence.idle,
      base: this.#base,
      jobOf: (job_id) => this.#jobOf(job_id),
      ended: (noted, { claimer }, { state, reason }) => {
        if (state === "wrong" && claimer === null) this.desk.open(noted, reason);
        this.#has_ended = true;
        this.#poll();
      },
    });
    this.desk = new ClaimDesk({
      ...shared,
      wake: () => this.auditor.wake(),
      convict: (noted, verdict) => this.#convict(noted, verdict),
    });
    this.facts = trainingFacts({ ...shared, wake: () => this.auditor.wake() });
    this.#answerPeers();
  }

  #answerPeers(): void {
    const { transport, machine } = this.#options;
    const isMember = (key: PublicKey) => machine.election.ballots.isMember(key);
    transport.handle(trailRequest.request.type, async (from, body) => {
      const { trail_hash } = trailRequest.request.schema.parse(body);
      return { trail: isMember(from) ? await this.#trail(from, trail_hash) : null };
    });
    transport.handle(takeOverRequest.request.type, async (from, body) => {
      const { round, author } = takeOverRequest.request.schema.parse(body);
      return { taken: this.auditor.takeOver(from, round, author) };
    });
    transport.handle(claimRequest.request.type, async (from, body) =>
      this.desk.receive(from, claimRequest.request.schema.parse(body).claim),
    );
    transport.on({
      message: (from, message) => this.#message(from, message),
      peer_up: ({ public_key }) => this.#tell(public_key),
    });
  }

  async #trail(from: PublicKey, trail_hash: Hash): Promise<string | null> {
    const { trails, files, clock } = this.#options;
    const own = trails.textFor(trail_hash, from);
    if (own === null) return files.trail(trail_hash);
    this.book.addAsked(trail_hash, from, clock.now_ms());
    return own;
  }

  #message(from: PublicKey, { type, body }: Message): void {
    if (type === verdictMessage.type)
      this.#try("verdict", () => this.desk.hear(from, body as Verdict));
  }

  /** A peer that was away hears what has been found. */
  #tell(peer: PublicKey): void {
    for (const { verdict } of this.book.verdicts().slice(-TOLD_MAX))
      if (verdict) this.#options.transport.send(peer, { type: verdictMessage.type, body: verdict });
  }

  /** A failure of this part is logged and never ends the node. */
  #try(what: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      const { code, message } = toMagnetError(error);
      this.#log.warn("audit_step_failed", { what, code, reason: message });
    }
  }

  /** Goes on with what was under way before a restart. */
  start(): void {
    for (const { job_id, author } of this.book.verdicts())
      this.#options.feed({ type: "contributor_wrong", job_id, public_key: author });
    this.#timer = setInterval(() => this.#poll(), this.#options.audits?.poll_ms ?? POLL_MS);
    this.#poll();
  }

  #poll(): void {
    if (this.#abort.signal.aborted) return;
    this.#try("poll", () => this.auditor.wake());
    const failed = (error: unknown) => {
      if (!this.#abort.signal.aborted)
        this.#log.warn("audit_step_failed", { what: "poll", reason: toMagnetError(error).message });
    };
    this.desk.ask().catch(failed);
    if (!this.#has_ended || this.auditor.active.length > 0) return;
    this.#has_ended = false;
    this.#evidence.sweep().catch(failed);
  }

  /** After every step of the machine. */
  observe(): void {
    this.#try("observe", () => this.#watch.observe());
  }

  /** The certified state of a round is current here. */
  promoted(): void {
    this.#try("promoted", () => {
      const contents = this.#watch.promoted();
      if (contents) this.#draw(contents);
    });
  }

  #draw(contents: CertifiedContents): void {
    const { machine, signer, clock, audits } = this.#options;
    const { plan, collected } = contents;
    const { round, job_id, job_round, contributors } = plan.value;
    const merged = new Set(contributors.map(({ public_key }) => public_key));
    const trails = collected.value.commits.flatMap(({ public_key: author, trail_hash }) =>
      trail_hash !== null && merged.has(author) ? [{ author, trail_hash }] : [],
    );
    const cases = casesOf(contents, machine.election.ballots.members, audits?.share);
    const now_ms = clock.now_ms();
    this.book.addRound(cases, trails, { round, job_id, job_round, now_ms });
    const self = signer.public_key;
    for (const { author, auditors } of cases)
      if (this.#firstThere(auditors) === self) this.book.addDue(round, author, null, now_ms);
    if (cases.some(({ auditors }) => auditors.includes(self)))
      this.#noteBase(contents).catch((error) =>
        this.#log.debug("base_not_noted", { round, reason: toMagnetError(error).message }),
      );
    this.auditor.wake();
  }

  /** The drawn auditor, or where it is gone who is next: two who see it differently both audit. */
  #firstThere(auditors: readonly PublicKey[]): PublicKey | undefined {
    const { transport, signer } = this.#options;
    const there = new Set(transport.peers().map(({ public_key }) => public_key));
    return auditors.find((key) => key === signer.public_key || there.has(key));
  }

  /** What the base's weights hash to: of this node's own trail, or of the state itself. */
  async #noteBase({ plan, collected }: CertifiedContents): Promise<void> {
    const { signer, trails } = this.#options;
    const { round, base_hash } = plan.value;
    const own = collected.value.commits.find(({ public_key }) => public_key === signer.public_key);
    const first = own?.trail_hash ? trails.trail(own.trail_hash)?.points[0] : undefined;
    if (first) return this.book.setBaseParams(round, first.params);
    const found = await this.#base.paramsHash(base_hash);
    if (found && !this.#abort.signal.aborted) this.book.setBaseParams(round, found);
  }

  #jobOf(job_id: Hash): KnownJob {
    const { tier, jobs, machine } = this.#options;
    if (!trains(tier)) return "none";
    const spec = jobs.specOf(job_id);
    if (spec) return spec;
    const entry = machine.round.parts.jobs.get(job_id);
    return entry && entry.state !== "failed" ? "coming" : "none";
  }

  #convict({ value }: NotedCase, verdict: Verdict | null): void {
    const { transport, feed } = this.#options;
    const { job_id, author, round } = value;
    if (!this.book.convict(job_id, author, round, verdict)) return;
    const reason = verdict?.claim.reason ?? "found by this node alone";
    this.#log.warn("contributor_wrong", { job_id, round, author, reason });
    feed({ type: "contributor_wrong", job_id, public_key: author });
    transport.penalize(author, WRONG_POINTS, "wrong_contribution");
  }

  /** True while this node's own contribution was drawn and may be asked for. */
  isAudited(trail_hash: Hash): boolean {
    const { signer, clock } = this.#options;
    const round = this.book.roundOf(signer.public_key, trail_hash);
    const noted = round === undefined ? undefined : this.book.case(round, signer.public_key);
    return noted !== undefined && clock.now_ms() < noted.noted_ms + AUDIT_WINDOW_MS;
  }

  status(): AuditStatus {
    const left_out = this.book
      .verdicts()
      .map(({ job_id, author }) => ({ job_id, public_key: author }));
    return { ...this.book.counts(), left_out };
  }

  close(): void {
    clearInterval(this.#timer);
    this.#abort.abort(new Error("the node is closing"));
    this.book.close();
  }
}
