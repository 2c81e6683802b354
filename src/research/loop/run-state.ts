/**
 * What a run knows: its trials, its models and its budget. Models are configurations with a trial
 * per seed; the task's own seed comes first, further seeds confirm (repeated cross-validation).
 */
import { canonicalJson, sha256 } from "../../core/bytes.ts";
import { type Random, seededRandom } from "../../core/random.ts";
import type { Experience } from "../search/bandit.ts";
import type {
  Configuration,
  Failure,
  PairedDifference,
  ResearchDomain,
  StrategyState,
  Trial,
  TrialPlace,
  TrialSpec,
} from "../types.ts";
import type { Budget, Reserve } from "./budget.ts";
import type { Candidate, GateQuery, NoiseFloor, VersionResult } from "./events.ts";
import type { Proposal } from "./faces.ts";
import type { Gate } from "./gate.ts";
import { LOOP_LIMITS } from "./limits.ts";
import { meanDifference } from "./statistics.ts";
import { askSpent, askTrials, type Part, tell, vouchFor } from "./steps.ts";

/** What of a domain the machine uses: nothing here reads a file or waits. */
export type DomainView = Pick<
  ResearchDomain,
  | "task_hash"
  | "data_hash"
  | "facts"
  | "metric"
  | "fidelities"
  | "baseline"
  | "parse"
  | "adopt"
  | "compare"
  | "strategies"
>;

/** A configuration with its full-fidelity trials, by seed. */
export interface Model {
  readonly configuration: Configuration;
  readonly version: number;
  readonly strategy: string;
  /** The trial at the task's own seed comes first. */
  readonly trials: Trial[];
}

export interface RunOptions {
  readonly seed: number;
  readonly batch: number;
  readonly patience: number | null;
  readonly epsilon: number | null;
  readonly taught: boolean;
}

export class RunState {
  readonly domain: DomainView;
  readonly options: RunOptions;
  readonly budget: Budget;
  readonly gate: Gate;
  readonly trials: Trial[] = [];
  readonly versions: VersionResult[] = [];
  readonly queries: GateQuery[] = [];
  readonly experience: Experience[] = [];
  /** Best full-fidelity score at the task's seed after each trial. */
  readonly bestSoFar: (number | null)[] = [];
  /** The noise floor has been measured: nothing is decided before. */
  measured = false;
  noise: NoiseFloor = { seeds: 0, mean: 0, deviation: 0, floor: 0 };
  baseline!: Model;
  /** The last accepted model: what a claim of the run rests on. */
  incumbent!: Model;
  /** The model that the search builds on: best by its mean over the seeds, accepted or not. */
  leader!: Model;
  /** Every model with more than one seed: what the last comparison is among. */
  readonly confirmed: Model[] = [];
  /** The final models are fitted; what is left of the budget may still change the choice. */
  settled = false;
  /** Configurations of final models that are fitted. */
  readonly #fitted = new Set<string>();
  readonly #byKey = new Map<string, Trial>();

  constructor(domain: DomainView, options: RunOptions, budget: Budget, gate: Gate) {
    this.domain = domain;
    this.options = options;
    this.budget = budget;
    this.gate = gate;
  }

  /** An own stream of random numbers for each purpose, so that none shifts another. */
  random(purpose: string): Random {
    return randomFor(this.options.seed, purpose);
  }

  spec(configuration: Configuration, seed: number, fidelity = 1): TrialSpec {
    return { task_hash: this.domain.task_hash, configuration, seed, fidelity };
  }

  tried(configuration: Configuration, seed: number, fidelity = 1): Trial | undefined {
    return this.#byKey.get(keyOf(configuration, seed, fidelity));
  }

