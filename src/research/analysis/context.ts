/**
 * context_gap: is the model wrong in a direction that depends on the context (paper 6: protocol,
 * industry), or does it lose where a whole context was left out of training? The first is a sum of
 * squared standardised residuals by context, which is chi-squared when contexts do not matter; the
 * second compares the two scores.
 */
import type { Failure } from "../types.ts";
import { type AnalysisInput, rowWeights } from "./input.ts";
import { STRENGTH_MIN } from "./limits.ts";
import type { Residuals } from "./residuals.ts";
import { chiSquareZ, correctedZ } from "./statistics.ts";

/** Part of the leave-one-context-out gap that counts as possible gain of the score itself. */
const LOCO_PART = 0.1;
/** Expected variance below which a context says nothing about a class by itself. */
const VARIANCE_MIN = 1;

export interface GroupTest {
  readonly z: number;
  readonly degrees: number;
  /** Mean residual by group and class, (groups, classes). */
  readonly means: Float64Array;
  readonly rows: Float64Array;
}

/** Do the residuals' means differ between groups? Groups < 0 are left out. */
export function groupTest(
  residuals: Residuals,
  group: ArrayLike<number>,
  groups: number,
): GroupTest {
  const { classes, values, variances } = residuals;
  const sums = new Float64Array(groups * classes);
  const spread = new Float64Array(groups * classes);
  const rows = new Float64Array(groups);
  for (let i = 0; i < residuals.rows; i++) {
    const g = group[i]!;
    if (g < 0) continue;
    rows[g]!++;
    for (let c = 0; c < classes; c++) {
      sums[g * classes + c]! += values[i * classes + c]!;
      spread[g * classes + c]! += variances[i * classes + c]!;
    }
  }
  let chi = 0;
  let cells = 0;
  for (let k = 0; k < sums.length; k++) {
    if (spread[k]! < VARIANCE_MIN) continue;
    chi += (sums[k]! * sums[k]!) / spread[k]!;
    cells++;
  }
  // Residuals of a row sum to 0, which costs one class a group; the offsets fitted by class cost
  // one group. The chi-squared of dependent cells is rescaled to the free ones.
  const free = (classes - 1) / classes;
  const degrees = Math.max(0, cells * free - (classes - 1));
  const means = sums.map((s, k) => s / Math.max(1, rows[Math.floor(k / classes)]!));
  return { z: chiSquareZ(chi * free, degrees), degrees, means, rows };
}

/** The leave-one-context-out loss against the cross-validated score, with its standard error. */
function locoGap(input: AnalysisInput): { gap: number; z: number } | null {
  if (input.loco_score === null) return null;
  const weight = rowWeights(input);
  // Both scores are of the same rows; without their pairing the binomial error of one is used,
  // which is right for a correlation of a half between them.
  let variance = 0;
  for (let i = 0; i < input.rows; i++) {
    const wrong = input.decisions[i] === input.label[i] ? 0 : 1;
    const rate = Math.min(0.5, 1 - input.score);
    variance += weight[i]! ** 2 * (wrong ? 1 - rate : rate) * 0.5;
  }
  const gap = input.score - input.loco_score;
  return { gap, z: variance > 0 ? gap / Math.sqrt(2 * variance) : 0 };
}

export function findContextGap(input: AnalysisInput, residuals: Residuals): Failure | null {
  if (!input.context || input.contexts.length < 2) return null;
  const groups = input.contexts.length;
  const test = groupTest(residuals, input.context, groups);
  const loco = locoGap(input);
  const looks = loco ? 2 : 1;
  let worst = 0;
  let pull = 0;
  for (let g = 0; g < groups; g++) {
    let sum = 0;
    for (let c = 0; c < residuals.classes; c++) {
      sum += Math.abs(test.means[g * residuals.classes + c]!);
    }
    const seen = (sum / 2) * Math.sqrt(test.rows[g]!);
    if (seen > pull) {
      pull = seen;
      worst = g;
    }
  }
  const shift = meanShift(test, groups, residuals.classes);
  return {
    kind: "context_gap",
    strength: correctedZ(Math.max(test.z, loco?.z ?? 0), looks),
    // The gap to unseen contexts is another score: little of it is won on contexts that are seen.
    potential: Math.max(test.z >= STRENGTH_MIN ? shift : 0, LOCO_PART * (loco?.gap ?? 0)),
    text:
      `Residuals differ between ${groups} contexts (z ${test.z.toFixed(1)}), most in ` +
      `${input.contexts[worst]}` +
      (loco ? `; with whole contexts left out the score falls by ${loco.gap.toFixed(4)}.` : "."),
    evidence: {
      offsets_z: test.z,
      loco_gap: loco?.gap ?? null,
      loco_z: loco?.z ?? null,
      worst: input.contexts[worst] ?? null,
    },
  };
}

/** Share of the rows whose class probability is misplaced by context, as a bound on the gain. */
function meanShift(test: GroupTest, groups: number, classes: number): number {
  let total = 0;
  let rows = 0;
  for (let g = 0; g < groups; g++) {
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += Math.abs(test.means[g * classes + c]!);
    total += (sum / 2) * test.rows[g]!;
    rows += test.rows[g]!;
  }
  return rows > 0 ? total / rows : 0;
}
