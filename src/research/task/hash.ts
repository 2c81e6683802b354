/**
 * The hash of a task's data: of what a trial could see and of nothing else, so that the same table
 * gives the same hash from any file format and on every machine.
 */
import { canonicalJson, toHex } from "../../core/bytes.ts";
import type { Hash } from "../../core/types.ts";
import type { TaskData } from "../table/types.ts";

/** SHA-256 of names, kinds and values in the order of the columns. */
export function hashOfData(data: Omit<TaskData, "hash" | "notes">): Hash {
  const hasher = new Bun.CryptoHasher("sha256");
  const columns = data.features.columns.map((column) =>
    column.kind === "number"
      ? { name: column.name, kind: column.time ? "time" : "number" }
      : { name: column.name, kind: "category", levels: column.levels },
  );
  const parts = [data.label, data.context, data.pipeline, data.time, data.group];
  hasher.update(
    canonicalJson({
      rows: data.features.rows,
      columns,
      classes: data.classes,
      contexts: data.contexts,
      present: parts.map((part) => part !== null),
    }),
  );
  for (const column of data.features.columns)
    hasher.update(column.kind === "number" ? canonicalNumbers(column.values) : column.codes);
  for (const part of parts)
    if (part !== null) hasher.update(part instanceof Float64Array ? canonicalNumbers(part) : part);
  return toHex(new Uint8Array(hasher.digest())) as Hash;
}

/** SHA-256 of the labels by row: the same whichever columns a task keeps and what it is called. */
export function hashOfLabels({ label }: Pick<TaskData, "label">): Hash {
  return toHex(new Uint8Array(new Bun.CryptoHasher("sha256").update(label).digest())) as Hash;
}

/** One bit pattern for missing and one for zero, on every machine. */
const canonicalNumbers = (values: Float64Array): Float64Array =>
  values.map((value) => (Number.isNaN(value) ? Number.NaN : value + 0));
