/**
 * A table as the native learners take it: one float32 by row and column, categories as their code.
 * Times become days, since milliseconds since 1970 do not fit into a float32.
 */
import type { LearnerMatrix } from "../../native/learner-types.ts";
import type { Column, Table } from "./types.ts";

const FLOAT32_MAX = 3.4028234663852886e38;
const DAY_MS = 86_400_000;

/** The named columns in that order, or all; values beyond float32 are held at its bounds. */
export function toLearnerMatrix(table: Table, columns?: readonly Column[]): LearnerMatrix {
  const chosen = columns ?? table.columns;
  const values = new Float32Array(chosen.length * table.rows);
  const levels = new Int32Array(chosen.length);
  chosen.forEach((column, c) => {
    const out = values.subarray(c * table.rows, (c + 1) * table.rows);
    if (column.kind === "category") {
      levels[c] = column.levels.length;
      for (let r = 0; r < table.rows; r++) {
        const code = column.codes[r]!;
        out[r] = code < 0 ? Number.NaN : code;
      }
      return;
    }
    const scale = column.time ? 1 / DAY_MS : 1;
    for (let r = 0; r < table.rows; r++) {
      const value = column.values[r]! * scale;
      out[r] = Math.min(FLOAT32_MAX, Math.max(-FLOAT32_MAX, value)); // NaN stays NaN
    }
  });
  return { rows: table.rows, columns: chosen.length, values, levels };
}
