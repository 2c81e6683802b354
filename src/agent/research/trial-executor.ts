/**
 * Runs trials for other members of the network, where this node's user allows it: so many at once,
 * each up to so much CPU, in processes of their own that see the task's data and nothing else of a
 * peer. A trial is known by its job's hash: asked again it is answered from memory, and one that
 * nobody asks about any more is dropped.
 */
import type { Clock } from "../../core/clock.ts";
import { toMagnetError } from "../../core/errors.ts";
import { roomLog } from "../../core/log.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { nodeIdOf } from "../../network/identity.ts";
import type { Signer } from "../../network/signer.ts";
import { LocalWorkers } from "../../research/trials/local-workers.ts";
import { workerMemoryBytes } from "../../research/trials/process-memory.ts";
import type { TrialWorker, WorkerAnswer } from "../../research/trials/trial-worker.ts";
import type { TrialSpec } from "../../research/types.ts";
import type { BlobStore } from "../../storage/blobs.ts";
import type { PublishedBlobs } from "../published-blobs.ts";
import { IDLE_MS, LEASE_MS, POLL_MS, RESULTS_KEPT } from "./limits.ts";
import {
  jobId,
  type ResearchJob,
  type ResearchResult,
  type SignedText,
  signResult,
} from "./research-job.ts";
import type { TaskFiles } from "./task-files.ts";

/** What this node's user allows. */
export interface ResearchOffer {
  /** Trials at once; 0: none. */
  readonly workers: number;
  readonly trial_cpu_s: number;
  /** How this program starts itself, and what it is. */
  readonly self: readonly string[];
  readonly version: string;
}

export interface ExecutorOptions {
  readonly offer: ResearchOffer;
  readonly signer: Signer;
  readonly blobs: BlobStore;
  readonly published: PublishedBlobs;
  readonly tasks: TaskFiles;
  readonly clock: Clock;
}

interface RunningJob {
  readonly submitter: PublicKey;
  asked_ms: number;
  readonly ended: Promise<SignedText | null>;
  drop(): void;
}

interface EndedJob {
  readonly submitter: PublicKey;
  readonly text: SignedText;
  readonly outputs: Hash | null;
}

interface PooledWorker {
  readonly folder: string;
  readonly worker: TrialWorker;
  busy: boolean;
  idle_ms: number;
}

export type TrialAnswer =
  | { readonly state: "running" | "busy" }
  | { readonly state: "ended"; readonly result: string; readonly signature: string };

const log = roomLog("agent");
const BUSY = { state: "busy" } as const;
const RUNNING = { state: "running" } as const;

