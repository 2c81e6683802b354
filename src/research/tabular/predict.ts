/**
 * Predicts rows with a fitted pipeline: of a part of the task's own data, or of a table read from a
 * file, whose columns are matched by name and whose levels by text.
 */
import { didYouMean } from "../../core/did-you-mean.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Column, Table } from "../table/types.ts";
import { asCategory } from "../task/data.ts";
import { OTHER_LEVEL } from "../task/features.ts";
import { FeatureMatrix } from "./columns.ts";
import type { LoadedModel, ModelHeader, SavedFeature } from "./final-model.ts";
import { allRows, type Part } from "./part.ts";
import { residualProbabilities } from "./part-fitter.ts";
import { applySecondLevel } from "./second-level.ts";

export interface RowPredictions {
  /** (rows, classes). */
  readonly probabilities: Float32Array;
  /** Class index by row. */
  readonly decided: Int32Array;
}

/** Predicts all rows of a part whose columns are the model's own. */
export async function predictPart(
  model: LoadedModel,
  part: Part,
  options: { threads: number; signal?: AbortSignal } = { threads: 1 },
): Promise<RowPredictions> {
  const { classes } = part;
  const matrix = new FeatureMatrix(part);
  const members: Float32Array[] = [];
  for (const bags of model.members) {
    const mean = new Float32Array(part.rows * classes);
    for (const bag of bags) {
      const values = matrix.build(bag.columns);
      const plain = bag.plain === null ? null : await bag.plain.predict(values, null, options);
      const wrong = bag.wrong === null ? null : await bag.wrong.predict(values, null, options);
      const p =
        wrong === null ? plain! : residualProbabilities(wrong, plain, part.pipeline!, classes);
      for (let i = 0; i < mean.length; i++) mean[i]! += p[i]! / bags.length;
    }
    members.push(mean);
  }
  const probabilities = new Float32Array(part.rows * classes);
  const decided = new Int32Array(part.rows);
  applySecondLevel(model.level, members, part, allRows(part.rows), probabilities, decided);
  return { probabilities, decided };
}

export interface PredictOptions {
  readonly threads: number;
  readonly signal?: AbortSignal;
  /** Levels of a category that the model has never seen: an error, or taken as missing. */
  readonly unknown_levels: "refuse" | "missing";
}

/** Classes and probabilities of a table's rows; extra columns are ignored. */
export async function predictRows(
  model: LoadedModel,
  table: Table,
  options: PredictOptions,
): Promise<RowPredictions & { readonly classes: readonly string[] }> {
  const part = partOfTable(model.header, table, options.unknown_levels);
  return { ...(await predictPart(model, part, options)), classes: model.header.classes };
}

/** Columns that the model reads; a column none of its members sees may be missing. */
function usedFeatures(header: ModelHeader): Set<number> {
  const used = new Set<number>();
  for (const { columns } of header.members.flat())
    for (const spec of columns) {
      if ("feature" in spec) used.add(spec.feature);
      if ("other" in spec) used.add(spec.other);
    }
  return used;
}

function partOfTable(header: ModelHeader, table: Table, unknown: "refuse" | "missing"): Part {
  const used = usedFeatures(header);
  const byName = new Map(table.columns.map((column) => [column.name, column]));
  const columns = header.features.map((feature, f) => {
    const found = byName.get(feature.name);
    if (found !== undefined) return encode(feature, found, unknown);
    if (used.has(f)) throw missing(feature.name, table);
    return { kind: "number", name: feature.name, values: new Float64Array(table.rows) } as const;
  });
  const needed = (kind: "context" | "pipeline") =>
    header.members.flat().some((bag) => bag.columns.some((spec) => spec.kind === kind));
  const byContext = header.rule.by_context !== null || needed("context");
  const byPipeline = needed("pipeline") || header.configuration.target === "residual";
  return {
    rows: table.rows,
    numbers: allRows(table.rows),
    features: { rows: table.rows, columns },
    label: new Int32Array(table.rows),
    classes: header.classes.length,
    context: byContext ? codesOf(header.context_column!, header.contexts, table) : null,
    contexts: header.contexts.length,
    pipeline: byPipeline ? codesOf(header.pipeline_column!, header.classes, table) : null,
    time: null,
    group: null,
  };
}

const missing = (name: string, table: Table): MagnetError => {
  const names = table.columns.map((column) => column.name);
  return new MagnetError("COLUMN_NOT_FOUND", `the data have no column "${name}"`, {
    hint: didYouMean(name, names, `columns are ${names.slice(0, 20).join(", ")}`),
    exit: "config",
  });
};

/** Index into `known` by row; -1 where missing or never seen (a new context has no offsets). */
function codesOf(name: string, known: readonly string[], table: Table): Int32Array {
  const column = table.columns.find((c) => c.name === name);
  if (column === undefined) throw missing(name, table);
  const { codes, levels } = asCategory(column);
  const index = new Map(known.map((level, i) => [level, i]));
  return codes.map((code) => (code < 0 ? -1 : (index.get(levels[code]!) ?? -1)));
}

/** The column as the model was fitted on it. Throws UNKNOWN_LEVEL and BAD_COLUMN. */
function encode(feature: SavedFeature, column: Column, unknown: "refuse" | "missing"): Column {
  const { name } = feature;
  if (feature.levels === null) {
    if (column.kind === "number")
      return feature.time ? { ...column, time: true } : asNumber(column);
    throw new MagnetError(
      "BAD_COLUMN",
      `column "${name}" holds text (for example "${column.levels[0] ?? ""}") where the model was fitted on numbers`,
      { hint: "mend the file, or fit a model on data like these", exit: "config" },
    );
  }
  const { codes, levels } = asCategory(column);
  const index = new Map(feature.levels.map((level, i) => [level, i]));
  const other = index.get(OTHER_LEVEL) ?? index.get(`${OTHER_LEVEL}*`);
  const own = levels.map((level, code) => {
    const found = index.get(level) ?? other;
    if (found !== undefined || unknown === "missing") return found ?? -1;
    throw new MagnetError(
      "UNKNOWN_LEVEL",
      `column "${name}" has "${level}" in row ${codes.indexOf(code) + 1}, which the model has never seen`,
      {
        hint: didYouMean(
          level,
          feature.levels!,
          "fit it on data with that level, or take unknown levels as missing",
        ),
        exit: "config",
      },
    );
  });
  return {
    kind: "category",
    name,
    codes: codes.map((code) => (code < 0 ? -1 : own[code]!)),
    levels: feature.levels,
  };
}

/** A number column without the mark of times: it was none when the model was fitted. */
const asNumber = (column: Extract<Column, { kind: "number" }>): Column => ({
  kind: "number",
  name: column.name,
  values: column.values,
});
