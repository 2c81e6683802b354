/**
 * How far an honest update of the weights may be from the same one computed on other hardware. GPUs
 * multiply in bfloat16, so a pseudo-gradient of theirs is not the CPU's bit for bit, and the distance grows
 * with the steps (AdamW's first ones are near the sign of the gradient, where a rounding can flip one).
 * Its direction and its length hardly change, and that is what is judged; docs/gpu-nodes.md has the
 * figures behind the limits.
 */
import { accumulateDelta, compareDeltas, type DeltaOptions } from "../native/codec.ts";

export const UPDATE_LIMITS = {
  /** Cosine of the angle: other data, another base, noise and a copy turn the direction. */
  cosine_min: 0.93,
  /** |length / ours - 1|: fewer steps, another learning rate and scaling change the length. */
  length_error_max: 0.03,
  /** Inner steps within which the two hold; longer stretches drift apart on honest hardware too. */
  steps_max: 20,
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
type Limits = { cosine_min: number; length_error_max: number };

async function compare(theirs: Float32Array, ours: Float32Array, options: DeltaOptions) {
  const { norm_a, norm_b, distance } = await compareDeltas(theirs, ours, options);
  const cosine = (norm_a ** 2 + norm_b ** 2 - distance ** 2) / (2 * norm_a * norm_b);
  return { cosine, length: norm_a / norm_b, distance: distance / norm_b };
}

/** Null: within the limits. A NaN, of an array of nothing, is not. */
function exceeds({ cosine, length }: Compared, limits: Limits): string | null {
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
  const compared = await compare(theirs, ours, options);
  const wrong = exceeds(compared, UPDATE_LIMITS);
  return { ...compared, wrong: wrong && `it ${wrong}` };
}

/** What a trainer holds before and after a stretch of steps. */
export interface Holding {
  params: Float32Array;
  m: Float32Array;
  v: Float32Array;
}

/** A stretch of steps as somebody claims it ended, and as it ended here. */
export interface StretchEnds {
  start: Holding;
  /** Overwritten, as `ours`. */
  theirs: Holding;
  ours: Holding;
  /** What is left of the moments of the start: beta to the power of the steps. */
  decay: { m: number; v: number };
}

/**
 * Compares what the steps of a stretch have added: to the weights, and to each of the moments, which
 * remember their last ten and fifty gradients. Throws NOT_A_NUMBER, CANCELLED.
 */
export async function compareStretch(
  { start, theirs, ours, decay }: StretchEnds,
  options: DeltaOptions = {},
) {
  const added = async (which: keyof Holding, kept: number) => {
    const values = { theirs: theirs[which], ours: ours[which] };
    for (const array of [values.theirs, values.ours])
      await accumulateDelta(array, start[which], -kept, options);
    return compare(values.theirs, values.ours, options);
  };
  const update = await added("params", 1);
  const m = await added("m", decay.m);
  const v = await added("v", decay.v);
  const reasons = [
    exceeds(update, UPDATE_LIMITS) && `the update ${exceeds(update, UPDATE_LIMITS)}`,
  ];
  return { update, m, v, wrong: reasons.find((reason) => reason) ?? null };
}