export class TrialExecutor {
  readonly #options: ExecutorOptions;
  readonly #running = new Map<Hash, RunningJob>();
  /** Ended jobs, oldest first, with the outputs that they keep on the disk. */
  readonly #results = new Map<Hash, EndedJob>();
  readonly #workers = new Set<PooledWorker>();
  readonly #timer: ReturnType<typeof setInterval>;
  #closed = false;

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#sweep(), LEASE_MS / 6);
  }

  /** Trials that run now. */
  get running(): number {
    return this.#running.size;
  }

  /** Begins a job or tells how it goes; waits a moment for its end. */
  async ask(message: SignedText, job: ResearchJob): Promise<TrialAnswer> {
    const { offer, clock } = this.#options;
    const id = jobId(message.text);
    const known = this.#results.get(id);
    if (known) return { state: "ended", result: known.text.text, signature: known.text.signature };
    let running = this.#running.get(id);
    if (!running) {
      if (this.#closed || this.#running.size >= offer.workers) return BUSY;
      running = this.#begin(id, job);
    }
    running.asked_ms = clock.now_ms();
    const moment = Promise.withResolvers<null>();
    const timer = setTimeout(() => moment.resolve(null), POLL_MS);
    const ended = await Promise.race([running.ended, moment.promise]);
    clearTimeout(timer);
    if (ended === null) return this.#running.has(id) ? RUNNING : BUSY;
    return { state: "ended", result: ended.text, signature: ended.signature };
  }

  /** The submitter has its result, or does not want it any more. */
  async forget(id: Hash, from: PublicKey): Promise<void> {
    const running = this.#running.get(id);
    if (running?.submitter === from) running.drop();
    if (this.#results.get(id)?.submitter === from) await this.#forgetResult(id);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const { drop } of this.#running.values()) drop();
    await Promise.all([...this.#workers].map(({ worker }) => worker.close()));
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
  }

  #begin(id: Hash, job: ResearchJob): RunningJob {
    const dropped = Promise.withResolvers<null>();
    const ended = this.#run(id, job, dropped.promise).finally(() => this.#running.delete(id));
    const running = {
      submitter: job.submitter,
      asked_ms: this.#options.clock.now_ms(),
      ended,
      drop: () => dropped.resolve(null),
    };
    this.#running.set(id, running);
    return running;
  }

  /** Null where it was dropped. Never rejects: what cannot be run is refused, signed. */
  async #run(id: Hash, job: ResearchJob, dropped: Promise<null>): Promise<SignedText | null> {
    const { signer, offer } = this.#options;
    const submitter = nodeIdOf(job.submitter);
    let result: Omit<ResearchResult, "schema" | "node" | "job_id">;
    let outputs: Uint8Array | null = null;
    try {
      if (job.cpu_limit_s > offer.trial_cpu_s)
        return this.#refusal(id, `it may use ${offer.trial_cpu_s} CPU seconds at most here`);
      const answer = await this.#evaluate(job, dropped);
      if (answer === null) return null;
      const { kind, cpu_s, log: trial_log } = answer;
      outputs = answer.kind === "done" ? answer.outputs : null;
      result = {
        ...{ kind, cpu_s, log: trial_log, outputs_bytes: outputs?.byteLength ?? 0 },
        record: answer.kind === "done" ? (answer.record as ResearchResult["record"]) : null,
        error: answer.kind === "done" ? null : answer.error.slice(0, 1000),
      };
    } catch (error) {
      const { code, message } = toMagnetError(error);
      return this.#refusal(id, `${code}: ${message}`);
    }
    log.info("research_trial", { submitter, kind: result.kind, cpu_s: result.cpu_s });
    const text = signResult(signer, { job_id: id, ...result });
    return this.#keep(id, job.submitter, text, outputs);
  }

  #refusal(id: Hash, reason: string): SignedText {
    log.warn("research_refused", { reason });
    const error = reason.slice(0, 1000);
    const empty = { record: null, outputs_bytes: 0, log: null, cpu_s: 0 };
    return signResult(this.#options.signer, { job_id: id, kind: "refused", error, ...empty });
  }

  async #keep(
    id: Hash,
    submitter: PublicKey,
    text: SignedText,
    outputs: Uint8Array | null,
  ): Promise<SignedText> {
    let hash: Hash | null = null;
    if (outputs !== null) {
      const stored = await this.#options.blobs.put(outputs);
      this.#options.published.publish(stored.hash);
      hash = stored.hash;
    }
    this.#results.set(id, { submitter, text, outputs: hash });
    if (this.#results.size > RESULTS_KEPT) await this.#forgetResult([...this.#results.keys()][0]!);
    return text;
  }

  async #forgetResult(id: Hash): Promise<void> {
    const { outputs } = this.#results.get(id)!;
    this.#results.delete(id);
    if (outputs === null || [...this.#results.values()].some((r) => r.outputs === outputs)) return;
    this.#options.published.withdraw(outputs);
    await this.#options.blobs.delete(outputs);
  }

  async #evaluate(job: ResearchJob, dropped: Promise<null>): Promise<WorkerAnswer | null> {
    const { task, spec, cpu_limit_s, submitter } = job;
    const task_hash = spec.task_hash as Hash;
    const folder = await this.#options.tasks.folderOf(task, task_hash, submitter);
    const pooled = await this.#worker(folder, task_hash);
    let answer: WorkerAnswer | null = null;
    try {
      const evaluated = pooled.worker.evaluate(spec as unknown as TrialSpec, { cpu_limit_s });
      answer = await Promise.race([evaluated, dropped]);
    } finally {
      const usable = answer?.kind === "done" || answer?.kind === "failed";
      if (usable && !this.#closed) {
        pooled.busy = false;
        pooled.idle_ms = this.#options.clock.now_ms();
      } else await this.#end(pooled);
    }
    return answer;
  }

  /** An idle worker of this task, or a new one in the place of another task's. */
  async #worker(folder: string, task_hash: Hash): Promise<PooledWorker> {
    const idle = [...this.#workers].filter(({ busy }) => !busy);
    const same = idle.find((pooled) => pooled.folder === folder);
    if (same) {
      same.busy = true;
      return same;
    }
    const { self, workers } = this.#options.offer;
    if (this.#workers.size >= workers && idle[0]) await this.#end(idle[0]);
    const command = [...self, "research", "worker", folder, "--threads", "1"];
    const memory_bytes = workerMemoryBytes(workers);
    const worker = await new LocalWorkers({ command, task_hash, memory_bytes }).open();
    const pooled = { folder, worker, busy: true, idle_ms: 0 };
    this.#workers.add(pooled);
    return pooled;
  }

  async #end(pooled: PooledWorker): Promise<void> {
    this.#workers.delete(pooled);
    await pooled.worker.close();
  }

  /** Drops what nobody asks about, and ends workers without work. */
  async #sweep(): Promise<void> {
    const now_ms = this.#options.clock.now_ms();
    for (const { asked_ms, drop } of this.#running.values())
      if (now_ms > asked_ms + LEASE_MS) drop();
    for (const pooled of this.#workers)
      if (!pooled.busy && now_ms > pooled.idle_ms + IDLE_MS) await this.#end(pooled);
    const used = new Set([...this.#workers].map(({ folder }) => folder));
    await this.#options.tasks.tidy((folder) => used.has(folder));
  }
}
