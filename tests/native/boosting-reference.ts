/**
 * Boosting written plainly, the oracle of the native one: number columns, logistic or squared loss,
 * doubles, every cut of every column tried by adding up all rows.
 */
export interface ReferenceSettings {
  trees: number;
  learning_rate: number;
  max_depth: number;
  min_child_weight: number;
  /** By share of the node's curvature. */
  min_samples_leaf: number;
  l1: number;
  l2: number;
}

interface Table {
  /** Bin of each row, by column; `missing` is the bin of missing values. */
  columns: { bins: Uint8Array; missing: number }[];
  target: Float32Array;
  weight: Float32Array;
  isClass: boolean;
}

interface Cut {
  gain: number;
  goesLeft: (row: number) => boolean;
}

const sum = (rows: number[], of: Float64Array) => rows.reduce((total, row) => total + of[row]!, 0);

function bestCut(
  { columns }: Table,
  rows: number[],
  g: Float64Array,
  h: Float64Array,
  s: ReferenceSettings,
) {
  const score = (of: number[]) => {
    const size = Math.max(Math.abs(sum(of, g)) - s.l1, 0);
    return (size * size) / (sum(of, h) + s.l2);
  };
  const least = Math.max(s.min_child_weight, (s.min_samples_leaf * sum(rows, h)) / rows.length);
  let best: Cut = { gain: 1e-9, goesLeft: () => true };
  for (const { bins, missing } of columns)
    for (let bin = 0; bin < missing; bin++)
      for (const missingLeft of [false, true]) {
        const goesLeft = (row: number) => (bins[row] === missing ? missingLeft : bins[row]! <= bin);
        const left = rows.filter(goesLeft);
        const right = rows.filter((row) => !goesLeft(row));
        if (left.length === 0 || right.length === 0) continue;
        if (Math.min(sum(left, h), sum(right, h)) < least) continue;
        const gain = score(left) + score(right) - score(rows);
        if (gain > best.gain * (1 + 1e-9)) best = { gain, goesLeft };
      }
  return best;
}

/** Scores of all rows after the last tree. */
export function referenceScores(table: Table, s: ReferenceSettings): Float64Array {
  const { target, weight, isClass } = table;
  const n = target.length;
  const total = weight.reduce((a, b) => a + b, 0);
  const mean = target.reduce((a, y, row) => a + y * weight[row]!, 0) / total;
  const scores = new Float64Array(n).fill(isClass ? Math.log(mean / (1 - mean)) : mean);
  const g = new Float64Array(n);
  const h = new Float64Array(n);
  const grow = (rows: number[], depth: number) => {
    const cut = depth < s.max_depth ? bestCut(table, rows, g, h, s) : undefined;
    if (cut === undefined || cut.gain <= 1e-9) {
      const gradient = sum(rows, g);
      const size = Math.max(Math.abs(gradient) - s.l1, 0) / (sum(rows, h) + s.l2);
      for (const row of rows) scores[row]! -= s.learning_rate * Math.sign(gradient) * size;
      return;
    }
    const right = rows.filter((row) => !cut.goesLeft(row));
    grow(rows.filter(cut.goesLeft), depth + 1);
    grow(right, depth + 1);
  };
  for (let tree = 0; tree < s.trees; tree++) {
    for (let row = 0; row < n; row++) {
      const p = isClass ? 1 / (1 + Math.exp(-scores[row]!)) : scores[row]!;
      g[row] = (p - target[row]!) * weight[row]!;
      h[row] = (isClass ? p * (1 - p) : 1) * weight[row]!;
    }
    grow([...scores.keys()], 0);
  }
  return scores;
}
