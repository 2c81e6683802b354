/**
 * One audit: the author's trail and the files of two points are fetched, the links are checked, the
 * steps between the points are done again. What a peer sends is believed for its hash only; how
 * long it may take is limited as a whole, not chunk by chunk.
 */
import { sha256Hex } from "../../core/bytes.ts";
import { toMagnetError } from "../../core/errors.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { paramCount } from "../../model/config.ts";
import type { Device } from "../../native/device.ts";
import type { Transport } from "../../network/transport.ts";
import type { JobSpec } from "../job.ts";
import type { JobRegistry } from "../job-registry.ts";
import type { JobRunner } from "../job-runner.ts";
import { type AuditVerdict, comparison } from "../trail/audit-stretch.ts";
import { checkLinks } from "../trail/check-links.ts";
import { readTrail, refuseTrail, type Trail, type TrailPoint } from "../trail/trail.ts";
import { type AuditFiles, pause } from "./audit-files.ts";
import type { BaseParams } from "./base-params.ts";
import type { AuditState, NotedCase, TrainingBook } from "./book.ts";
import { trailRequest } from "./messages.ts";

/** A second per MB besides the rest: a slow link is no fault, a trickle is. */
const BYTES_PER_MS = 1000;
const REQUEST_MS = 10_000;

export interface Outcome {
  state: Exclude<AuditState, "due">;
  reason: string;
}

export interface ExamineContext {
  transport: Transport;
  book: TrainingBook;
  files: AuditFiles;
  jobs: Pick<JobRegistry, "run">;
  device: Device["kind"];
  base: BaseParams;
  /** How long an author may take to serve, besides the time for the bytes. */
  serve_ms: number;
}

export interface Examined {
  noted: NotedCase;
  job: JobSpec;
  /** Peers to fetch from, in this order. */
  sources: readonly PublicKey[];
  signal: AbortSignal;
}

const handedOver = (reason: string): Outcome => ({ state: "handed_over", reason });
const wrong = (reason: string): Outcome => ({ state: "wrong", reason });

/** An outcome on the way. */
class Ended extends Error {
  constructor(readonly outcome: Outcome) {
    super(outcome.reason);
  }
}

/** Failures of this machine, which say nothing of the author. */
const OF_THIS_DISK = [
  "DISK_FULL",
  "DISK_LIMIT",
  "NOT_PERMITTED",
  "TOO_MANY_FILES",
  "OUT_OF_MEMORY",
];

/** What an audit of a model with n parameters keeps on the disk at most. */
export const auditBytes = (n: number): number => (12 + 12 + 4 + 4) * n;

/** Files that an audit needs of its author, by what they hold. */
interface Needed {
  by: AuditVerdict["by"];
  start: TrailPoint;
  end: TrailPoint;
  last: TrailPoint;
}

/** Throws what its signal was aborted with, and errors that are no verdict. */
export async function examine(context: ExamineContext, audit: Examined): Promise<Outcome> {
  try {
    return await new Examination(context, audit).run();
  } catch (error) {
    if (error instanceof Ended) return error.outcome;
    throw error;
  }
}

class Examination {
  readonly #context: ExamineContext;
  readonly #audit: Examined;
  readonly #n: number;
  /** For everything that the author has to do. */
  readonly #deadline: AbortSignal;

  constructor(context: ExamineContext, audit: Examined) {
    this.#context = context;
    this.#audit = audit;
    this.#n = paramCount(audit.job.model);
    const limit_ms = context.serve_ms + auditBytes(this.#n) / BYTES_PER_MS;
    this.#deadline = AbortSignal.any([audit.signal, AbortSignal.timeout(Math.ceil(limit_ms))]);
  }

  async run(): Promise<Outcome> {
    const { noted, job } = this.#audit;
    const { value } = noted;
    if (value.trail_hash === null)
      return { state: "not_served", reason: "its author kept no points of its training" };
    if (!this.#context.files.hasRoom(auditBytes(this.#n))) return handedOver("no room on the disk");
    const text = await this.#served(this.#trailText(value.trail_hash));
    const trail = readTrail(text);
    if (!trail) return wrong("what it committed to is no trail");
    const { announce_hash, author, delta_hash } = value;
    const refusal = refuseTrail(trail, { job, announce_hash, public_key: author, delta_hash });
    if (refusal !== null) return wrong(refusal);
    const start = trail.points[value.stretch]!;
    const end = trail.points[value.stretch + 1]!;
    const by = comparison(job, { trail, stretch: value.stretch }, this.#context.device);
    if (by === null)
      return handedOver("a stretch this long is compared on hardware of the author's kind only");
    const previous = await this.#previous(trail);
    await this.#bringBase(trail);
    const needed = { by, start, end, last: trail.points.at(-1)! };
    await this.#served(this.#fetchAll(trail, needed));
    // In the job's turn, so that the arrays of one audit at a time are in memory.
    return this.#context.jobs.run(value.job_id, async (runner) => {
      this.#audit.signal.throwIfAborted();
      return (await this.#wrongLinks(trail, previous)) ?? this.#redo(runner, trail, needed);
    });
  }

  /** What the author has to do in time; its failure is an outcome. */
  async #served<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      this.#audit.signal.throwIfAborted();
      const { code, message } = toMagnetError(error);
      if (OF_THIS_DISK.includes(code)) throw new Ended(handedOver(message));
      const reason = this.#deadline.aborted ? "it did not serve what an audit needs" : message;
      throw new Ended({ state: "not_served", reason });
    }
  }

