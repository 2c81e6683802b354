/**
 * The jobs that this node has opened, and the one queue on which their heavy work runs: training,
 * merging and evaluating use the same cores and the same trainer, so they go one after another.
 */
import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { JobOffer } from "../diloco/round-messages.ts";
import { paramCount } from "../model/config.ts";
import { compressedBytes } from "../native/codec.ts";
import type { ChosenDevice } from "../native/device.ts";
import type { BlobStore } from "../storage/blobs.ts";
import { type JobSpec, jobSpecSchema } from "./job.ts";
import { JobRunner } from "./job-runner.ts";
import type { PublishedBlobs } from "./published-blobs.ts";
import type { TrailStore } from "./trail/trail-store.ts";

export interface RegistryOptions {
  blobs: BlobStore;
  published: PublishedBlobs;
  threads: number;
  /** Where jobs are trained. */
  device: ChosenDevice;
  trails?: TrailStore;
  /** Brings a blob here, verified; throws where no source has it. */
  fetchBlob(hash: Hash, sources: readonly PublicKey[]): Promise<void>;
  onStep(job_id: Hash, progress: { step: number; steps: number; loss: number }): void;
}

/** A job of a peer is only run if its parts say the same. Throws JOB_INVALID. */
export function readJobOffer(offer: JobOffer): JobSpec {
  const invalid = (reason: string) =>
    new MagnetError("JOB_INVALID", `job ${offer.job_id.slice(0, 12)}: ${reason}`, {
      hint: "the node that submitted it runs another version, or is hostile",
    });
  let value: unknown;
  try {
    value = JSON.parse(offer.spec);
  } catch {
    throw invalid("its specification is not JSON");
  }
  const parsed = jobSpecSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw invalid(`${issue.path.join(".") || "specification"}: ${issue.message}`);
  }
  const job = parsed.data;
  if (canonicalJson(job) !== offer.spec || sha256Hex(offer.spec) !== offer.job_id)
    throw invalid("its id is not the hash of its canonical specification");
  const same =
    job.rounds === offer.rounds &&
    job.inner_steps === offer.inner_steps &&
    job.round_deadline_ms === offer.round_deadline_ms &&
    job.seed === offer.seed;
  if (!same) throw invalid("the offer and its specification differ");
  return job;
}

/** The offer that announces a job to the network. */
export const jobOfferOf = (job: JobSpec, base_hash: Hash): JobOffer => {
  const spec = canonicalJson(job);
  const { rounds, inner_steps, round_deadline_ms, seed } = job;
  const job_id = sha256Hex(spec) as Hash;
  return { job_id, rounds, inner_steps, round_deadline_ms, seed, base_hash, spec };
};

/** Freed jobs that are remembered: their specification alone. */
const ENDED_MAX = 4;
/** A node that is closing refuses what is queued, which is no news. */
const unheard = () => undefined;

interface KnownJob {
  job: JobSpec;
  base_hash: Hash;
}

/** The blobs that a job names. */
const filesOf = (job: JobSpec): Hash[] =>
  [job.tokenizer_hash, job.train_hash, job.heldout_hash] as Hash[];

export class JobRegistry {
  readonly #options: RegistryOptions;
  readonly #jobs = new Map<Hash, KnownJob>();
  /** The last ones that were freed: an audit of their last round opens them once more. */
  readonly #ended = new Map<Hash, JobSpec>();
  /** The one job whose trainer is in memory; another one is opened when it is its turn. */
  #open: { job_id: Hash; runner: JobRunner } | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  /** Work queued or running, by job: such a job is not freed. */
  readonly #queued = new Map<Hash, number>();
  #closed = false;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  /** What a job is that is prepared here, or was until lately; undefined for any other. */
  specOf(job_id: Hash): JobSpec | undefined {
    return this.#jobs.get(job_id)?.job ?? this.#ended.get(job_id);
  }