  /** Runs a batch, notes and tells its trials; `most_s`: CPU seconds that each may take at most. */
  *run(batch: Proposal[], reserve: Reserve, most_s = Infinity): Part<Trial[]> {
    const usual = this.budget.trialLimit_s(this.typicalCost(), batch.length, reserve);
    const least = Math.min(usual ?? Infinity, most_s);
    const limit = least === Infinity ? null : least;
    const trials = yield* askTrials(batch, limit);
    for (const trial of trials) {
      const { configuration, seed, fidelity } = trial.spec;
      this.#byKey.set(keyOf(configuration, seed, fidelity), trial);
      this.trials.push(trial);
      const before = this.bestSoFar.at(-1) ?? null;
      const counts = fidelity === 1 && seed === this.options.seed;
      const score = trial.outcome?.score ?? null;
      const best = counts && score !== null && !(before !== null && before >= score);
      this.bestSoFar.push(best ? score : before);
      yield* tell({
        kind: "trial",
        trial: trial.index,
        place: trial.place,
        state: trial.state,
        score,
        cpu_s: trial.outcome?.cpu_s ?? 0,
        fidelity,
        seed,
        best_score: best ? score! : (before ?? 0),
        error: trial.error,
      });
    }
    const failed = trials.some((t) => !t.outcome);
    const own = trials.reduce((sum, t) => sum + (t.outcome?.cpu_s ?? 0), 0);
    this.budget.batchDone(trials.length, failed ? null : own, yield* askSpent());
    return trials;
  }

  /**
   * Runs proposals that only mean something together; null where one failed, or where what the
   * first ones took leaves too little for the others. Near the end of a budget they go one by one.
   * `each` is told of every one that is done, whether the others follow or not.
   */
  *runAll(
    batch: readonly Proposal[],
    costs: readonly number[],
    reserve: Reserve,
    each: (trial: Trial, i: number) => void = () => undefined,
  ): Part<Trial[] | null> {
    const done: Trial[] = [];
    while (done.length < batch.length) {
      const rest = costs.slice(done.length);
      if (this.budget.fitting(rest, reserve) < rest.length) return null;
      const n = this.budget.together(rest, reserve);
      const from = done.length;
      done.push(...(yield* this.run(batch.slice(from, from + n), reserve)));
      for (const [i, trial] of done.slice(from).entries()) if (trial.outcome) each(trial, from + i);
      if (done.some((trial) => !trial.outcome)) return null;
    }
    return done;
  }

  /** Before a decision rests on them: what other machines said of these trials is computed again. */
  *vouch(trials: readonly Trial[]): Part<void> {
    yield* vouchFor(trials);
    const own_s = trials.reduce((sum, trial) => sum + freshCost(trial), 0);
    this.budget.vouchDone(own_s, yield* askSpent());
  }

  /** Done trials at full fidelity and the task's seed, oldest first: what analysis looks at. */
  full(): Trial[] {
    return this.trials.filter(
      (t) => t.outcome && t.spec.fidelity === 1 && t.spec.seed === this.options.seed,
    );
  }

  /** Mean CPU seconds of a full trial. */
  typicalCost(): number {
    const costs = this.trials.flatMap((t) =>
      t.outcome ? [t.outcome.cpu_s / t.spec.fidelity] : [],
    );
    return costs.reduce((a, b) => a + b, 0) / Math.max(1, costs.length);
  }

  /** Paired difference b - a averaged over the seeds that both were run at. */
  difference(a: Model, b: Model): { difference: PairedDifference; seeds: number } {
    const parts = b.trials.flatMap((trial) => {
      const other = a.trials.find((t) => t.spec.seed === trial.spec.seed);
      return other?.outcome && trial.outcome
        ? [this.domain.compare(other.outcome, trial.outcome, trial.spec.seed)]
        : [];
    });
    return { difference: meanDifference(parts), seeds: parts.length };
  }

