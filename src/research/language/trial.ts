/**
 * One trial of the language domain: a training run and what it predicts of held-out excerpts. A run
 * that blows up scores as a model that knows nothing, 8 bits a byte: the search goes on, and error
 * analysis sees where it went wrong.
 */
import { toMagnetError } from "../../core/errors.ts";
import type { DataSource } from "../../model/batch-reader.ts";
import type { Trainer } from "../../model/trainer.ts";
import type { TensorStats } from "../../model/trainer-types.ts";
import type { TrialOutcome } from "../types.ts";
import { bitsPerByte } from "./bootstrap.ts";
import type { LanguageConfiguration } from "./configuration.ts";
import type { Excerpt } from "./excerpts.ts";
import { figuresOf } from "./figures.ts";
import { type Measurement, measure } from "./measure.ts";
import type { TextData, Vocabulary } from "./text-data.ts";
import { sequencesOf, stepsFor, type TrainingTrace, train } from "./training.ts";

/** What a byte costs that nothing is known of. */
const BITS_OF_A_BYTE = 8;

export interface TrialPlan {
  readonly configuration: LanguageConfiguration;
  readonly seed: number;
  /** Tokens to train on. */
  readonly tokens: number;
  readonly evaluation_context: number;
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
}

/** Bits of excerpts under a model that knows nothing. */
export const ignorant = (excerpts: readonly Excerpt[]) =>
  Float32Array.from(excerpts, ({ bytes }) => BITS_OF_A_BYTE * bytes.length);

/** Null where the model gives no finite loss. */
export async function unlessBlownUp<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (toMagnetError(error).code === "NOT_A_NUMBER") return null;
    throw error;
  }
}

export class TrainedTrial {
  constructor(
    readonly plan: TrialPlan,
    readonly vocabulary: Vocabulary,
    readonly trainer: Trainer,
    readonly trace: TrainingTrace,
  ) {}

  /** Trains; `sources` are those of the vocabulary unless given. The caller closes it. */
  static async run(
    plan: TrialPlan,
    vocabulary: Vocabulary,
    sources: readonly DataSource[] = vocabulary.sources,
  ): Promise<TrainedTrial> {
    const { configuration } = plan;
    const steps = stepsFor(configuration, plan.tokens);
    const { trainer, trace } = await train(sources, { ...plan, steps });
    return new TrainedTrial(plan, vocabulary, trainer, trace);
  }

  /** Null where there is no model. */
  async measured(excerpts: readonly Excerpt[]): Promise<Measurement | null> {
    if (this.trace.diverged_at !== null) return null;
    const { plan, vocabulary } = this;
    const model = this.trainer.config;
    const params = await this.trainer.currentParams();
    const { evaluation_context: context, threads, signal } = plan;
    const trained_context = plan.configuration.context;
    const fixed = { context, trained_context, threads, signal };
    return unlessBlownUp(measure({ model, params, excerpts, vocabulary, ...fixed }));
  }

  /** Bits of each excerpt; those of an ignorant model where there is none. */
  async bitsOf(excerpts: readonly Excerpt[]): Promise<Float32Array> {
    return (await this.measured(excerpts))?.bits ?? ignorant(excerpts);
  }

  close(): void {
    this.trainer.close();
  }
}

export interface OutcomeOptions {
  readonly data: TextData;
  readonly vocabulary: Vocabulary;
}

/** CPU seconds of this process since then, all threads. */
export function cpuSeconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
}

/** Runs and measures one trial. Throws as `train`. */
export async function runTrial(
  plan: TrialPlan,
  { data, vocabulary }: OutcomeOptions,
): Promise<TrialOutcome> {
  const started = process.cpuUsage();
  const { search, train: seen } = data.excerpts;
  const trial = await TrainedTrial.run(plan, vocabulary);
  try {
    const tensors: TensorStats[] = trial.trainer.tensorStats();
    const heldout = await trial.measured(search);
    const of_training = heldout && (await trial.measured(seen));
    const outputs = heldout?.bits ?? ignorant(search);
    const bytes = search.map((excerpt) => excerpt.bytes.length);
    const { configuration } = plan;
    const steps = trial.trace.losses.length;
    const figures = figuresOf({
      ...{ configuration, tensors, heldout, train: of_training, trace: trial.trace },
      ...{ evaluation_context: plan.evaluation_context, domains: data.domains },
      ...{
        excerpts: search,
        steps,
        tokens: steps * sequencesOf(configuration) * configuration.context,
      },
    });
    const score = -bitsPerByte(outputs, bytes);
    const cpu_s = cpuSeconds(started);
    return {
      score,
      fold_scores: [score],
      outputs,
      figures,
      cpu_s,
    };
  } finally {
    trial.close();
  }
}