  /** Initial states of the prepared jobs: kept on the disk as long as their job. */
  baseHashes(): Hash[] {
    return [...this.#jobs.values()].map(({ base_hash }) => base_hash);
  }

  /** Tokenizer and token files of the prepared jobs. */
  fileHashes(): Hash[] {
    return [...this.#jobs.values()].flatMap(({ job }) => filesOf(job));
  }

  /** Length of the largest pseudo-gradient that a prepared job can have: peers are held to it. */
  deltaBytesMax(): number {
    const sizes = [...this.#jobs.values()].map(({ job }) =>
      compressedBytes(job.compression, paramCount(job.model)),
    );
    return Math.max(0, ...sizes);
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(() => {
      if (this.#closed) throw new MagnetError("NODE_CLOSING", "the node is closing");
      return work();
    });
    this.#tail = result.catch(() => undefined); // the caller sees the error; the queue goes on
    return result;
  }

  /** Runs `work` on the opened job after everything queued before it. Throws JOB_UNKNOWN. */
  run<T>(job_id: Hash, work: (runner: JobRunner) => Promise<T>): Promise<T> {
    const count = (by: number) => this.#queued.set(job_id, (this.#queued.get(job_id) ?? 0) + by);
    count(1);
    return this.#enqueue(async () => work(await this.#runner(job_id))).finally(() => {
      if (count(-1).get(job_id) === 0) this.#queued.delete(job_id);
      if (this.#isOver(job_id)) this.#enqueue(async () => this.#closeIfOver(job_id)).catch(unheard);
    });
  }

  /** Nothing of the network's rounds needs it, nor work that waits. */
  #isOver(job_id: Hash): boolean {
    return this.#ended.has(job_id) && !this.#jobs.has(job_id) && !this.#queued.has(job_id);
  }

  #closeIfOver(job_id: Hash): void {
    if (this.#open?.job_id === job_id && this.#isOver(job_id)) this.#close();
  }

  async #runner(job_id: Hash): Promise<JobRunner> {
    if (this.#open?.job_id === job_id) return this.#open.runner;
    const job = this.specOf(job_id);
    if (!job)
      throw new MagnetError("JOB_UNKNOWN", `job ${job_id.slice(0, 12)} is not prepared here`, {
        retryable: true,
      });
    this.#close();
    const runner = await this.#openRunner(job_id, job);
    this.#open = { job_id, runner };
    return runner;
  }

  #openRunner(job_id: Hash, job: JobSpec): Promise<JobRunner> {
    const { blobs, threads, device, trails, onStep } = this.#options;
    return JobRunner.open({
      job_id,
      job,
      blobs,
      threads,
      device,
      trails,
      onStep: (progress) => onStep(job_id, progress),
    });
  }

  #close(): void {
    this.#open?.runner.close();
    this.#open = undefined;
  }

  /** Fetches the job's blobs, opens it and computes its initial state; returns the state's hash. */
  async prepare(offer: JobOffer, sources: readonly PublicKey[]): Promise<Hash> {
    const job = readJobOffer(offer);
    const job_id = offer.job_id as Hash;
    const { blobs, published, fetchBlob } = this.#options;
    for (const hash of filesOf(job)) {
      await fetchBlob(hash, sources);
      published.publish(hash); // the next node may take it from here
    }
    return this.#enqueue(async () => {
      const known = this.#jobs.get(job_id);
      if (known && blobs.has(known.base_hash)) return known.base_hash;
      const isOpen = this.#open?.job_id === job_id;
      const runner = isOpen ? this.#open!.runner : await this.#openRunner(job_id, job);
      let base_hash: Hash;
      try {
        base_hash = await runner.initialState();
      } finally {
        // A waiting job must not take the memory, and the optimizer's moments, of the running one.
        if (this.#open && !isOpen) runner.close();
        else this.#open = { job_id, runner };
      }
      this.#jobs.set(job_id, { job, base_hash });
      return base_hash;
    });
  }

  /**
   * Forgets the jobs that the network no longer runs, and frees them once nothing is queued for them: the
   * last evaluation, an audit of the last round.
   */
  retire(isKnown: (job_id: Hash) => boolean): Promise<void> {
    return this.#enqueue(async () => {
      for (const [job_id, { job }] of this.#jobs) {
        if (isKnown(job_id)) continue;
        this.#jobs.delete(job_id);
        this.#ended.set(job_id, job);
        if (this.#ended.size > ENDED_MAX) this.#ended.delete([...this.#ended.keys()][0]!);
        this.#closeIfOver(job_id);
      }
    });
  }

  /** Frees everything once the running work has ended; what is still queued is refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#tail;
    this.#close();
    this.#jobs.clear();
  }
}
