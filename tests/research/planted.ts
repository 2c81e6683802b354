/** Small generated tables and tasks for the tests of research: everything from a seed. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import { parseTask, type Task } from "../../src/research/task/load.ts";
import { TASK_SCHEMA } from "../../src/research/task/schema.ts";

export interface Row {
  readonly [column: string]: string | number | null;
}

/** Rows as CSV; null = empty cell. */
export function toCsv(rows: readonly Row[]): string {
  const names = Object.keys(rows[0]!);
  const cell = (value: string | number | null | undefined) =>
    value === null || value === undefined ? "" : String(value);
  return [names.join(","), ...rows.map((row) => names.map((n) => cell(row[n])).join(","))].join(
    "\n",
  );
}

/** An ordinary table: two useful numbers, a category, a label of two classes. */
export function plainRows(count: number, seed = 1): Row[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => {
    const x = random.next() * 10;
    const y = random.next() * 5;
    const yes = x + y + 3 * random.next() > 9;
    return {
      x: x.toFixed(4),
      y: y.toFixed(4),
      color: ["red", "green", "blue"][random.below(3)]!,
      label: yes ? "yes" : "no",
    };
  });
}

export function scratch(): {
  folder: string;
  file(name: string, content: string | Uint8Array): string;
} {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-research-"));
  return {
    folder,
    file(name, content) {
      const at = path.join(folder, name);
      fs.writeFileSync(at, content);
      return at;
    },
  };
}

export const tabularTask = (data: string | string[], more: Record<string, unknown> = {}): Task =>
  parseTask(
    { schema: TASK_SCHEMA, name: "planted", domain: "tabular", data, label: "label", ...more },
    "/task.json",
  );

/** The MagnetError that an action ends in; anything else fails the test. */
export async function failure(action: () => unknown): Promise<MagnetError> {
  try {
    await action();
  } catch (error) {
    if (error instanceof MagnetError) return error;
    throw error;
  }
  throw new Error("expected a MagnetError");
}
