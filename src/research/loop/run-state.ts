/**
 * What a run knows: its trials, its models and its budget. Models are configurations with a trial
 * per seed; the task's own seed comes first, further seeds confirm (repeated cross-validation).
 */
import { canonicalJson, sha256 } from "../../core/bytes.ts";
import { type Random, seededRandom } from "../../core/random.ts";
import type { Experience } from "../search/bandit.ts";
import type {
  Configuration,
  PairedDifference,
  ResearchDomain,
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
import { askSpent, askTrials, type Part, tell } from "./steps.ts";

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
  noise: NoiseFloor = { seeds: 0, mean: 0, deviation: 0, floor: 0 };
  baseline!: Model;
  /** The last accepted model: what a claim of the run rests on. */
  incumbent!: Model;
  /** The model that the search builds on: best by its mean over the seeds, accepted or not. */
  leader!: Model;
  /** Every model with more than one seed: what the last comparison is among. */
  readonly confirmed: Model[] = [];
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

  /** Runs a batch, notes and tells its trials. */
  *run(batch: Proposal[], reserve: Reserve): Part<Trial[]> {
    const limit = this.budget.trialLimit_s(this.typicalCost(), batch.length, reserve);
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
    const own = trials.reduce((sum, t) => sum + (t.outcome?.cpu_s ?? 0), 0);
    this.budget.batchDone(trials.length, own, yield* askSpent());
    return trials;
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

  /** What exploring must leave over now: a confirmation, a gate read and the final fits. */
  reserve(confirm: boolean): Reserve {
    const cost = Math.max(costOf(this.leader), this.typicalCost());
    const extra = confirm ? this.confirmSeeds().length : 0;
    return {
      trials: extra,
      confirm_s: extra * cost,
      contender_s: cost,
      baseline_s: costOf(this.baseline),
      gate: confirm,
    };
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

const keyOf = (configuration: Configuration, seed: number, fidelity: number) =>
  `${seed}/${fidelity}/${canonicalJson(configuration)}`;

/** A stream of random numbers from the run's seed and a purpose. */
export function randomFor(seed: number, purpose: string): Random {
  const digest = sha256(`magnet.research/${seed}/${purpose}`);
  return seededRandom(new DataView(digest.buffer, digest.byteOffset).getBigUint64(0));
}

export const meanScore = (model: Model): number =>
  model.trials.reduce((sum, t) => sum + t.outcome!.score, 0) / model.trials.length;

/** CPU seconds of a model's dearest trial: the others had parts of it from a cache. */
export const costOf = (model: Model): number =>
  Math.max(...model.trials.map((t) => t.outcome!.cpu_s));
