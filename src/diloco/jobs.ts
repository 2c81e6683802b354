/**
 * The jobs that this node knows: one runs, others wait, ended ones are remembered so that a node
 * that was away cannot start them again. Which job runs next is decided by the certified
 * announcement, not here.
 */
import { z } from "zod";
import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { Sink } from "../network/effects.ts";
import {
  FINISHED_MAX,
  type FinishedJob,
  finishedJobSchema,
  JOBS_MAX,
  type JobOffer,
  jobOfferSchema,
} from "./round-messages.ts";
import type { RoundEffect } from "./round-types.ts";

/** A job that could not be prepared is tried again after so long. */
const PREPARE_RETRY_MS = 10_000;

const durableSchema = z.strictObject({
  jobs: z.array(jobOfferSchema).max(JOBS_MAX),
  finished: z.array(finishedJobSchema).max(FINISHED_MAX),
});

/** One job and how far its preparation on this node is. */
export interface JobEntry {
  offer: JobOffer;
  state: "new" | "preparing" | "ready" | "failed";
  reason: string;
  /** When a failed preparation is tried again. */
  retry_ms: number;
}

export class JobBook {
  readonly #jobs = new Map<Hash, JobEntry>();
  #finished: FinishedJob[] = [];

  /** Reads the durable state back. Throws STATE_CORRUPT. */
  start(persisted: unknown): void {
    if (persisted === undefined) return;
    const parsed = durableSchema.safeParse(persisted);
    if (!parsed.success)
      throw new MagnetError("STATE_CORRUPT", "the durable list of jobs is not readable", {
        hint: "delete the jobs record of the data folder: peers send the jobs again",
        cause: parsed.error,
      });
    this.#finished = parsed.data.finished;
    for (const offer of parsed.data.jobs) this.#insert(offer);
  }

  get size(): number {
    return this.#jobs.size;
  }
  get(job_id: Hash): JobEntry | undefined {
    return this.#jobs.get(job_id);
  }
  /** True if this is the initial state of a job that is ready here. */
  hasBase(state_hash: Hash): boolean {
    for (const { offer, state } of this.#jobs.values())
      if (state === "ready" && offer.base_hash === state_hash) return true;
    return false;
  }
  isFinished(job_id: Hash): boolean {
    return this.#finished.some((job) => job.job_id === job_id);
  }
  /** The first job that this node can start; with none ready, the first of all. */
  first(): JobEntry | undefined {
    const entries = [...this.#jobs.values()];
    return entries.find((entry) => entry.state === "ready") ?? entries[0];
  }
  /** What a peer should know; null if there is nothing to say. */
  message(): { type: "round.jobs"; body: { jobs: JobOffer[]; finished: FinishedJob[] } } | null {
    if (this.#jobs.size + this.#finished.length === 0) return null;
    const jobs = [...this.#jobs.values()].map((entry) => entry.offer);
    return { type: "round.jobs", body: { jobs, finished: this.#finished } };
  }

  /**
   * Adds a job; false if it is known, ended, inconsistent, or one too many. An offer that could not
   * be prepared gives way to a different one of the same job (what only the offer says may have
   * been a lie), and this node's own submission (`is_own`) to whatever was not ready.
   */
  add(offer: JobOffer, out: Sink<RoundEffect>, is_own = false): boolean {
    const { job_id, spec } = offer;
    const known = this.#jobs.get(job_id);
    if (this.isFinished(job_id) || sha256Hex(spec) !== job_id) return false;
    if (known) {
      const gives_way = is_own ? known.state !== "ready" : known.state === "failed";
      if (!gives_way || canonicalJson(known.offer) === canonicalJson(offer)) return false;
    } else if (this.#jobs.size >= JOBS_MAX && !this.#makeRoom()) return false;
    this.#insert(offer);
    this.#persist(out);
    return true;
  }

  /** Forgets a job that could not be prepared here; peers that can will tell of it again. */
  #makeRoom(): boolean {
    for (const [job_id, { state }] of this.#jobs)
      if (state === "failed") return this.#jobs.delete(job_id);
    return false;
  }

  /** The job ended with the promotion of `round`, which this node has promoted too. */
  finish(job_id: Hash, round: number, out: Sink<RoundEffect>): void {
    if (this.isFinished(job_id)) return;
    this.#jobs.delete(job_id);
    this.#finished = [...this.#finished, { job_id, round }].slice(-FINISHED_MAX);
    this.#persist(out);
    out.push({ type: "log", level: "info", event: "job_finished", fields: { job_id } });
  }

  /** Asks for the preparation of every job that needs it. */
  advance(sources: () => readonly PublicKey[], now_ms: number, out: Sink<RoundEffect>): void {
    for (const entry of this.#jobs.values()) {
      const due = entry.state === "new" || (entry.state === "failed" && now_ms >= entry.retry_ms);
      if (!due) continue;
      entry.state = "preparing";
      out.push({ type: "prepare_job", job: entry.offer, sources: sources() });
    }
  }

  /** False if the initial state computed here is not the network's. */
  prepared(job_id: Hash, base_hash: Hash): boolean {
    const entry = this.#jobs.get(job_id);
    if (!entry) return false;
    if (entry.offer.base_hash === base_hash) {
      entry.state = "ready";
      return true;
    }
    entry.state = "failed";
    entry.reason = "the initial state computed here differs from the network's";
    // The same computation gives the same result: only a restart with another build can help.
    entry.retry_ms = Number.POSITIVE_INFINITY;
    return false;
  }

  failed(job_id: Hash, reason: string, now_ms: number): void {
    const entry = this.#jobs.get(job_id);
    if (entry)
      Object.assign(entry, { state: "failed", reason, retry_ms: now_ms + PREPARE_RETRY_MS });
  }

  #insert(offer: JobOffer): void {
    this.#jobs.set(offer.job_id, { offer, state: "new", reason: "", retry_ms: 0 });
  }

  #persist(out: Sink<RoundEffect>): void {
    const jobs = [...this.#jobs.values()].map((entry) => entry.offer);
    const value = { jobs, finished: [...this.#finished] };
    out.push({ type: "persist", key: "jobs", value });
  }
}
