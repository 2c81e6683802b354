/**
 * How far an honest update of the weights may be from the same one computed on other hardware. GPUs
 * multiply in bfloat16, so a pseudo-gradient of theirs is not the CPU's bit for bit, and the distance grows
 * with the steps (AdamW's first ones are near the sign of the gradient, where a rounding can flip one).
 * Its direction and its length hardly change, and that is what is judged; docs/gpu-nodes.md has the
 * figures behind the limits.
 */
import { compareDeltas, type DeltaOptions } from "../native/codec.ts";

export const UPDATE_LIMITS = {
  /** Cosine of the angle: other data, another base, noise and a copy turn the direction. */
  cosine_min: 0.93,
  /** |length / ours - 1|: fewer steps, another learning rate and scaling change the length. */
  length_error_max: 0.03,
} as const;

export interface Compared {
  /** Of the angle. */
  cosine: number;
  /** Of theirs, over ours. */
  length: number;
  /** |theirs - ours| / |ours|. */
  distance: number;
}
export interface UpdateVerdict extends Compared {
  /** Null: within the limits. */
  wrong: string | null;
}
/** How far two arrays may be apart. */
export interface Limits {
  cosine_min: number;
  length_error_max: number;
}

/** Throws NOT_A_NUMBER, CANCELLED. */
export async function compareArrays(
  theirs: Float32Array,
  ours: Float32Array,
  options: DeltaOptions,
): Promise<Compared> {
  const { norm_a, norm_b, distance } = await compareDeltas(theirs, ours, options);
  const cosine = (norm_a ** 2 + norm_b ** 2 - distance ** 2) / (2 * norm_a * norm_b);
  return { cosine, length: norm_a / norm_b, distance: distance / norm_b };
}

/** Null: within the limits. A NaN, of an array of nothing, is not. */
export function exceeds({ cosine, length }: Compared, limits: Limits): string | null {
  const { cosine_min, length_error_max } = limits;
  if (!(Math.abs(length - 1) <= length_error_max))
    return `is ${length.toFixed(3)} times as long, ${length_error_max} off is allowed`;
  if (!(cosine >= cosine_min))
    return `points elsewhere: cosine ${cosine.toFixed(3)}, ${cosine_min} is the least`;
  return null;
}

/** An update as somebody claims it beside the same one computed here. Throws NOT_A_NUMBER. */
export async function judgeUpdate(
  theirs: Float32Array,
  ours: Float32Array,
  options: DeltaOptions = {},
): Promise<UpdateVerdict> {
  const compared = await compareArrays(theirs, ours, options);
  const wrong = exceeds(compared, UPDATE_LIMITS);
  return { ...compared, wrong: wrong && `it ${wrong}` };
}
