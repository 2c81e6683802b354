/**
 * What other machines say is computed again on this one: a sample of their results, every result of
 * an unseen shape, and each one that a decision of the run is about to rest on. A wrong one names its
 * node and undoes what followed from it; one that this machine cannot compute accuses nobody.
 */
import { MagnetError } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import type { TrialSpec } from "../types.ts";
import { overrunSeconds, RETRIES } from "./limits.ts";
import { outcomeAddress, specKey } from "./outcome-record.ts";
import type { StoredTrial } from "./trial-rows.ts";
import type { TrialStore } from "./trial-store.ts";
import {
  isForeign,
  type TrialWorker,
  type WorkerAnswer,
  type WorkerSource,
} from "./trial-worker.ts";

/** Where results are computed again, and which of them without being asked. */
export interface Verifier {
  readonly source: WorkerSource;
  isDue(address: Hash): boolean;
}

/** What a re-computation may take. */
export interface CheckLimits {
  /** The trial's own; here it may take longer, because what a node had from a cache is not. */
  readonly cpu_limit_s: number;
  readonly signal: AbortSignal | undefined;
}

/** An answer that is taken; `worker`: whose it is, where not that of the node that was asked. */
export interface Taken {
  readonly answer: WorkerAnswer;
  readonly worker: string | null;
}

type Done = Pick<WorkerAnswer & { kind: "done" }, "record" | "outputs">;

/** Values that every honest outcome of an effort has in common. */
const shapeOf = (folds: number, output_bytes: number) => `${folds}/${output_bytes}`;
const shapeOfDone = ({ record, outputs }: Done): string =>
  shapeOf(record.fold_scores.length, outputs?.byteLength ?? 0);

export class ResultChecker {
  readonly #store: TrialStore;
  readonly #verifier: Verifier | undefined;
  /** Shapes of outcomes computed on this machine, by fidelity. */
  readonly #shapes = new Map<number, string>();
  /** Addresses of outcomes computed on this machine. */
  readonly #known = new Set<Hash>();
  /** One re-computation at a time. */
  #queue: Promise<unknown> = Promise.resolve();
  #worker: TrialWorker | null = null;
  #closed = false;

  constructor(store: TrialStore, verifier: Verifier | undefined) {
    this.#store = store;
    this.#verifier = verifier;
  }

  /** An outcome of this machine: others of its effort have its shape. */
  noteOwn({ fidelity }: TrialSpec, done: Done): void {
    this.#shapes.set(fidelity, shapeOfDone(done));
  }

  /** What of an answer is taken. Throws NODE_WRONG, having undone what the node has told. */
  async check(trial: StoredTrial, answer: WorkerAnswer, limits: CheckLimits): Promise<Taken> {
    const taken = { answer, worker: null };
    if (answer.kind === "lost" || !this.#verifier) return taken;
    const { spec, worker: name } = trial;
    if (answer.kind !== "done") {
      if (!this.#isDecisive(trial) && !this.#verifier.isDue(specKey(spec))) return taken;
      // A node may have less memory or a slower processor: its failure is no lie, but it is no veto.
      const own = await this.#compute(spec, limits);
      return own.kind === "done" ? { answer: own, worker: this.#worker!.name } : taken;
    }
    const address = outcomeAddress(spec, answer.record);
    const shape = this.#shapes.get(spec.fidelity);
    // Outputs of another length would break every comparison with them: none is taken unseen.
    const fits = shape === shapeOfDone(answer);
    if (fits && !this.#verifier.isDue(address)) return taken;
    const own = await this.#compute(spec, limits);
    if (own.kind === "done") {
      if (outcomeAddress(spec, own.record) === address) return taken;
      throw this.#wrong(name!, "is not what this machine computes");
    }
    if (fits || shape === undefined) return taken; // vouched for before anything rests on it
    if (own.kind === "failed") throw this.#wrong(name!, "is not what this machine computes");
    const error = `its result cannot be checked on this machine: ${own.error}`;
    return { answer: { ...own, kind: "failed", error }, worker: null };
  }

  /**
   * Before a decision rests on a trial: what another machine said of it is computed again, once in
   * the life of the run. What this machine cannot compute is not taken either: such a trial counts
   * as crashed, and RESULT_UNCHECKED has the run resumed from there.
   */
  async vouch(index: number, limits: CheckLimits): Promise<void> {
    const trial = this.#store.trial(index);
    if (!this.#verifier || trial?.record == null || !isForeign(trial.worker)) return;
    const { worker, spec, outcome_address } = trial;
    await this.#store.once(`vouched/${index}`, async () => {
      if (this.#known.has(outcome_address!)) return true;
      const own = await this.#compute(spec, limits);
      if (own.kind === "failed")
        throw this.#wrong(worker, `cannot be computed on this machine (${own.error})`);
      if (own.kind !== "done") throw this.#unchecked(index, worker, own.error);
      if (outcomeAddress(spec, own.record) !== outcome_address)
        throw this.#wrong(worker, "is not what this machine computes");
      return true;
    });
  }

  cpuSeconds(): number {
    return this.#verifier?.source.cpuSeconds() ?? 0;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#worker?.close();
  }

  /** The baseline's trials and those at further seeds: one that fails ends the run, or is a veto. */
  #isDecisive({ place, spec }: StoredTrial): boolean {
    return place.version === 0 || spec.seed !== this.#store.trial(0)!.spec.seed;
  }

  #wrong(name: string, why: string): MagnetError {
    const dropped = this.#store.distrust(name);
    return new MagnetError(
      "NODE_WRONG",
      `${name} gave a result that ${why}; ${dropped} trials are dropped`,
      { hint: "resume the run without that node", exit: "verification" },
    );
  }

  #unchecked(index: number, name: string, reason: string): MagnetError {
    const error = `the result of ${name} cannot be checked on this machine: ${reason}`;
    const dropped = this.#store.giveUp(index, error);
    return new MagnetError(
      "RESULT_UNCHECKED",
      `trial ${index}: ${error}; it counts as crashed, ${dropped} trials after it are dropped`,
      { hint: "resume the run: it goes on without that trial", retryable: true },
    );
  }

  /** What this machine says of a trial; a lost worker gets another chance, as any trial does. */
  #compute(spec: TrialSpec, limits: CheckLimits): Promise<WorkerAnswer> {
    const work = this.#queue.then(() => this.#computed(spec, limits));
    this.#queue = work.catch(() => undefined); // heard by the caller
    return work;
  }

  async #computed(spec: TrialSpec, { cpu_limit_s, signal }: CheckLimits): Promise<WorkerAnswer> {
    const stop = () => void this.#worker?.close();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      for (let lost = 0; ; lost++) {
        this.#goesOn(signal);
        this.#worker ??= await this.#verifier!.source.open();
        const worker = this.#worker;
        if (this.#closed || signal?.aborted) await worker.close(); // nobody else knew of it
        const limit_s = overrunSeconds(cpu_limit_s);
        const answer = await worker.evaluate(spec, { cpu_limit_s: limit_s });
        if (answer.kind === "done") {
          this.noteOwn(spec, answer);
          this.#known.add(outcomeAddress(spec, answer.record));
        }
        if (answer.kind === "done" || answer.kind === "failed") return answer;
        await worker.close();
        this.#worker = null;
        // A worker that was ended with the run says nothing of the trial.
        this.#goesOn(signal);
        if (answer.kind === "timed_out" || lost >= RETRIES) return answer;
      }
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  #goesOn(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (this.#closed)
      throw new MagnetError("INTERRUPTED", "the run was closed", { exit: "interrupted" });
  }
}
