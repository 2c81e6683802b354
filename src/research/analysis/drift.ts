/**
 * drift: do the residuals change over time, as a whole (base rates move) or together with a
 * feature (what the feature means moves)? The first compares windows of equal size, the second is
 * a score test of time x feature for each feature. Needs a time column, and no fit.
 */
import type { Failure } from "../types.ts";
import { groupTest } from "./context.ts";
import type { AnalysisInput } from "./input.ts";
import { featuresWorthALook, productZ, rankScaled } from "./interactions.ts";
import { TIME_WINDOWS } from "./limits.ts";
import { freeClasses, type Residuals, withoutMainEffects } from "./residuals.ts";
import { correctedZ, twoSided } from "./statistics.ts";

/** Features looked at for a changing meaning. */
const FEATURES_MAX = 64;

/** Window by row, oldest first, of equal numbers of rows. */
function windowsOf(time: Float64Array, windows: number): Int32Array {
  const order = Uint32Array.from(time.keys()).sort((a, b) => time[a]! - time[b]! || a - b);
  const out = new Int32Array(time.length);
  order.forEach((row, k) => {
    out[row] = Math.floor((k * windows) / time.length);
  });
  return out;
}

/** The feature whose product with time tells the residuals most. */
function changingFeature(
  input: AnalysisInput,
  residuals: Residuals,
  time: Float32Array,
): { column: number; z: number; looks: number } {
  const columns = featuresWorthALook(input, FEATURES_MAX);
  const ranks = columns.map((j) => rankScaled(input.features[j]!));
  let best = { column: -1, z: 0 };
  const classes = freeClasses(residuals.classes);
  for (const c of classes) {
    const r = withoutMainEffects(residuals, c, [...ranks, time]);
    const v = residuals.variances.filter((_, k) => k % residuals.classes === c);
    ranks.forEach((x, k) => {
      const z = productZ(r, v, x, time);
      if (Math.abs(z) > Math.abs(best.z)) best = { column: columns[k]!, z };
    });
  }
  return { ...best, looks: Math.max(1, columns.length * classes.length) };
}

export function findDrift(input: AnalysisInput, residuals: Residuals): Failure | null {
  if (!input.time) return null;
  const windows = Math.min(TIME_WINDOWS, Math.floor(input.rows / 50));
  if (windows < 2) return null;
  const window = windowsOf(input.time, windows);
  const level = groupTest(residuals, window, windows);
  // Ranks of single precision would tie neighbouring milliseconds: the order is what counts.
  const order = new Float32Array(input.rows);
  const rank = windowsOf(input.time, input.rows);
  for (let i = 0; i < input.rows; i++) order[i] = rank[i]!;
  const changing = changingFeature(input, residuals, rankScaled(order));
  const name = changing.column < 0 ? null : (input.feature_names[changing.column] ?? null);
  const featureZ = correctedZ(twoSided(changing.z), changing.looks);
  const right = new Float64Array(windows);
  for (let i = 0; i < input.rows; i++) {
    if (input.decisions[i] === input.label[i]) right[window[i]!]! += windows / input.rows;
  }
  return {
    kind: "drift",
    strength: correctedZ(Math.max(level.z, featureZ), 2),
    potential: Math.max(0, Math.max(...right) - right.reduce((a, b) => a + b, 0) / windows),
    text:
      `Residuals change over ${windows} windows of time (z ${level.z.toFixed(1)}` +
      (name === null ? ")." : `; with ${name} z ${changing.z.toFixed(1)}).`),
    evidence: {
      windows_z: level.z,
      feature: name,
      feature_z: changing.z,
      right_by_window: [...right],
    },
  };
}