  /**
   * What exploring must leave over now: a confirmation, a gate read and the final fits. Once the
   * final models are fitted only what vouches for its best: that is confirmed only if that fits too.
   */
  reserve(confirm: boolean): Reserve {
    if (this.settled) return { ...NOTHING_MORE, vouch_s: this.typicalCost() };
    const cost = Math.max(costOf(this.leader), this.typicalCost(), this.#waitingCost());
    const seeds = this.measured ? this.confirmSeeds().length : LOOP_LIMITS.noise_seeds_few - 1;
    const extra = confirm ? seeds : 0;
    const noise = confirm && !this.measured ? seeds : 0;
    const both_s = cost + costOf(this.baseline);
    return {
      trials: extra + noise,
      confirm_s: extra * cost,
      vouch_s: confirm ? (1 + extra) * cost : 0,
      gate_s: confirm ? both_s : 0,
      fit_s: both_s,
    };
  }

  /** CPU seconds of the best trial that is clearly above the leader and not yet confirmed; else 0. */
  #waitingCost(): number {
    const lead = this.leader.trials[0]!.outcome!.score + this.noise.floor;
    const judged = new Set(this.confirmed.map((model) => model.trials[0]));
    const waiting = this.full().filter((t) => t.outcome!.score > lead && !judged.has(t));
    if (waiting.length === 0) return 0;
    return freshCost(waiting.reduce((a, b) => (b.outcome!.score > a.outcome!.score ? b : a)));
  }

  /** What must be left over for this model to be confirmed and replace the last accepted one. */
  reserveFor(model_s: number): Reserve {
    const gate_s = this.gate.left > 0 ? model_s + costOf(this.incumbent) : 0;
    const fit_s = model_s + (this.settled ? 0 : costOf(this.baseline));
    const vouch_s = model_s * (1 + this.confirmSeeds().length);
    return { trials: 0, confirm_s: 0, vouch_s, gate_s, fit_s };
  }

  isFitted(model: Model): boolean {
    return this.#fitted.has(canonicalJson(model.configuration));
  }
  noteFitted(model: Model): void {
    this.#fitted.add(canonicalJson(model.configuration));
  }

  /** Seeds beyond the task's own at which contenders are confirmed; the baseline has them all. */
  confirmSeeds(): number[] {
    return this.baseline.trials.slice(1, LOOP_LIMITS.confirm_seeds).map((trial) => trial.spec.seed);
  }

  candidate(model: Model): Candidate {
    return {
      trial: model.trials[0]!.index,
      configuration: model.configuration,
      strategy: model.strategy,
      version: model.version,
      score: meanScore(model),
      seeds: model.trials.length,
    };
  }

  place(version: number, strategy: string, proposer: TrialPlace["proposer"]): TrialPlace {
    return { version, strategy, proposer };
  }
}

/** What strategies are told. */
export const stateOf = (run: RunState, failures: readonly Failure[]): StrategyState => ({
  best: run.leader.trials[0]!,
  trials: run.full(),
  failures,
  counted: run.budget.counted,
});

const keyOf = (configuration: Configuration, seed: number, fidelity: number) =>
  `${seed}/${fidelity}/${canonicalJson(configuration)}`;

/** A stream of random numbers from the run's seed and a purpose. */
export function randomFor(seed: number, purpose: string): Random {
  const digest = sha256(`magnet.research/${seed}/${purpose}`);
  return seededRandom(new DataView(digest.buffer, digest.byteOffset).getBigUint64(0));
}

export const meanScore = (model: Model): number =>
  model.trials.reduce((sum, t) => sum + t.outcome!.score, 0) / model.trials.length;

/**
 * CPU seconds of a trial at a seed that nothing is known of: its own, and those of the parts that it
 * had from a cache, less what is done at the task's own seed only, where its domain says these.
 */
export function freshCost({ outcome }: Trial): number {
  const { cpu_s, figures } = outcome!;
  const seconds = (value: unknown) => (typeof value === "number" ? Math.max(0, value) : 0);
  return Math.max(0, cpu_s - seconds(figures.once_s)) + seconds(figures.kept_s);
}

/** CPU seconds of a model's dearest trial. */
export const costOf = (model: Model): number => Math.max(...model.trials.map(freshCost));

export const NOTHING_MORE: Reserve = { trials: 0, confirm_s: 0, gate_s: 0, fit_s: 0 };
