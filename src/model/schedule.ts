/** Learning rate and weight decay over a run, computed natively so that every host gets the same bits. */
import { schedules as native } from "../native/train.ts";

/**
 * Learning-rate schedules, each but `constant` with a warm-up of 1%. `wsd`: stable, then linear to 0
 * over the last 15%; `two-stage` (of BitNet b1.58): linear towards 0, from the middle on as if the
 * peak had been two thirds of it.
 */
export const SCHEDULES = ["constant", "wsd", "cosine", "two-stage"] as const;
export type Schedule = (typeof SCHEDULES)[number];
/** Weight decay over a run; `two-stage` (of BitNet b1.58): none in the second half. */
export const DECAY_SCHEDULES = ["constant", "two-stage"] as const;
export type DecaySchedule = (typeof DECAY_SCHEDULES)[number];

/** Learning rate of a 1-based step. */
export function learningRate(
  kind: Schedule,
  step: number,
  total_steps: number,
  peak: number,
): number {
  const out = new Float32Array(1);
  native.mg_schedule(SCHEDULES.indexOf(kind), step, total_steps, peak, out);
  return out[0]!;
}

/** Weight decay of a 1-based step. */
export function weightDecay(
  kind: DecaySchedule,
  step: number,
  total_steps: number,
  weight_decay: number,
): number {
  const out = new Float32Array(1);
  native.mg_decay_schedule(DECAY_SCHEDULES.indexOf(kind), step, total_steps, weight_decay, out);
  return out[0]!;
}
