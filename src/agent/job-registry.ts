/**
 * The jobs that this node has opened, and the one queue on which their heavy work runs: training,
 * merging and evaluating use the same cores and the same trainer, so they go one after another.
 */
import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { JobOffer } from "../diloco/round-messages.ts";
import type { BlobStore } from "../storage/blobs.ts";
import { type JobSpec, jobSpecSchema } from "./job.ts";
import { JobRunner } from "./job-runner.ts";
import type { PublishedBlobs } from "./published-blobs.ts";

export interface RegistryOptions {
  blobs: BlobStore;
  published: PublishedBlobs;
  threads: number;
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

export class JobRegistry {
  readonly #options: RegistryOptions;
  readonly #runners = new Map<Hash, JobRunner>();
  #tail: Promise<unknown> = Promise.resolve();

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  /** Runs `work` after everything queued before it. */
  enqueue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work);
    this.#tail = result.catch(() => undefined); // the caller sees the error; the queue goes on
    return result;
  }

  /** The opened job; throws JOB_UNKNOWN before `prepare`. */
  runner(job_id: Hash): JobRunner {
    const runner = this.#runners.get(job_id);
    if (!runner)
      throw new MagnetError("JOB_UNKNOWN", `job ${job_id.slice(0, 12)} is not prepared here`, {
        retryable: true,
      });
    return runner;
  }

  /** Fetches the job's blobs, opens it and computes its initial state; returns the state's hash. */
  async prepare(offer: JobOffer, sources: readonly PublicKey[]): Promise<Hash> {
    const job = readJobOffer(offer);
    const { blobs, published, threads, fetchBlob, onStep } = this.#options;
    for (const hash of [job.tokenizer_hash, job.train_hash, job.heldout_hash] as Hash[]) {
      await fetchBlob(hash, sources);
      published.publish(hash); // the next node may take it from here
    }
    return this.enqueue(async () => {
      const job_id = offer.job_id as Hash;
      this.#runners.get(job_id)?.close();
      const runner = await JobRunner.open({
        job_id,
        job,
        blobs,
        threads,
        onStep: (progress) => onStep(job_id, progress),
      });
      this.#runners.set(job_id, runner);
      return runner.initialState();
    });
  }

  /** Frees everything once the running work has ended. */
  close(): Promise<void> {
    return this.enqueue(async () => {
      for (const runner of this.#runners.values()) runner.close();
      this.#runners.clear();
    });
  }
}
