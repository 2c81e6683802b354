/**
 * The continuous-batching engine: a thin loop around the scheduler. Each turn plans a step, lets
 * the backend compute it on a worker thread and hands the drawn tokens to their readers. Whatever
 * happens to one request (its reader goes, its options are bad, its step fails), its blocks and
 * handles are given back exactly once, and the others go on.
 */
import { invariant, MagnetError } from "../../core/errors.ts";
import type { StepBackend, StepResults } from "./backend.ts";
import { BLOCK_TOKENS } from "./block-store.ts";
import {
  addHidden,
  cancelled,
  checkOptions,
  checkTokens,
  drawnToken,
  type EmbedJob,
  type GenerateJob,
  type Job,
  nothingDrawn,
  resultOf,
  unitVector,
} from "./engine-request.ts";
import { Scheduler, type StepPart, type StepPlan } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";
import { StepArrays } from "./step-arrays.ts";
import { TokenQueue } from "./token-queue.ts";
import type {
  Engine,
  EngineOptions,
  EngineRequest,
  EngineResult,
  EngineStats,
  EngineToken,
} from "./types.ts";

const SEQUENCES_MAX = 64;
const WAITING_MAX = 256;

type LoopOptions = Pick<EngineOptions, "sequences_max" | "waiting_max" | "prefix_cache"> & {
  /** Monotonic, in milliseconds. */
  now_ms?: () => number;
};

export class BatchEngine implements Engine {
  readonly context: number;
  readonly vocab_size: number;
  readonly #backend: StepBackend;
  readonly #scheduler: Scheduler;
  readonly #arrays = new StepArrays();
  readonly #now_ms: () => number;
  readonly #jobs = new Map<Sequence, Job>();
  readonly #totals = { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0, steps: 0 };
  /** Of the step that is being computed. */
  #plan: StepPlan | null = null;
  #abort_step = new AbortController();
  #loop: Promise<void> | null = null;
  #closed: Promise<void> | null = null;

