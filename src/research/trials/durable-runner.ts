/**
 * Runs the trials of one run on its workers and keeps every step of it in the store. What an earlier
 * life of the run has done is answered from there, so the loop, which decides by nothing else, goes
 * the same way again. A trial whose worker is lost is tried once more; a crash or a time-out is an
 * outcome, never the end of the run.
 */
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { roomLog } from "../../core/log.ts";
import type { Proposal, RunTrialsOptions, Spent, TrialRunner } from "../loop/faces.ts";
import type { Trial } from "../types.ts";
import { ERROR_LENGTH_MAX, RETRIES, TRIAL_CPU_S } from "./limits.ts";
import { ownCpuSeconds } from "./process-cpu.ts";
import { ResultChecker, type Taken, type Verifier } from "./result-checker.ts";
import type { TrialEnd, TrialStore } from "./trial-store.ts";
import type { TrialWorker, WorkerAnswer, WorkerSource } from "./trial-worker.ts";

/** How often it is stored what this life has used: as much is forgotten after a kill. */
const NOTE_MS = 1000;

export interface RunnerOptions {
  readonly store: TrialStore;
  /** One place for a worker each; a worker is opened when there is a trial for it. */
  readonly sources: readonly WorkerSource[];
  /** Where results of other machines are computed again, and which of them. */
  readonly verifier?: Verifier;
  /** CPU seconds of this process that belong to the run; by default from now on. */
  readonly ownCpu?: () => number;
  /** Told of each trial that has just ended, in order of arrival: for the live view. */
  readonly onTrial?: (trial: Trial) => void;
}

/** A trial that waits for its end. */
interface Job {
  readonly index: number;
  /** What is left of the trial's limit. */
  cpu_limit_s: number;
  readonly signal: AbortSignal | undefined;
  lost: number;
  resolve(trial: Trial): void;
  reject(error: unknown): void;
}

const log = roomLog("research");

export class DurableRunner implements TrialRunner {
  readonly #store: TrialStore;
  readonly #sources: readonly WorkerSource[];
  /** Sources that still serve; one that cannot open a worker leaves. */
  readonly #serving = new Set<WorkerSource>();
  readonly #workers = new Set<TrialWorker>();
  readonly #queue: Job[] = [];
  /** CPU seconds that each trial may take. */
  readonly #limits = new Map<number, number>();
  /** Called when the queue has grown or the runner closes. */
  #wakers: (() => void)[] = [];
  readonly #checker: ResultChecker;
  readonly #ownCpu: () => number;
  readonly #onTrial: (trial: Trial) => void;
  readonly #began_ms = performance.now();
  readonly #before: Spent;
  readonly #timer: ReturnType<typeof setInterval>;
  /** Why the run cannot go on: the store is lost, or a node has lied. */
  #broken: unknown = null;
  #next = 0;
  #started = false;
  #closed = false;

  /** The store must have begun its life (`begin`). */
  constructor({ store, sources, verifier, ownCpu, onTrial }: RunnerOptions) {
    this.#store = store;
    this.#sources = sources;
    this.#checker = new ResultChecker(store, verifier);
    const start_s = ownCpuSeconds();
    this.#ownCpu = ownCpu ?? (() => ownCpuSeconds() - start_s);
    this.#onTrial = onTrial ?? (() => undefined);
    this.#before = store.spentBefore();
    this.#timer = setInterval(() => this.#note(), NOTE_MS);
    this.#timer.unref();
  }

