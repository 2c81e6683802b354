/**
 * Which columns a member sees: the most important features, products and ratios of the most
 * important pairs, the pipeline's class, the context; without those that tell the context rather
 * than the label. Found on the training rows of the fold alone.
 */
import type { ColumnSpec } from "./columns.ts";
import type { MemberFeatures } from "./configuration.ts";
import { type FitSettings, JUDGE_SEED, type PartFitter, type TrainRows } from "./part-fitter.ts";

/** Of the judge of importance: extra trees spread it over all features that help. */
const JUDGE = {
  learner: "extra_trees",
  params: { trees: 60, leaf_rows_min: 3 },
} as const;

const featureColumns = (features: number): ColumnSpec[] =>
  Array.from({ length: features }, (_, feature) => ({ kind: "feature", feature }));

/** The columns, features first in the table's order. */
export async function chooseColumns(
  fitter: PartFitter,
  train: TrainRows,
  options: MemberFeatures,
  settings: FitSettings,
): Promise<ColumnSpec[]> {
  const { part } = fitter;
  const features = part.features.columns.length;
  let kept = featureColumns(features).map((_, feature) => feature);
  if (options.context_blind > 0) kept = await dropTelling(fitter, train, options, settings);
  const byImportance = async () => {
    const importance = await importanceOf(fitter, train, "label", settings);
    return kept.slice().sort((a, b) => importance[b]! - importance[a]! || a - b);
  };
  if (options.top_k > 0 && options.top_k < kept.length)
    kept = (await byImportance()).slice(0, options.top_k).sort((a, b) => a - b);
  const columns: ColumnSpec[] = kept.map((feature) => ({ kind: "feature", feature }));
  if (options.interactions > 0)
    columns.push(...pairs(await byImportance(), part, options.interactions));
  if (options.pipeline) columns.push({ kind: "pipeline" });
  if (options.context) columns.push({ kind: "context" });
  return columns;
}

/** Products, ratios and differences of pairs of number features, the most important pairs first. */
function pairs(ranked: readonly number[], part: PartFitter["part"], wanted: number): ColumnSpec[] {
  const numbers = ranked.filter((f) => part.features.columns[f]!.kind === "number");
  const out: ColumnSpec[] = [];
  // By the sum of the two ranks: (0,1), (0,2), (1,2) or (0,3)...
  for (let sum = 1; sum < 2 * numbers.length && out.length < wanted; sum++)
    for (let i = 0; 2 * i < sum && out.length < wanted; i++) {
      const j = sum - i;
      if (j >= numbers.length) continue;
      const [feature, other] = [numbers[i]!, numbers[j]!];
      for (const kind of ["product", "ratio", "difference"] as const)
        if (out.length < wanted) out.push({ kind, feature, other });
    }
  return out;
}

/** Importance by feature for telling the label or the context apart; sums to 1 or is 0. */
function importanceOf(
  fitter: PartFitter,
  train: TrainRows,
  of: "label" | "context",
  settings: FitSettings,
): Promise<Float64Array> {
  const { part } = fitter;
  return fitter.once(`importance|${of}|${train.key}`, async () => {
    const columns = featureColumns(part.features.columns.length);
    const target = of === "label" ? part.label : part.context!;
    const classes = of === "label" ? part.classes : part.contexts;
    const balance = of === "label" ? 1 : 0;
    const model = await fitter.fitPlain(columns, JUDGE, target, classes, balance, train.rows, {
      ...settings,
      seed: JUDGE_SEED,
    });
    const importance = model.importance();
    model.free();
    return importance;
  });
}

/** Features left when the share that tells the context most, compared with the label, is dropped. */
async function dropTelling(
  fitter: PartFitter,
  train: TrainRows,
  options: MemberFeatures,
  settings: FitSettings,
): Promise<number[]> {
  const label = await importanceOf(fitter, train, "label", settings);
  const context = await importanceOf(fitter, train, "context", settings);
  const ranked = [...label.keys()].sort(
    (a, b) => context[b]! - label[b]! - (context[a]! - label[a]!) || a - b,
  );
  const dropped = Math.min(ranked.length - 1, Math.round(options.context_blind * ranked.length));
  return ranked.slice(dropped).sort((a, b) => a - b);
}
