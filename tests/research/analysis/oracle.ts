/**
 * Rows with known class probabilities, and an AnalysisInput whose "best model" outputs exactly
 * those (an oracle: the cleanest model there is) or a spoilt version of them: what the checks that
 * need no fit are tested and calibrated on.
 */
import { seededRandom } from "../../../src/core/random.ts";
import { type AnalysisInput, argmaxRows } from "../../../src/research/analysis/input.ts";
import { parseTabular } from "../../../src/research/tabular/configuration.ts";

export interface OracleOptions {
  readonly seed: number;
  readonly rows?: number;
  readonly columns?: number;
  readonly classes?: number;
  readonly contexts?: number;
  /** Log-odds of class c for a row: features, context, time in 0..1. */
  readonly truth?: (x: number[], c: number, context: number, time: number) => number;
  /** Log-odds that the model believes in; the truth without it. */
  readonly belief?: (x: number[], c: number, context: number, time: number) => number;
}

/** Standard normal from two uniforms (Box and Muller). */
export function normal(random: { next(): number }): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
}

const linear = (x: number[], c: number) => (c === 0 ? 0 : c % 2 ? x[0]! + x[1]! : x[0]! - x[1]!);

export function softmax(logits: number[]): number[] {
  const top = Math.max(...logits);
  const e = logits.map((l) => Math.exp(l - top));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

export function draw(random: { next(): number }, p: number[]): number {
  let u = random.next();
  for (let c = 0; c < p.length; c++) {
    u -= p[c]!;
    if (u < 0) return c;
  }
  return p.length - 1;
}

export function oracleInput(options: OracleOptions): AnalysisInput {
  const { rows = 1000, columns = 8, classes = 2, contexts = 0 } = options;
  const random = seededRandom(options.seed);
  const truth = options.truth ?? linear;
  const belief = options.belief ?? truth;
  const features = Array.from({ length: columns }, () => new Float32Array(rows));
  const label = new Int32Array(rows);
  const outputs = new Float32Array(rows * classes);
  const context = new Int32Array(rows);
  const time = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    const x = features.map((column) => {
      const value = normal(random);
      column[i] = value;
      return value;
    });
    context[i] = contexts > 0 ? random.below(contexts) : 0;
    time[i] = i;
    const all = [...Array(classes).keys()];
    const at = i / rows;
    label[i] = draw(random, softmax(all.map((c) => truth(x, c, context[i]!, at))));
    outputs.set(softmax(all.map((c) => belief(x, c, context[i]!, at))), i * classes);
  }
  const decisions = argmaxRows(outputs, classes);
  return {
    rows,
    classes: Array.from({ length: classes }, (_, c) => `class${c}`),
    label,
    score_kind: "balanced_accuracy",
    score: 0.8,
    train_score: null,
    loco_score: null,
    outputs,
    decisions,
    configuration: parseTabular(
      { members: [{ learner: "boosting" }] },
      { contexts: true, pipeline: true, time: true },
    ),
    rivals: [],
    context: contexts > 0 ? context : null,
    contexts: Array.from({ length: contexts }, (_, g) => `context${g}`),
    pipeline: null,
    time,
    feature_names: features.map((_, j) => `x${j}`),
    features,
    levels: new Int32Array(columns),
    importance: null,
    probe: null,
  };
}