  async run(batch: readonly Proposal[], options: RunTrialsOptions): Promise<Trial[]> {
    const { signal, cpu_limit_s } = options;
    signal?.throwIfAborted();
    this.#broken = null;
    const first = this.#next;
    this.#next += batch.length;
    const limit_s = cpu_limit_s ?? TRIAL_CPU_S;
    const jobs = this.#store.queue(first, batch).map(({ trial: index, state }) => {
      this.#limits.set(index, limit_s);
      const ended = state === "queued" ? null : this.#store.whole(index);
      if (ended !== null) return ended;
      if (state === "done") this.#store.forget(index); // its outputs were damaged on the disk
      const { promise, resolve, reject } = Promise.withResolvers<Trial>();
      this.#queue.push({ index, cpu_limit_s: limit_s, signal, lost: 0, resolve, reject });
      return promise;
    });
    const stop = () => void this.#stop(signal!);
    signal?.addEventListener("abort", stop, { once: true });
    this.#start();
    this.#wake();
    // All of them: nothing of the batch must go on once it has been answered for.
    const settled = await Promise.allSettled(jobs);
    signal?.removeEventListener("abort", stop);
    this.#note();
    for (const end of settled) if (end.status === "rejected") throw end.reason;
    return settled.map((end) => (end as PromiseFulfilledResult<Trial>).value);
  }

  spent(): Spent {
    const { cpu_s, wall_s } = this.#life();
    return { cpu_s: this.#before.cpu_s + cpu_s, wall_s: this.#before.wall_s + wall_s };
  }

  once<T>(key: string, step: () => T | Promise<T>): Promise<T> {
    return this.#store.once(key, step);
  }

  async vouch(trials: readonly number[], signal?: AbortSignal): Promise<void> {
    for (const index of trials) {
      const cpu_limit_s = this.#limits.get(index) ?? TRIAL_CPU_S;
      await this.#checker.vouch(index, { cpu_limit_s, signal });
    }
  }

  lostQueries(): readonly number[] {
    return this.#store.lostQueries();
  }

  /** Ends all workers; the store stays open. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    const error = new MagnetError("INTERRUPTED", "the run was closed", { exit: "interrupted" });
    for (const { reject } of this.#queue.splice(0)) reject(error);
    this.#wake();
    await Promise.all([this.#closeWorkers(), this.#checker.close()]);
    this.#note();
  }

  #life(): Spent {
    const checked_s = this.#checker.cpuSeconds();
    const workers_s = this.#sources.reduce((sum, source) => sum + source.cpuSeconds(), checked_s);
    const wall_s = (performance.now() - this.#began_ms) / 1000;
    return { cpu_s: this.#ownCpu() + workers_s, wall_s };
  }

  #note(): void {
    try {
      this.#store.noteSpent(this.#life());
    } catch (error) {
      // The next result that is stored meets the same, and says it where it is heard.
      log.warn("spent_not_stored", { reason: toMagnetError(error).message });
    }
  }

  /** The queue's jobs of an aborted batch end here, the running ones when their worker is gone. */
  async #stop(signal: AbortSignal): Promise<void> {
    const stopped = this.#queue.filter((job) => job.signal === signal);
    const others = this.#queue.filter((job) => job.signal !== signal);
    this.#queue.splice(0, this.#queue.length, ...others);
    for (const { reject } of stopped) reject(signal.reason);
    await this.#closeWorkers();
  }

  async #closeWorkers(): Promise<void> {
    await Promise.all([...this.#workers].map((worker) => worker.close()));
  }

  #start(): void {
    if (this.#started) return;
    this.#started = true;
    for (const source of this.#sources) {
      this.#serving.add(source);
      void this.#serve(source);
    }
  }

  #wake(): void {
    for (const waker of this.#wakers.splice(0)) waker();
  }

  /** Until there is a trial to run, or no more will come. */
  async #work(): Promise<boolean> {
    while (!this.#closed && this.#queue.length === 0)
      await new Promise<void>((resolve) => this.#wakers.push(resolve));
    return !this.#closed;
  }

  /** One place for a worker: opens it when there is work and gives it one trial after the other. */
  async #serve(source: WorkerSource): Promise<void> {
    let worker: TrialWorker | null = null;
    while (await this.#work()) {
      try {
        if (worker === null) {
          worker = await source.open();
          this.#workers.add(worker);
        }
      } catch (error) {
        this.#leave(source, error);
        return;
      }
      const job = this.#queue.shift(); // another worker may have taken it meanwhile
      if (job === undefined) continue;
      if (!(await this.#evaluate(worker, job, source))) {
        this.#workers.delete(worker);
        await worker.close();
        worker = null;
      }
    }
    await worker?.close();
  }

  #leave(source: WorkerSource, error: unknown): void {
    this.#serving.delete(source);
    const { code, message } = toMagnetError(error);
    log.warn("worker_not_opened", { code, reason: message, left: this.#serving.size });
    if (this.#serving.size > 0) return;
    for (const { reject } of this.#queue.splice(0)) reject(error);
    this.#started = false; // a later batch tries again
  }

  /** Runs one trial and settles it, or queues it again. False where the worker is gone. */
  async #evaluate(worker: TrialWorker, job: Job, source: WorkerSource): Promise<boolean> {
    const { index, cpu_limit_s, signal } = job;
    try {
      const same = this.#store.sameSpec(index);
      const copied = same && this.#copy(index, same.trial);
      if (copied) {
        job.resolve(copied);
        return true;
      }
      this.#store.started(index, worker.name);
      const trial = this.#store.trial(index)!;
      const answer = await worker.evaluate(trial.spec, { cpu_limit_s });
      const taken = source.foreign
        ? await this.#checker.check(trial, answer, { cpu_limit_s, signal })
        : { answer, worker: null };
      if (!source.foreign && answer.kind === "done") this.#checker.noteOwn(trial.spec, answer);
      const stopped = this.#closed || signal?.aborted === true;
      if (answer.kind !== "lost") this.#end(job, taken);
      else if (stopped || !this.#isCrash(job, answer)) this.#again(job, answer, stopped);
      else this.#end(job, taken);
      return answer.kind !== "lost" && answer.kind !== "timed_out";
    } catch (error) {
      // What else ends now would only say that its rows are gone.
      this.#broken ??= error;
      for (const { reject } of [job, ...this.#queue.splice(0)]) reject(this.#broken);
      return true;
    }
  }

  /** A second attempt has what the first has left: a trial's limit is of all of them. */
  #isCrash(job: Job, { blamed, cpu_s }: WorkerAnswer & { kind: "lost" }): boolean {
    if (!blamed) return false;
    job.lost++;
    job.cpu_limit_s -= cpu_s;
    return job.lost > RETRIES || job.cpu_limit_s <= 0;
  }

  #again(job: Job, answer: WorkerAnswer & { kind: "lost" }, stopped: boolean): void {
    this.#store.requeue(job.index, answer.cpu_s);
    if (!stopped) log.info("worker_lost", { trial: job.index, reason: answer.error });
    if (stopped) {
      job.reject(job.signal?.reason ?? new MagnetError("INTERRUPTED", "the run was closed"));
      return;
    }
    this.#queue.unshift(job);
    this.#wake();
  }

  /** Equal specifications have equal outcomes: what is known is not computed again. */
  #copy(index: number, from: number): Trial | null {
    const known = this.#store.whole(from);
    if (known?.outcome == null) return null;
    const { record, worker } = this.#store.trial(from)!;
    const outputs =
      record!.outputs_hash === null ? null : this.#store.outputs(record!.outputs_hash);
    const log_text = `the same as trial ${from}`;
    this.#store.end(index, {
      ...{ state: "done", record, outputs, error: null, log: log_text, cpu_s: 0, worker },
    });
    return this.#told(index);
  }

  #end(job: Job, { answer, worker }: Taken): void {
    const { cpu_s, log: log_text } = answer;
    const end: TrialEnd =
      answer.kind === "done"
        ? { state: "done", record: answer.record, outputs: answer.outputs, error: null, ...NONE }
        : {
            state: answer.kind === "timed_out" ? "timed_out" : "crashed",
            ...{ record: null, outputs: null, ...NONE },
            error: answer.error.replaceAll("\n", " ").slice(0, ERROR_LENGTH_MAX),
          };
    this.#store.end(job.index, { ...end, log: log_text, cpu_s, worker });
    job.resolve(this.#told(job.index));
  }

  #told(index: number): Trial {
    const trial = this.#store.whole(index);
    if (trial === null) throw new MagnetError("RUN_CORRUPT", `trial ${index} is not as stored`);
    this.#onTrial(trial);
    return trial;
  }
}

const NONE = { log: null, cpu_s: 0 } as const;
