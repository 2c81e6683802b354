/**
 * Calibration of probabilities on out-of-fold rows: Platt's logistic curve (1999, with his smoothed
 * targets) or isotonic regression (pool adjacent violators). More than two classes: one curve for
 * each class against the rest, then normalised (Zadrozny and Elkan 2002).
 */
import type { TabularConfiguration } from "./configuration.ts";
import { logit, sigmoid } from "./exact-math.ts";
import type { Labelled } from "./labelled.ts";

/** One class's curve. Isotonic: `value[i]` from probability `from[i]` on, linear in between. */
export type Curve =
  | { readonly kind: "platt"; readonly slope: number; readonly shift: number }
  | { readonly kind: "isotonic"; readonly from: Float64Array; readonly value: Float64Array };

/** One curve a class (binary: of the second class alone); empty = leave as it is. */
export type Calibration = readonly Curve[];

const NEWTON_ROUNDS = 25;
/** Draws the slope to 1 and the shift to 0: keeps separable classes from infinite slopes. */
const RIDGE = 1e-3;

/** Fits the curves on `rows`. */
export function fitCalibration(
  data: Labelled,
  rows: Uint32Array,
  method: TabularConfiguration["calibration"],
): Calibration {
  if (method === "none") return [];
  const fit = method === "platt" ? fitPlatt : fitIsotonic;
  const wanted = data.classes === 2 ? [1] : Array.from({ length: data.classes }, (_, c) => c);
  return wanted.map((c) => {
    const p = new Float64Array(rows.length);
    const y = new Uint8Array(rows.length);
    rows.forEach((row, k) => {
      p[k] = data.probabilities[row * data.classes + c]!;
      y[k] = data.label[row] === c ? 1 : 0;
    });
    return fit(p, y);
  });
}

/** Calibrates `rows` of the probabilities in place. */
export function applyCalibration(
  calibration: Calibration,
  probabilities: Float32Array,
  classes: number,
  rows: Uint32Array,
): void {
  if (calibration.length === 0) return;
  for (const row of rows) {
    const at = row * classes;
    if (classes === 2) {
      const p = applyCurve(calibration[0]!, probabilities[at + 1]!);
      probabilities[at] = 1 - p;
      probabilities[at + 1] = p;
      continue;
    }
    let sum = 0;
    for (let c = 0; c < classes; c++) {
      const p = applyCurve(calibration[c]!, probabilities[at + c]!);
      probabilities[at + c] = p;
      sum += p;
    }
    for (let c = 0; c < classes; c++)
      probabilities[at + c] = sum > 0 ? probabilities[at + c]! / sum : 1 / classes;
  }
}

function applyCurve(curve: Curve, p: number): number {
  if (curve.kind === "platt") return sigmoid(curve.slope * logit(p) + curve.shift);
  const { from, value } = curve;
  let low = 0;
  let high = from.length - 1;
  if (p <= from[0]!) return value[0]!;
  if (p >= from[high]!) return value[high]!;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (from[middle]! <= p) low = middle;
    else high = middle;
  }
  const share = (p - from[low]!) / (from[high]! - from[low]!);
  return value[low]! + share * (value[high]! - value[low]!);
}

function fitPlatt(p: Float64Array, y: Uint8Array): Curve {
  const n = p.length;
  let positives = 0;
  for (let i = 0; i < n; i++) positives += y[i]!;
  const high = (positives + 1) / (positives + 2);
  const low = 1 / (n - positives + 2);
  const z = p.map(logit);
  let slope = 1;
  let shift = 0;
  for (let round = 0; round < NEWTON_ROUNDS; round++) {
    let g0 = RIDGE * (slope - 1);
    let g1 = RIDGE * shift;
    let h00 = RIDGE;
    let h01 = 0;
    let h11 = RIDGE;
    for (let i = 0; i < n; i++) {
      const q = sigmoid(slope * z[i]! + shift);
      const error = q - (y[i] === 1 ? high : low);
      const w = q * (1 - q) + 1e-12;
      g0 += error * z[i]!;
      g1 += error;
      h00 += w * z[i]! * z[i]!;
      h01 += w * z[i]!;
      h11 += w;
    }
    const determinant = h00 * h11 - h01 * h01;
    const d0 = (g0 * h11 - g1 * h01) / determinant;
    const d1 = (g1 * h00 - g0 * h01) / determinant;
    // A full step may overshoot where the curve is nearly a step; half steps still converge.
    const damp = Math.min(1, 4 / Math.max(1e-12, Math.abs(d0) + Math.abs(d1)));
    slope -= damp * d0;
    shift -= damp * d1;
    if (Math.abs(d0) + Math.abs(d1) < 1e-9) break;
  }
  // A falling curve would turn the ranking round: then the probability carries nothing.
  return { kind: "platt", slope: Math.max(0, slope), shift };
}

function fitIsotonic(p: Float64Array, y: Uint8Array): Curve {
  const order = new Uint32Array(p.length).map((_, i) => i).sort((a, b) => p[a]! - p[b]! || a - b);
  const sum: number[] = [];
  const rows: number[] = [];
  const mass: number[] = [];
  for (const i of order) {
    sum.push(y[i]!);
    rows.push(1);
    mass.push(p[i]!);
    while (sum.length > 1 && sum.at(-2)! / rows.at(-2)! >= sum.at(-1)! / rows.at(-1)!) {
      const [s, r, m] = [sum.pop()!, rows.pop()!, mass.pop()!];
      sum[sum.length - 1]! += s;
      rows[rows.length - 1]! += r;
      mass[mass.length - 1]! += m;
    }
  }
  // Each block stands at its mean probability; one pseudo row of 1/2 keeps it from 0 and 1.
  const from = Float64Array.from(mass, (m, b) => m / rows[b]!);
  const value = Float64Array.from(sum, (s, b) => (s + 0.5) / (rows[b]! + 1));
  for (let b = 1; b < value.length; b++) value[b] = Math.max(value[b]!, value[b - 1]!);
  return { kind: "isotonic", from, value };
}
