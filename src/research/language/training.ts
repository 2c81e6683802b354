/**
 * One training run of a trial: all its steps in memory, no checkpoints. What it notes on the way
 * (loss and gradient norm by step) is the material of error analysis. A run that blows up ends
 * early and says at which step; that is an outcome, not an error.
 */
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { type DataSource, MixedReader } from "../../model/batch-reader.ts";
import { smoothLoss } from "../../model/divergence.ts";
import { weightDecay } from "../../model/schedule.ts";
import { Trainer } from "../../model/trainer.ts";
import { type LanguageConfiguration, modelOf } from "./configuration.ts";
import { rateAt } from "./schedule.ts";

export interface TrainingPlan {
  readonly configuration: LanguageConfiguration;
  readonly seed: number;
  readonly steps: number;
  readonly threads: number;
  readonly evaluation_context: number;
  readonly signal?: AbortSignal | undefined;
}

export interface TrainingTrace {
  /** Mean loss (nats per token) and gradient norm before clipping of every step done. */
  readonly losses: Float32Array;
  readonly gradient_norms: Float32Array;
  /** The step at which the run blew up; null for a whole one. */
  readonly diverged_at: number | null;
  /** Passes over each source, and its share of the sequences. */
  readonly sources: readonly { name: string; share: number; data_passes: number }[];
}

/** Sequences of one optimizer step. */
export const sequencesOf = (c: LanguageConfiguration) => c.batch * c.accumulate;

/** Steps that a number of tokens gives: the nearest, at least one. */
export const stepsFor = (c: LanguageConfiguration, tokens: number): number =>
  Math.max(1, Math.round(tokens / (sequencesOf(c) * c.context)));

/** Sources with the configuration's weights. */
function mixed(
  sources: readonly DataSource[],
  { mixture }: LanguageConfiguration,
): readonly DataSource[] {
  return sources.map((source) => ({ ...source, weight: mixture[source.name] ?? source.weight }));
}

/** One optimizer step's rates. */
function optimizerAt(c: LanguageConfiguration, step: number, total: number) {
  const { beta1, beta2, clip, momentum, weight_decay_schedule } = c;
  const weight_decay = weightDecay(weight_decay_schedule, step, total, c.weight_decay);
  const lr = rateAt(c, step, total);
  return { kind: c.optimizer, lr, beta1, beta2, eps: 1e-8, weight_decay, clip, momentum, step };
}

const isBlowUp = (error: unknown) =>
  ["NOT_A_NUMBER", "TRAINING_DIVERGED"].includes(toMagnetError(error).code);

/**
 * Trains; the caller closes the trainer. Throws DATA_TOO_SMALL for a context longer than a source,
 * CANCELLED, OUT_OF_MEMORY.
 */
export async function train(
  sources: readonly DataSource[],
  plan: TrainingPlan,
): Promise<{ trainer: Trainer; trace: TrainingTrace }> {
  const { configuration: c, steps, threads, signal } = plan;
  const seed = BigInt(plan.seed);
  const model = modelOf(c, plan.evaluation_context);
  const { batch, context, optimizer, accumulate } = c;
  const order = { context, seed, slice_index: 0, slice_count: 1 };
  const reader = new MixedReader(mixed(sources, c), order);
  const trainer = Trainer.create(model, { batch, context, threads, optimizer });
  const losses = new Float32Array(steps);
  const norms = new Float32Array(steps);
  let average: number | null = null;
  let done = 0;
  let diverged_at: number | null = null;
  try {
    await trainer.initialise(seed);
    for (; done < steps && diverged_at === null; done++) {
      const tokens = reader.read(done * sequencesOf(c), sequencesOf(c));
      const rates = optimizerAt(c, done + 1, steps);
      try {
        const { loss, grad_norm } = await trainer.step(tokens, accumulate, rates, signal);
        losses[done] = loss;
        norms[done] = grad_norm;
        average = smoothLoss(average, { step: done + 1, loss, vocab_size: model.vocab_size });
      } catch (error) {
        if (!isBlowUp(error)) throw error;
        diverged_at = done + 1;
      }
    }
  } catch (error) {
    trainer.close();
    throw error instanceof MagnetError ? error : toMagnetError(error);
  }
  const use = reader.use(done * sequencesOf(c));
  const taken = use.map(({ name, share, data_passes }) => ({ name, share, data_passes }));
  const trace = {
    losses: losses.subarray(0, done),
    gradient_norms: norms.subarray(0, done),
    diverged_at,
    sources: taken,
  };
  return { trainer, trace };
}
