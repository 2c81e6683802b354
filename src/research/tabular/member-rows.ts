/**
 * Which of the training rows a member learns from: the newest, at most so many, without those whose
 * label is most confidently contradicted by an inner cross-validation. Uses training rows only.
 */
import { seededRandom } from "../../core/random.ts";
import type { ColumnSpec } from "./columns.ts";
import type { RowOptions } from "./configuration.ts";
import {
  type FitSettings,
  JUDGE_SEED,
  mixSeed,
  type PartFitter,
  type TrainRows,
} from "./part-fitter.ts";

const INNER_FOLDS = 4;
/** Of the judge of labels: small and quick, strong enough to contradict with confidence. */
const JUDGE = {
  learner: "extra_trees",
  params: { trees: 60, leaf_rows_min: 3 },
} as const;

/** The rows that are learnt from, ascending, and the name of the set. */
export async function chooseRows(
  fitter: PartFitter,
  train: TrainRows,
  options: RowOptions,
  settings: FitSettings,
): Promise<TrainRows> {
  let { rows, key } = train;
  const { part } = fitter;
  if (options.recency < 1 && part.time !== null) {
    const time = part.time;
    const newest = rows.slice().sort((a, b) => time[b]! - time[a]! || b - a);
    rows = newest
      .slice(0, Math.max(part.classes, Math.round(rows.length * options.recency)))
      .sort();
    key += `;recency=${options.recency}`;
  }
  if (options.rows_max > 0 && rows.length > options.rows_max) {
    rows = stratifiedSample(rows, part.label, part.classes, options.rows_max, settings.seed);
    key += `;rows=${options.rows_max},${settings.seed}`;
  }
  if (options.noise_share > 0) {
    const suspects = await findNoise(fitter, { rows, key }, settings);
    const dropped = new Set(suspects.subarray(0, Math.floor(options.noise_share * rows.length)));
    rows = rows.filter((row) => !dropped.has(row));
    key += `;noise=${options.noise_share}`;
  }
  return { rows, key };
}

/** About `wanted` rows with each class's share kept, at least one of each; ascending. */
function stratifiedSample(
  rows: Uint32Array,
  label: Int32Array,
  classes: number,
  wanted: number,
  seed: number,
): Uint32Array {
  const random = seededRandom(seed);
  const kept: number[] = [];
  for (let c = 0; c < classes; c++) {
    const own = rows.filter((row) => label[row] === c);
    const take = Math.min(own.length, Math.max(1, Math.round((wanted * own.length) / rows.length)));
    for (let i = 0; i < take; i++) {
      const j = i + random.below(own.length - i);
      [own[i], own[j]] = [own[j]!, own[i]!];
      kept.push(own[i]!);
    }
  }
  return Uint32Array.from(kept).sort();
}

/** Rows whose label the judge denies, the most confident denial first. */
function findNoise(fitter: PartFitter, train: TrainRows, given: FitSettings): Promise<Uint32Array> {
  const { part } = fitter;
  const settings = { ...given, seed: JUDGE_SEED };
  return fitter.once(`noise|${train.key}`, async () => {
    const columns: ColumnSpec[] = part.features.columns.map((_, feature) => ({
      kind: "feature",
      feature,
    }));
    const fold = new Int32Array(part.rows).fill(-1);
    const next = new Int32Array(part.classes);
    const random = seededRandom(mixSeed(settings.seed, 17));
    const shuffled = train.rows.slice();
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
    }
    for (const row of shuffled) fold[row] = next[part.label[row]!]!++ % INNER_FOLDS;
    const denial = new Float64Array(part.rows);
    for (let f = 0; f < INNER_FOLDS; f++) {
      const rest = train.rows.filter((row) => fold[row] !== f);
      const own = train.rows.filter((row) => fold[row] === f);
      const { label, classes } = part;
      const model = await fitter.fitPlain(columns, JUDGE, label, classes, 0, rest, settings);
      const p = await model.predict(await fitter.binned(columns, 255), own, {
        threads: settings.threads,
      });
      model.free();
      own.forEach((row, i) => {
        let other = 0;
        for (let c = 0; c < classes; c++)
          if (c !== label[row]) other = Math.max(other, p[i * classes + c]!);
        denial[row] = other - p[i * classes + label[row]!]!;
      });
    }
    return train.rows
      .filter((row) => denial[row]! > 0)
      .sort((a, b) => denial[b]! - denial[a]! || a - b);
  });
}
