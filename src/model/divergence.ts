/**
 * Watches the training loss and stops a run that has blown up. A batch of unusual text is worse
 * than the average by a little; a loss beyond twice the smoothed loss and 2 nats, or far above that
 * of guessing evenly, never comes back by itself.
 */
import { MagnetError } from "../core/errors.ts";

/** Weight of a new loss in the average: about the last 50 steps. */
const SMOOTHING = 0.02;

/**
 * The next smoothed loss. Throws TRAINING_DIVERGED, naming step, loss and limit.
 * average: the state before this step, null before the first.
 */
export function smoothLoss(
  average: number | null,
  step: { step: number; loss: number; vocab_size: number },
): number {
  const guessing = Math.log(step.vocab_size);
  const limit = average === null ? 1.5 * guessing + 2 : Math.min(2 * average + 2, 2 * guessing + 4);
  if (Number.isFinite(step.loss) && step.loss <= limit)
    return average === null ? step.loss : average + SMOOTHING * (step.loss - average);
  throw diverged(step.step, `the loss is ${step.loss.toFixed(3)} (limit ${limit.toFixed(3)})`);
}

/** The error of a run that must not go on. */
export function diverged(step: number, what: string, cause?: unknown): MagnetError {
  return new MagnetError("TRAINING_DIVERGED", `training diverged at step ${step}: ${what}`, {
    hint: "start another run with a lower --lr or --clip; --init takes the last checkpoint's weights",
    cause,
  });
}
