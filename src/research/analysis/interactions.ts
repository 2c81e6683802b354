/**
 * interactions: do products of two features still tell the residuals? A score test for every pair
 * of the most important features, on ranks so that no outlier decides, with the main effects taken
 * out first and the largest z corrected for the number of pairs. Costs pairs x rows and no fit.
 */
import type { Failure } from "../types.ts";
import type { AnalysisInput } from "./input.ts";
import { freeClasses, type Residuals, withoutMainEffects } from "./residuals.ts";
import { correctedZ, twoSided } from "./statistics.ts";

/** Features looked at: the most important by the model, or all. */
const FEATURES_MAX = 48;
/** Products summed at most (pairs x rows x classes): about a fifth of a CPU second. */
const PRODUCTS_MAX = 6e7;

/** Ranks scaled to -1..1, ties at their middle, missing at 0. */
export function rankScaled(values: Float32Array): Float32Array {
  const n = values.length;
  const order = new Uint32Array(n);
  let present = 0;
  for (let i = 0; i < n; i++) if (!Number.isNaN(values[i]!)) order[present++] = i;
  const sorted = order.subarray(0, present).sort((a, b) => values[a]! - values[b]! || a - b);
  const out = new Float32Array(n);
  for (let from = 0; from < present; ) {
    let to = from;
    while (to < present && values[sorted[to]!] === values[sorted[from]!]) to++;
    const rank = present > 1 ? (from + to - 1) / (present - 1) - 1 : 0;
    for (let k = from; k < to; k++) out[sorted[k]!] = rank;
    from = to;
  }
  // Skewed ties (a mostly-zero count) have a mean away from 0; products need it out.
  let mean = 0;
  for (let k = 0; k < present; k++) mean += out[sorted[k]!]!;
  mean /= Math.max(1, present);
  for (let k = 0; k < present; k++) out[sorted[k]!]! -= mean;
  return out;
}

/** Columns worth a look, by importance, categories of more than two levels left out. */
export function featuresWorthALook(input: AnalysisInput, most: number): number[] {
  const columns = [...input.features.keys()].filter((j) => input.levels[j]! <= 2);
  const importance = input.importance;
  if (importance) columns.sort((a, b) => importance[b]! - importance[a]! || a - b);
  return columns.slice(0, most);
}

interface Pair {
  a: number;
  b: number;
  z: number;
}

export function findInteractions(input: AnalysisInput, residuals: Residuals): Failure | null {
  const classes = freeClasses(residuals.classes);
  const affordable = Math.sqrt((2 * PRODUCTS_MAX) / (input.rows * classes.length));
  const columns = featuresWorthALook(input, Math.min(FEATURES_MAX, Math.floor(affordable)));
  if (columns.length < 2) return null;
  const ranks = columns.map((j) => rankScaled(input.features[j]!));
  let best: Pair = { a: 0, b: 0, z: 0 };
  let looks = 0;
  for (const c of classes) {
    const r = withoutMainEffects(residuals, c, ranks);
    const v = new Float64Array(input.rows);
    for (let i = 0; i < input.rows; i++) v[i] = residuals.variances[i * residuals.classes + c]!;
    for (let a = 0; a < ranks.length; a++) {
      for (let b = 0; b < a; b++) {
        looks++;
        const z = productZ(r, v, ranks[a]!, ranks[b]!);
        if (Math.abs(z) > Math.abs(best.z)) best = { a, b, z };
      }
    }
  }
  const names = [columns[best.a]!, columns[best.b]!].map((j) => input.feature_names[j]!);
  return {
    kind: "interactions",
    strength: correctedZ(twoSided(best.z), looks),
    // A product with this z explains z^2 / n of the residual variance; what it moves in the score
    // is at most its standard deviation.
    potential: Math.min(0.5, Math.abs(best.z) / Math.sqrt(input.rows)) * (1 - input.score),
    text:
      `The product of ${names.join(" and ")} still tells the residuals ` +
      `(z ${best.z.toFixed(1)}, the largest of ${looks}).`,
    evidence: { features: names, z: best.z, looks },
  };
}

/** Score statistic of the centred product of two columns. */
export function productZ(
  r: Float64Array,
  v: Float64Array,
  x: Float32Array,
  y: Float32Array,
): number {
  let sum = 0;
  let weight = 0;
  let weighted = 0;
  let squares = 0;
  let total = 0;
  for (let i = 0; i < r.length; i++) {
    const product = x[i]! * y[i]!;
    sum += r[i]! * product;
    total += r[i]!;
    weight += v[i]!;
    weighted += v[i]! * product;
    squares += v[i]! * product * product;
  }
  const centre = weighted / weight;
  const variance = squares - weighted * centre;
  return variance > 1e-12 * weight ? (sum - centre * total) / Math.sqrt(variance) : 0;
}
