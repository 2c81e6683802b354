/**
 * Prints a digest of models and predictions of every learner, one a line: the same under every
 * MAGNET_CPU and number of threads (the first argument).
 */
import { LEARNERS } from "../../src/native/learner-types.ts";
import { binData, fit } from "../../src/native/learners.ts";
import { fitOptions, rings } from "./learner-data.ts";

const threads = Number(process.argv[2]);
const sha = (...parts: NodeJS.TypedArray[]) => {
  const hash = new Bun.CryptoHasher("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex").slice(0, 16);
};

for (const learner of LEARNERS)
  for (const classes of [2, 3, 1]) {
    const rows = 3001;
    const { matrix, target } = rings(rows, classes, 5);
    const data = await binData(matrix, { threads });
    const weight = Float32Array.from({ length: rows }, (_, row) => (row % 7) / 3);
    const variants: Record<string, number>[] = learner === "logistic" ? [{}] : [{ trees: 8 }];
    if (learner === "boosting")
      variants.push(
        { trees: 30, row_share: 0.6, column_share: 0.5, max_depth: 0, max_leaves: 20 },
        { trees: 60, l1: 0.3, early_stopping_rounds: 3, max_step: 1, level_by_level: 1 },
      );
    for (const [i, params] of variants.entries()) {
      const part = Uint32Array.from({ length: 2000 }, (_, row) => row);
      const stop_rows = Uint32Array.from({ length: 1001 }, (_, row) => 2000 + row);
      const stops = params.early_stopping_rounds === undefined ? {} : { stop_rows, rows: part };
      const more = { weight, params, threads, ...stops };
      const model = await fit(data, fitOptions(learner, classes, target, more));
      const p = await model.predict(data, null, { threads });
      process.stdout.write(`${learner} ${classes} ${i} ${sha(model.save(), p)}\n`);
    }
  }

// Enough cells for the threads of one histogram and one scan.
const rows = 4000;
const columns = 300;
const values = new Float32Array(rows * columns);
let state = 9;
for (let i = 0; i < values.length; i++) {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  values[i] = state / 2 ** 32;
}
const target = Float32Array.from({ length: rows }, (_, row) =>
  values[row]! + values[rows + row]! * values[2 * rows + row]! > 0.7 ? 1 : 0,
);
const matrix = { rows, columns, values, levels: new Int32Array(columns) };
const data = await binData(matrix, { threads });
const wide = fitOptions("boosting", 2, target, { params: { trees: 5 }, threads });
process.stdout.write(`boosting wide ${sha((await fit(data, wide)).save())}\n`);
