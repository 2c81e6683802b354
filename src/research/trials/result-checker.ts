/**
 * What other machines say is computed again on this one: a sample of their results, every result of
 * an unseen shape, and each one that a decision of the run is about to rest on. A wrong one names its
 * node and undoes what followed from it.
 */
import { MagnetError } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import type { TrialSpec } from "../types.ts";
import { TRIAL_CPU_S } from "./limits.ts";
import { outcomeAddress } from "./outcome-record.ts";
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

  constructor(store: TrialStore, verifier: Verifier | undefined) {
    this.#store = store;
    this.#verifier = verifier;
  }

  /** An outcome of this machine: others of its effort have its shape. */
  noteOwn({ fidelity }: TrialSpec, done: Done): void {
    this.#shapes.set(fidelity, shapeOfDone(done));
  }

  /** Checks an answer that has just come. Throws NODE_WRONG, having undone what the node has told. */
  async check(name: string, spec: TrialSpec, answer: WorkerAnswer): Promise<void> {
    if (answer.kind !== "done" || !this.#verifier) return;
    const address = outcomeAddress(spec, answer.record);
    const shape = this.#shapes.get(spec.fidelity);
    // Outputs of another length would break every comparison with them: none is taken unseen.
    const fits = shape === shapeOfDone(answer);
    if (fits && !this.#verifier.isDue(address)) return;
    const own = await this.#compute(spec);
    if (own.address === null ? fits || shape === undefined : own.address === address) return;
    throw this.#wrong(name, "is not what this machine computes");
  }

  /**
   * Before a decision rests on a trial: what another machine said of it is computed again, once in
   * the life of the run. What this machine cannot compute is not taken either.
   */
  async vouch(index: number): Promise<void> {
    const trial = this.#store.trial(index);
    if (!this.#verifier || trial?.record == null || !isForeign(trial.worker)) return;
    const { worker, spec, outcome_address } = trial;
    await this.#store.once(`vouched/${index}`, async () => {
      if (this.#known.has(outcome_address!)) return true;
      const own = await this.#compute(spec);
      if (own.address === null)
        throw this.#wrong(worker, `cannot be computed on this machine (${own.reason})`);
      if (own.address !== outcome_address)
        throw this.#wrong(worker, "is not what this machine computes");
      return true;
    });
  }

  cpuSeconds(): number {
    return this.#verifier?.source.cpuSeconds() ?? 0;
  }

  async close(): Promise<void> {
    await this.#worker?.close();
  }

  #wrong(name: string, why: string): MagnetError {
    const dropped = this.#store.distrust(name);
    return new MagnetError(
      "NODE_WRONG",
      `${name} gave a result that ${why}; ${dropped} trials are dropped`,
      { hint: "resume the run without that node", exit: "verification" },
    );
  }

  /** The address of this machine's own outcome; null where it has none. */
  #compute(spec: TrialSpec): Promise<{ address: Hash | null; reason: string }> {
    const work = this.#queue.then(async () => {
      this.#worker ??= await this.#verifier!.source.open();
      const answer = await this.#worker.evaluate(spec, { cpu_limit_s: TRIAL_CPU_S });
      if (answer.kind === "done") {
        this.noteOwn(spec, answer);
        const address = outcomeAddress(spec, answer.record);
        this.#known.add(address);
        return { address, reason: "" };
      }
      if (answer.kind !== "failed") {
        await this.#worker.close();
        this.#worker = null;
      }
      return { address: null, reason: answer.error };
    });
    this.#queue = work.catch(() => undefined); // heard by the caller
    return work;
  }
}