  async #trailText(trail_hash: Hash): Promise<string> {
    const { files, transport } = this.#context;
    const kept = await files.trail(trail_hash);
    if (kept !== null) return kept;
    for (;;) {
      for (const source of this.#audit.sources) {
        const answer = await transport
          .request(source, trailRequest.request.type, { trail_hash }, this.#limits)
          .catch(() => null); // not connected, or slow: asked again until the deadline
        const { trail } = trailRequest.response.schema.parse(answer ?? { trail: null });
        if (trail === null || sha256Hex(trail) !== trail_hash) continue;
        await files.addTrail(trail_hash, trail);
        return trail;
      }
      await pause(this.#deadline);
    }
  }

  get #limits() {
    return { timeout_ms: REQUEST_MS, signal: this.#deadline };
  }

  /** The trail that this one goes on from, which must be of a contribution that was merged. */
  async #previous(trail: Trail): Promise<Trail | null> {
    if (trail.previous === null) return null;
    const { author, job_id } = this.#audit.noted.value;
    const { book } = this.#context;
    if (!book.hasTrail(author, trail.previous))
      throw new Ended(
        book.sawAll(job_id)
          ? wrong("it goes on from a contribution that was never merged")
          : handedOver("the contribution before it is not known here"),
      );
    const previous = readTrail(await this.#served(this.#trailText(trail.previous)));
    if (!previous) throw new Ended(wrong("what it goes on from is no trail"));
    return previous;
  }

  /**
   * The base's weights as a file: of this node's copy of it, or where a later round has taken its
   * place, from the author, if it is the same.
   */
  async #bringBase(trail: Trail): Promise<void> {
    const { files, base } = this.#context;
    const { noted } = this.#audit;
    const { base_hash } = noted.value;
    const first = trail.points[0]!.params;
    const ours = noted.base_params ?? (await base.paramsHash(base_hash));
    if (ours === null) throw new Ended(handedOver("the round's base is not here"));
    if (ours !== first) throw new Ended(wrong("it does not start with the round's base"));
    if (files.store.has(first)) return;
    const params = await base.params(base_hash);
    if (params) await files.store.put(params, first);
    else await this.#served(this.#fetch(first, 4));
  }

  async #fetch(hash: Hash, bytes_per_parameter: number): Promise<void> {
    const { files } = this.#context;
    const bytes = bytes_per_parameter * this.#n;
    await files.fetch(hash, bytes, this.#audit.sources, this.#deadline);
  }

  async #fetchAll(trail: Trail, { by, start, end, last }: Needed): Promise<void> {
    // Between CPUs the hashes of the end say everything.
    for (const { params, moments } of by === "bits" ? [start] : [start, end]) {
      await this.#fetch(params, 4);
      await this.#fetch(moments, 8);
    }
    await this.#fetch(last.params, 4);
    if (trail.residual_before !== null) await this.#fetch(trail.residual_before, 4);
  }

  async #wrongLinks(trail: Trail, previous: Trail | null): Promise<Outcome | null> {
    const base = await this.#array(trail.points[0]!.params);
    const params = await this.#array(trail.points.at(-1)!.params);
    const residual = trail.residual_before && (await this.#array(trail.residual_before));
    const { job } = this.#audit;
    const reason = await checkLinks({ job, trail, base, previous, files: { params, residual } });
    return reason === null ? null : wrong(reason);
  }

  async #array(hash: Hash): Promise<Float32Array> {
    const array = new Float32Array(this.#n);
    await this.#context.files.load(hash, array);
    return array;
  }

  async #point({ params, moments }: TrailPoint) {
    const [m, v] = [new Float32Array(this.#n), new Float32Array(this.#n)];
    await this.#context.files.load(moments, m, v);
    return { params: await this.#array(params), m, v };
  }

  async #redo(runner: JobRunner, trail: Trail, needed: Needed): Promise<Outcome> {
    const { noted, signal } = this.#audit;
    const { stretch, task } = noted.value;
    const start = await this.#point(needed.start);
    const end = needed.by === "bits" ? null : await this.#point(needed.end);
    const verdict = await runner.audit({ trail, stretch, start, end, task }, signal);
    return verdict.wrong === null ? { state: "passed", reason: verdict.by } : wrong(verdict.wrong);
  }
}
