/**
 * Built-in data of the Zevor study: the passengers of the Titanic as Dawson (1995) counted them,
 * 2,201 rows. The class of travel is the context, and the rule pipeline is the ship's order: women
 * and children first.
 */
import { category } from "../table/infer.ts";
import type { Table } from "../table/types.ts";

/** Died and survived by class of travel, sex and age. */
const COUNTS: readonly [place: string, sex: string, age: string, died: number, lived: number][] = [
  ["1st", "male", "child", 0, 5],
  ["2nd", "male", "child", 0, 11],
  ["3rd", "male", "child", 35, 13],
  ["1st", "female", "child", 0, 1],
  ["2nd", "female", "child", 0, 13],
  ["3rd", "female", "child", 17, 14],
  ["1st", "male", "adult", 118, 57],
  ["2nd", "male", "adult", 154, 14],
  ["3rd", "male", "adult", 387, 75],
  ["crew", "male", "adult", 670, 192],
  ["1st", "female", "adult", 4, 140],
  ["2nd", "female", "adult", 13, 80],
  ["3rd", "female", "adult", 89, 76],
  ["crew", "female", "adult", 3, 20],
];

/** One row a person: class, sex, age, the rule's answer, the label. */
export function titanicTable(): Table {
  const rows = COUNTS.flatMap(([place, sex, age, died, lived]) => {
    const rule = sex === "female" || age === "child" ? "survived" : "died";
    const person = (label: string) => [place, sex, age, rule, label];
    return [
      ...Array.from({ length: died }, () => person("died")),
      ...Array.from({ length: lived }, () => person("survived")),
    ];
  });
  const names = ["class", "sex", "age", "rule", "label"];
  const columns = names.map((name, c) =>
    category(
      name,
      rows.map((row) => row[c]!),
    ),
  );
  return { rows: rows.length, columns };
}

/** The study's own task file. */
export const TITANIC_TASK = {
  schema: "magnet.research_task/1",
  name: "zevor on the Titanic",
  domain: "tabular",
  data: "built-in",
  label: "label",
  context: "class",
  pipeline: "rule",
  split: { gate: 0.1, sealed: 0.25 },
} as const;