  /** The backend is closed with the engine. */
  constructor(backend: StepBackend, options: LoopOptions = {}) {
    this.#backend = backend;
    this.#now_ms = options.now_ms ?? (() => performance.now());
    const { mixed_prompt_rows } = backend;
    this.#scheduler = new Scheduler({
      blocks: backend.blocks,
      sequences_max: options.sequences_max ?? SEQUENCES_MAX,
      waiting_max: options.waiting_max ?? WAITING_MAX,
      prefix_cache: options.prefix_cache ?? true,
      ...(mixed_prompt_rows === undefined ? {} : { mixed_prompt_rows }),
    });
    this.context = Math.min(backend.context, backend.blocks * BLOCK_TOKENS);
    this.vocab_size = backend.vocab_size;
  }

  async *generate(request: EngineRequest): AsyncGenerator<EngineToken, EngineResult> {
    const job = this.#addGenerate(request);
    const stopListening = this.#begin(job, request.signal);
    try {
      for (;;) {
        const next = await job.queue.next();
        if ("result" in next) return next.result;
        yield next.token;
      }
    } finally {
      stopListening();
      this.#end(job, cancelled()); // a reader that goes before the end; else there is nothing to end
      await job.released.promise;
    }
  }

  async embed(tokens: Int32Array, signal?: AbortSignal): Promise<Float32Array> {
    this.#requireOpen(signal);
    checkTokens(tokens, this.#limits(), 0);
    const sum = new Float64Array(this.#backend.d_model);
    const sequence = this.#scheduler.add(tokens, "hidden");
    const released = Promise.withResolvers<void>();
    const job: EmbedJob = {
      kind: "embed",
      sequence,
      released,
      reason: undefined,
      ended: false,
      sum,
    };
    const stopListening = this.#begin(job, signal);
    try {
      await released.promise;
    } finally {
      stopListening();
    }
    if (job.reason !== undefined) throw job.reason;
    return unitVector(sum);
  }

  stats(): EngineStats {
    const { store, running, waiting } = this.#scheduler;
    return {
      ...{ running, waiting },
      blocks_total: store.total,
      blocks_in_use: store.in_use,
      blocks_cached: store.cached,
      ...this.#totals,
      live_handles: this.#backend.liveHandles(),
    };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const error = new MagnetError("CANCELLED", "the engine was closed", { exit: "interrupted" });
    const jobs = [...this.#jobs.values()];
    for (const job of jobs) this.#end(job, error);
    await Promise.all(jobs.map((job) => job.released.promise));
    await this.#loop;
    this.#backend.close();
  }

  #requireOpen(signal: AbortSignal | undefined): void {
    if (this.#closed) throw new MagnetError("ENGINE_CLOSED", "this engine has been closed");
    if (signal?.aborted) throw cancelled();
  }

  #limits() {
    const { context, vocab_size } = this;
    return { context, vocab_size, model_context: this.#backend.context };
  }

  #addGenerate(request: EngineRequest): GenerateJob {
    this.#requireOpen(request.signal);
    checkTokens(request.prompt, this.#limits(), 1);
    const sampling = checkOptions(request);
    const sequence = this.#scheduler.add(request.prompt, "tokens", request.cache_scope);
    const resume = () => {
      this.#scheduler.resume(sequence);
      this.#kick();
    };
    return {
      kind: "generate",
      ...{ sequence, request, sampling },
      limit: Math.min(request.max_tokens, this.context - request.prompt.length),
      queue: new TokenQueue(resume),
      submitted_ms: this.#now_ms(),
      ...{ started_ms: undefined, first_token_ms: undefined, sampler: undefined, drawn: 0 },
      ...{ released: Promise.withResolvers<void>(), reason: undefined, ended: false },
    };
  }

  /** Lets a job run; gives what ends the listening to its signal. */
  #begin(job: Job, signal: AbortSignal | undefined): () => void {
    this.#jobs.set(job.sequence, job);
    const onAbort = () => this.#end(job, cancelled());
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#kick();
    return () => signal?.removeEventListener("abort", onAbort);
  }

  /** Ends a job from outside: at once, or with the step that computes it. */
  #end(job: Job, reason: unknown): void {
    if (job.ended) return;
    job.reason ??= reason;
    if (this.#scheduler.end(job.sequence)) this.#settle(job, { error: job.reason });
    // Others in the step keep it going; for nobody it need not be computed to its end.
    else if (this.#plan?.every(({ sequence }) => sequence.doomed)) this.#abort_step.abort();
  }

  /** The job's sequence holds nothing any more: gives the rest back and tells its caller. */
  #settle(job: Job, ending: { error: unknown } | { result: EngineResult } | null): void {
    invariant(!job.ended, "a request ends twice");
    job.ended = true;
    this.#jobs.delete(job.sequence);
    const { prompt_length, cached_tokens } = job.sequence;
    if (cached_tokens !== undefined) {
      this.#totals.prompt_tokens += prompt_length;
      this.#totals.cached_tokens += cached_tokens;
    }
    if (job.kind === "generate") {
      job.sampler?.close();
      if (ending) job.queue.end(ending);
    } else if (ending && "error" in ending) job.reason ??= ending.error;
    job.released.resolve();
  }

  /** Starts the loop if it rests, after the caller's turn: requests of one turn share a step. */
  #kick(): void {
    this.#loop ??= Promise.resolve().then(() => this.#run());
  }

  async #run(): Promise<void> {
    try {
      for (let plan = this.#scheduler.plan(); plan; plan = this.#scheduler.plan())
        await this.#step(this.#prepare(plan));
    } catch (error) {
      // A broken invariant: nobody may wait for it for ever, and it must not be hidden.
      for (const job of this.#jobs.values()) this.#settle(job, { error });
      throw error;
    } finally {
      this.#loop = null;
    }
  }

  /** Gives new sequences their samplers; those whose options are refused leave the step. */
  #prepare(plan: StepPlan): StepPlan {
    return plan.filter((part) => {
      const job = this.#jobOf(part);
      if (job.kind !== "generate" || job.sampler) return true;
      job.started_ms ??= this.#now_ms();
      const { prompt, top_logprobs = 0, constraint } = job.request;
      const { sampling, limit: token_budget } = job;
      const wanted = { sampling, top_logprobs, constraint, token_budget, prompt };
      try {
        job.sampler = this.#backend.createSampler(wanted);
        return true;
      } catch (error) {
        this.#scheduler.withdraw(part.sequence);
        this.#settle(job, { error });
        return false;
      }
    });
  }

  async #step(plan: StepPlan): Promise<void> {
    if (plan.length === 0) return this.#scheduler.finish(() => 0);
    this.#plan = plan;
    this.#abort_step = new AbortController();
    this.#arrays.fill(plan, (part) => (this.#jobOf(part) as GenerateJob).sampler!.address);
    this.#totals.steps++;
    let results: StepResults;
    try {
      results = await this.#backend.step(this.#arrays, this.#abort_step.signal);
    } catch (error) {
      this.#scheduler.fail();
      for (const part of plan) {
        const job = this.#jobOf(part);
        this.#settle(job, { error: job.reason ?? error });
      }
      return;
    } finally {
      this.#plan = null;
    }
    this.#scheduler.finish(({ first_output }) => results.tokens[first_output]!);
    for (const part of plan) this.#deliver(part, results);
  }

  #deliver(part: StepPart, results: StepResults): void {
    const job = this.#jobOf(part);
    const { sequence } = part;
    if (sequence.state === "ended") this.#settle(job, { error: job.reason });
    else if (job.kind === "embed") {
      addHidden(job, results, part);
      if (sequence.computed === sequence.length) this.#finish(job, null);
    } else {
      if (part.output === "token")
        this.#deliverToken(
          job,
          drawnToken(results, part.first_output, job.request.top_logprobs ?? 0),
        );
    }
  }

  #deliverToken(job: GenerateJob, token: EngineToken): void {
    const now = this.#now_ms();
    job.first_token_ms ??= now;
    job.drawn++;
    let stop: boolean;
    try {
      if (token.token < 0) throw nothingDrawn();
      stop = job.request.end_tokens.has(token.token);
      if (!stop) {
        stop = job.request.ends_with?.(token.token) ?? false;
        job.queue.push(token);
      }
    } catch (error) {
      this.#end(job, error);
      return;
    }
    this.#totals.completion_tokens++;
    if (stop || job.drawn >= job.limit)
      this.#finish(job, resultOf(job, stop ? "stop" : "length", now));
    else if (job.queue.behind) this.#scheduler.pause(job.sequence);
  }

  #finish(job: Job, result: EngineResult | null): void {
    invariant(this.#scheduler.end(job.sequence), "a request ends within a step");
    this.#settle(job, result && { result });
  }

  #jobOf({ sequence }: Pick<StepPart, "sequence">): Job {
    const job = this.#jobs.get(sequence);
    invariant(job !== undefined, "a sequence without a request");
    return job;
  }
}
