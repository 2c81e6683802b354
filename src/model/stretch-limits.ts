/**
 * How far a stretch of honest inner steps may end from the same steps done on other hardware. Judged is what
 * the steps have added: to the weights, and to the two moments of AdamW, which remember the last ten and
 * fifty gradients. Whoever leaves out steps, data or precision and stretches the update to the right length
 * still has other moments. docs/gpu-nodes.md has the figures behind the limits.
 */
import { accumulateDelta, type DeltaOptions } from "../native/codec.ts";
import { type Compared, compareArrays, exceeds, type Limits } from "./update-limits.ts";

const PARTS = ["params", "m", "v"] as const;
type Part = (typeof PARTS)[number];
type PartLimits = Record<Part, Limits>;
const NAMES: Record<Part, string> = {
  params: "update",
  m: "first moment's growth",
  v: "second moment's growth",
};

/** Inner steps that can be compared; longer stretches drift apart on honest hardware too. */
export const COMPARED_STEPS_MAX = 20;
/**
 * AdamW's first steps are near the sign of the gradient, where a rounding flips some: moments that have
 * seen fewer steps than this before the stretch are judged more gently.
 */
const SETTLED_STEPS = 20;
const FIRST: PartLimits = {
  params: { cosine_min: 0.93, length_error_max: 0.03 },
  m: { cosine_min: 0.93, length_error_max: 0.08 },
  v: { cosine_min: 0.93, length_error_max: 0.1 },
};
const SETTLED: PartLimits = {
  params: { cosine_min: 0.985, length_error_max: 0.03 },
  m: { cosine_min: 0.97, length_error_max: 0.05 },
  v: { cosine_min: 0.97, length_error_max: 0.03 },
};

/** What a trainer holds. */
export type Holding = Record<Part, Float32Array>;

/** A stretch of steps as somebody claims that it ended, and as it ended here. */
export interface StretchEnds {
  start: Holding;
  /** Overwritten, as `ours`. */
  theirs: Holding;
  ours: Holding;
  beta1: number;
  beta2: number;
  /** Inner steps of the stretch, and those that the moments had seen before it. */
  steps: number;
  seen: number;
}

export interface StretchVerdict {
  compared: Record<Part, Compared>;
  /** Null: within the limits. */
  wrong: string | null;
}

/** Judges a stretch. Throws NOT_A_NUMBER where an array holds what is none, CANCELLED. */
export async function judgeStretch(
  { start, theirs, ours, beta1, beta2, steps, seen }: StretchEnds,
  options: DeltaOptions = {},
): Promise<StretchVerdict> {
  /** Of the start, what is left at the end. */
  const kept = { params: 1, m: beta1 ** steps, v: beta2 ** steps };
  const limits = seen < SETTLED_STEPS ? FIRST : SETTLED;
  const compared: Partial<StretchVerdict["compared"]> = {};
  let wrong: string | null = null;
  for (const part of PARTS) {
    const ends = [theirs[part], ours[part]] as const;
    const from = ends.includes(start[part]) ? start[part].slice() : start[part];
    for (const end of ends) await accumulateDelta(end, from, -kept[part], options);
    compared[part] = await compareArrays(...ends, options);
    const reason = exceeds(compared[part], limits[part]);
    wrong ??= reason && `the ${NAMES[part]} ${reason}`;
  }
  return { compared: compared as StretchVerdict["compared"], wrong };
}
