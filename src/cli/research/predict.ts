/** `magnet research predict`: a run's model on new rows, as CSV or JSON lines. */
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../../core/errors.ts";
import { readSmallFile } from "../../core/read-file.ts";
import * as learners from "../../native/learners.ts";
import { isLanguageModel } from "../../research/language/final-model.ts";
import { useCommands } from "../../research/report/facts.ts";
import {
  forecastSeries,
  freeSeriesModel,
  isSeriesModel,
  loadSeriesModel,
} from "../../research/series/model.ts";
import { MODEL_BYTES_MAX, MODEL_FILE } from "../../research/session.ts";
import { readTable } from "../../research/table/read.ts";
import type { Table } from "../../research/table/types.ts";
import { freeModel, loadModel } from "../../research/tabular/final-model.ts";
import {
  type PredictOptions,
  predictRows,
  type RowPredictions,
} from "../../research/tabular/predict.ts";
import { defineCommand } from "../frame/command.ts";
import { runFolder } from "./place.ts";
import { requireDone } from "./runs.ts";

/** Digits of a probability: float32 has about seven. */
const DIGITS = 6;

const csvField = (text: string) =>
  /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

export const predict = defineCommand({
  summary: "Classes and probabilities for new rows, by a run's model",
  details:
    "DATA is a table with the columns that the model was made from (CSV, JSONL or Parquet); further\ncolumns are ignored. Writes CSV with one line a row, or with --json a record a row.\nA language run's model is in its folder model/: magnet chat, serve and export take that.",
  examples: [
    { command: "magnet research predict churn new.csv > answers.csv", does: "by the run churn" },
    { command: "magnet research predict model.bin new.parquet --json", does: "by a model file" },
  ],
  args: {
    model: { value: "RUN|FILE", summary: "name or folder of a run, or its model.bin" },
    data: { value: "DATA", summary: "tables to predict", many: true },
  },
  flags: {
    "new-levels": {
      type: "choice",
      options: ["refuse", "missing"],
      default: "refuse",
      summary: "categories that the model has never seen",
    },
    threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0 means all" },
  },
  async run(context, { args, flags }) {
    const { out } = context;
    const file = args.model.endsWith(".bin")
      ? path.resolve(args.model)
      : modelOf(runFolder(await context.config(), args.model));
    const bytes = readSmallFile(file, MODEL_BYTES_MAX);
    if (isLanguageModel(bytes)) throw continuesText(file);
    const predictor = isSeriesModel(bytes) ? ofSeries(bytes) : ofTable(bytes);
    try {
      const { table, notes } = await readTable(args.data);
      for (const note of notes) out.note(`${note.code}: ${note.text}`);
      const { classes, probabilities, decided } = await predictor.predict(table, {
        threads: flags.threads,
        unknown_levels: flags.new_levels as "refuse" | "missing",
      });
      out.text(`${["row", "class", ...classes.map((c) => `p_${c}`)].map(csvField).join(",")}\n`);
      for (let row = 0; row < decided.length; row++) {
        const of = (i: number) => Number(probabilities[row * classes.length + i]!.toFixed(DIGITS));
        const decision = classes[decided[row]!]!;
        const document = {
          row,
          class: decision,
          probabilities: Object.fromEntries(classes.map((name, i) => [name, of(i)])),
        };
        out.record("research_predict", document, () =>
          [String(row), csvField(decision), ...classes.map((_, i) => String(of(i)))].join(","),
        );
      }
      return undefined;
    } finally {
      predictor.free();
    }
  },
});

/** A run's model. Throws RUN_NOT_FOUND, RUN_NOT_DONE where there is none. */
function modelOf(folder: string): string {
  const file = path.join(folder, MODEL_FILE);
  if (!fs.existsSync(file)) requireDone(folder);
  return file;
}

/** Rows have no classes here; what it can do is said with the command. */
function continuesText(file: string): MagnetError {
  const [command] = useCommands("language", path.dirname(file));
  return new MagnetError("LANGUAGE_MODEL", `${file} goes on with text; it has no classes of rows`, {
    hint: command,
    exit: "usage",
  });
}

interface Predictor {
  predict(
    table: Table,
    options: PredictOptions,
  ): Promise<RowPredictions & { readonly classes: readonly string[] }>;
  free(): void;
}

function ofTable(bytes: Uint8Array): Predictor {
  const model = loadModel(bytes, learners);
  return {
    predict: (table, options) => predictRows(model, table, options),
    free: () => freeModel(model),
  };
}

/** Rows are those with a price, in the order of time. */
function ofSeries(bytes: Uint8Array): Predictor {
  const model = loadSeriesModel(bytes, learners);
  return {
    predict: (table, options) => forecastSeries(model, table, options),
    free: () => freeSeriesModel(model),
  };
}
