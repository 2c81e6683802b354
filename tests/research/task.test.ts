/**
 * Task files and the checks of a task's data: each flaw is planted once, detected, said with a hint,
 * and absent on the clean twin.
 */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import type { MagnetError } from "../../src/core/errors.ts";
import { splitParts, stratifiedFolds } from "../../src/research/evaluation/split.ts";
import type { TaskData } from "../../src/research/table/types.ts";
import { loadTaskData } from "../../src/research/task/data.ts";
import { loadTask, parseTask, taskHash } from "../../src/research/task/load.ts";
import { TASK_SCHEMA } from "../../src/research/task/schema.ts";
import { failure, plainRows, type Row, scratch, tabularTask, toCsv } from "./planted.ts";

const { folder, file } = scratch();
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const write = (rows: readonly Row[]) => file("data.csv", toCsv(rows));
const load = (rows: readonly Row[], more: Record<string, unknown> = {}) =>
  loadTaskData(tabularTask(write(rows), more));
const refused = (rows: readonly Row[], more: Record<string, unknown> = {}) =>
  failure(() => load(rows, more));
const said = (data: TaskData, code: string) => data.notes.find((note) => note.code === code);
/** Each planted flaw against the clean table: the code must come from the flaw alone. */
async function onlyWith(code: string, rows: readonly Row[], more: Record<string, unknown> = {}) {
  expect(said(await load(plainRows(300)), code)).toBeUndefined();
  const note = said(await load(rows, more), code);
  expect(note).toBeDefined();
  expect(note!.hint.length).toBeGreaterThan(10);
  return note!.text;
}

describe("the task file", () => {
  const base = { schema: TASK_SCHEMA, name: "t", domain: "tabular", data: "d.csv", label: "y" };
  const broken = async (value: unknown): Promise<MagnetError> => {
    const error = await failure(() => parseTask(value, "/tasks/t.json"));
    expect(error.code).toBe("BAD_TASK");
    expect(error.exit).toBe("config");
    return error;
  };

  test("defaults, and paths from the folder of the file", () => {
    const at = file("t.json", JSON.stringify({ ...base, data: ["d.csv", "/abs/e.csv"] }));
    const task = loadTask(at);
    expect(task.data).toEqual([`${folder}/d.csv`, "/abs/e.csv"]);
    expect(task.metric).toBe("balanced_accuracy");
    expect(task.seed).toBe(1);
    expect(task.split).toEqual({ gate: 0.15, sealed: 0.2, by_context: false });
    expect(task.budget).toEqual({ patience: 3, epsilon: 0.001, cpu_s: 300 });
    expect(task.series).toBeNull();
  });

  test("the command line replaces seed and budget", () => {
    const value = { ...base, seed: 4, budget: { trials: 10, patience: 5 } };
    expect(parseTask(value, "/t.json").budget).toEqual({ patience: 5, epsilon: 0.001, trials: 10 });
    const task = parseTask(value, "/t.json", { seed: 9, budget: { wall_s: 60 } });
    expect(task.seed).toBe(9);
    expect(task.budget).toEqual({ patience: 5, epsilon: 0.001, wall_s: 60 });
  });

  test("an unknown key is named with the nearest one, at any depth", async () => {
    const top = await broken({ ...base, lable: "y" });
    expect(top.message).toContain('unknown key "lable"');
    expect(top.hint).toBe("did you mean label?");
    const deep = await broken({ ...base, budget: { trails: 3 } });
    expect(deep.message).toContain('unknown key "budget.trails"');
    expect(deep.hint).toBe("did you mean trials?");
  });

  test("missing and wrong values are named", async () => {
    const { data: _, ...without } = base;
    expect((await broken(without)).message).toContain('"data" is missing');
    expect((await broken({ ...base, seed: -1 })).message).toContain('"seed"');
    expect((await broken({ ...base, schema: "x" })).hint).toContain(TASK_SCHEMA);
    expect((await broken([])).message).toContain("not a JSON object");
    expect((await broken({ ...base, domain: "series" })).message).toContain("no label");
    expect((await broken({ ...base, budget: { trials: 1, cpu_s: 1 } })).hint).toContain(
      "one limit",
    );
    expect((await broken({ ...base, context: "y" })).message).toContain("both label and context");
    expect((await broken({ ...base, drop: ["y"] })).message).toContain("dropped");
    expect((await broken({ ...base, split: { by_context: true } })).hint).toContain("context");
    expect((await broken({ ...base, split: { by_time: true } })).hint).toContain('"time"');
    expect(
      (
        await broken({
          ...base,
          context: "c",
          time: "t",
          split: { by_context: true, by_time: true },
        })
      ).hint,
    ).toContain("choose one");
    expect((await broken({ ...base, split: { gate: 0.5, sealed: 0.5 } })).message).toContain(
      "search",
    );
    expect((await broken({ ...base, series: {} })).message).toContain("tabular");
    expect((await failure(() => loadTask(file("bad.json", "{")))).message).toContain("not JSON");
    expect((await failure(() => loadTask("/nowhere.json"))).code).toBe("NOT_FOUND");
  });

  test("rows with a time are split by it, unless the task says otherwise", () => {
    const byTime = (more: object) => parseTask({ ...base, ...more }, "/t.json").split.by_time;
    expect(byTime({})).toBeUndefined();
    expect(byTime({ time: "t" })).toBe(true);
    expect(byTime({ time: "t", split: { by_time: false } })).toBe(false);
    expect(byTime({ time: "t", context: "c", split: { by_context: true } })).toBe(false);
  });

  test("the hash follows what decides a trial, and not the budget", () => {
    const hash = (more: object) =>
      taskHash(parseTask({ ...base, ...more }, "/t.json"), "aa" as never);
    expect(hash({ budget: { trials: 3 }, name: "other" })).toBe(hash({}));
    for (const more of [{ seed: 2 }, { metric: "auc" }, { split: { sealed: 0.3 } }])
      expect(hash(more)).not.toBe(hash({}));
  });
});

describe("the data of a task", () => {
  test("a clean table has no notes; its parts are features and classes", async () => {
    const data = await load(plainRows(300));
    expect(data.notes).toEqual([]);
    expect(data.features.columns.map((c) => c.name)).toEqual(["x", "y", "color"]);
    expect(data.classes).toEqual(["no", "yes"]);
    expect([data.context, data.pipeline, data.time, data.group]).toEqual([null, null, null, null]);
  });

  test("the hash is of the content: same from JSON lines, other with one cell changed", async () => {
    const rows = plainRows(100);
    const { hash } = await load(rows);
    const lines = rows.map((row) => JSON.stringify({ ...row, x: Number(row.x), y: Number(row.y) }));
    const other = await loadTaskData(tabularTask(file("data.jsonl", lines.join("\n"))));
    expect(other.hash).toBe(hash);
    expect((await load(rows.map((row, i) => (i === 50 ? { ...row, x: "1" } : row)))).hash).not.toBe(
      hash,
    );
    expect((await load(rows.toReversed())).hash).not.toBe(hash);
  });

  test("a missing column", async () => {
    const error = await refused(plainRows(100), { label: "labels" });
    expect(error.code).toBe("COLUMN_NOT_FOUND");
    expect(error.hint).toBe("did you mean label?");
    for (const more of [{ context: "colour" }, { drop: ["z"] }, { time: "when" }])
      expect((await refused(plainRows(100), more)).code).toBe("COLUMN_NOT_FOUND");
  });

  test("a constant label, and a label missing everywhere", async () => {
    const constant = await refused(plainRows(100).map((row) => ({ ...row, label: "yes" })));
    expect(constant.code).toBe("BAD_LABEL");
    expect(constant.message).toContain('is constant: every row has "yes"');
    const empty = await refused(plainRows(100).map((row) => ({ ...row, label: null })));
    expect(empty.message).toContain("missing in every row");
  });

  test("a class with fewer rows than the folds and parts need", async () => {
    const rows = plainRows(200).map((row, i) => (i < 4 ? { ...row, label: "rare" } : row));
    const error = await refused(rows);
    expect(error.code).toBe("BAD_LABEL");
    expect(error.message).toContain('"rare" (4)');
    const data = await load(rows, { rare_classes: "drop" });
    expect(data.label.length).toBe(196);
    expect(data.classes).toEqual(["no", "yes"]);
    expect(said(data, "RARE_CLASSES_DROPPED")!.text).toContain('"rare" (4)');
    const one = plainRows(100).map((row, i) => ({ ...row, label: i < 3 ? "no" : "yes" }));
    expect((await refused(one, { rare_classes: "drop" })).message).toContain(
      "fewer than two classes",
    );
  });

  test("a label that is a number to predict; numbers of classes are in their order", async () => {
    const error = await refused(plainRows(300).map((row, i) => ({ ...row, label: i / 7 })));
    expect(error.message).toContain("300 different values");
    expect(error.hint).toContain("number to predict");
    const data = await load(
      plainRows(300).map((row, i) => ({ ...row, label: [10, 9, 100][i % 3]! })),
    );
    expect(data.classes).toEqual(["9", "10", "100"]);
  });

  test("rows without a label are left out and said", async () => {
    const rows = plainRows(300).map((row, i) => (i % 10 === 0 ? { ...row, label: null } : row));
    expect(await onlyWith("MISSING_LABEL", rows)).toContain("30 of 300");
    expect((await load(rows)).features.rows).toBe(270);
  });

  test("the label under another name is refused, unless kept or dropped", async () => {
    const codes = plainRows(200).map((row) => ({ ...row, code: row.label === "yes" ? 7 : 3 }));
    const error = await refused(codes);
    expect(error.code).toBe("LABEL_LEAK");
    expect(error.message).toContain('column "code" is the label under another name');
    expect((await load(codes, { drop: ["code"] })).notes).toEqual([]);
    expect((await load(codes, { keep: ["code"] })).features.columns.length).toBe(4);
    const words = plainRows(200).map((row) => ({ ...row, w: row.label === "yes" ? "b" : "a" }));
    expect((await refused(words)).code).toBe("LABEL_LEAK");
  });

  test("a feature that alone predicts (nearly) perfectly is said", async () => {
    const leaky = plainRows(300).map((row, i) => ({
      ...row,
      paid: (row.label === "yes" ? 1000 : 0) + ((i * 37) % 900),
    }));
    expect(await onlyWith("LABEL_LEAK", leaky)).toContain('"paid"');
    expect(said(await load(leaky, { keep: ["paid"] }), "LABEL_LEAK")).toBeUndefined();
    // 85% right is a good feature, not a leak.
    const good = plainRows(300).map((row, i) => ({
      ...row,
      g: (row.label === "yes") === i % 7 > 0 ? "a" : "b",
    }));
    expect(said(await load(good), "LABEL_LEAK")).toBeUndefined();
  });

  test("duplicate rows are said and kept in one part and one fold", async () => {
    const rows = plainRows(300);
    const copied = [...rows, ...rows.slice(0, 60), ...rows.slice(0, 60)];
    expect(await onlyWith("DUPLICATE_ROWS", copied)).toContain("180 of 420 rows");
    const data = await load(copied);
    const parts = splitParts(data, { gate: 0.15, sealed: 0.2, by_context: false }, 1);
    for (const part of [parts.search, parts.gate, parts.sealed]) {
      const inside = new Set(part);
      for (const row of part)
        if (row < 60) expect(inside.has(300 + row) && inside.has(360 + row)).toBe(true);
    }
    for (const { train, validation } of stratifiedFolds(
      data,
      parts.search,
      { folds: 5, repeats: 1 },
      1,
    )) {
      const groups = new Set(Array.from(validation, (row) => data.group![row]));
      expect(train.some((row) => groups.has(data.group![row]!))).toBe(false);
    }
    const contradicting = [
      ...rows,
      { ...rows[0]!, label: rows[0]!.label === "yes" ? "no" : "yes" },
    ];
    expect(said(await load(contradicting), "DUPLICATE_ROWS")!.text).toContain("another label");
  });

  test("equal rows of a table with few combinations are its nature", async () => {
    const rows = plainRows(300).map(({ color, label }, i) => ({
      color: color!,
      size: i % 4,
      label: label!,
    }));
    const data = await load(rows);
    expect(said(data, "FEW_COMBINATIONS")!.text).toContain("only 12 different combinations");
    expect(data.group).toBeNull();
  });

  test("infinite values and NaN", async () => {
    const rows = plainRows(300).map((row, i) => (i === 5 ? { ...row, x: "inf" } : row));
    expect(await onlyWith("INFINITE_VALUES", rows)).toContain('"x" has 1 infinite');
    const nan = await load(plainRows(300).map((row, i) => (i === 5 ? { ...row, x: "NaN" } : row)));
    expect(nan.notes).toEqual([]); // an ordinary missing value
    const x = nan.features.columns[0]!;
    expect(x.kind === "number" && Number.isNaN(x.values[5])).toBe(true);
  });

  test("a time that goes backwards, a missing one and one that is none", async () => {
    const day = (i: number) => `2024-01-${String(1 + (i % 28)).padStart(2, "0")}`;
    const up = plainRows(28).map((row, i) => ({ ...row, day: day(i) }));
    const fine = await load([...up, ...plainRows(20, 2).map((row) => ({ ...row, day: day(27) }))], {
      time: "day",
    });
    expect(said(fine, "TIME_GOES_BACKWARDS")).toBeUndefined();
    expect(fine.time![1]! - fine.time![0]!).toBe(86_400_000);
    const rows = plainRows(300).map((row, i) => ({ ...row, day: day(i) }));
    const text = await onlyWith("TIME_GOES_BACKWARDS", rows, { time: "day" });
    expect(text).toContain("backwards at row 29: from 2024-01-28");
    const gap = rows.map((row, i) => (i === 3 ? { ...row, day: null } : row));
    expect((await refused(gap, { time: "day" })).message).toContain("missing in row 4");
    expect((await refused(rows, { time: "color" })).code).toBe("BAD_TIME");
  });

  test("contexts: one row, missing, only one, an id", async () => {
    const rows = plainRows(300).map((row, i) => ({
      ...row,
      site: i === 9 ? "alone" : "abc"[i % 3]!,
    }));
    const text = await onlyWith("SMALL_CONTEXTS", rows, { context: "site" });
    expect(text).toContain('"alone" (1 row)');
    expect((await load(rows, { context: "site" })).contexts).toEqual(["(rare)", "a", "b", "c"]);
    const missing = plainRows(300).map((row, i) => ({ ...row, site: i % 3 === 0 ? null : "b" }));
    expect((await load(missing, { context: "site" })).contexts).toEqual(["(missing)", "b"]);
    const one = plainRows(300).map((row) => ({ ...row, site: "x" }));
    expect(await onlyWith("ONE_CONTEXT", one, { context: "site" })).toContain("no contexts");
    const id = plainRows(300).map((row, i) => ({ ...row, site: `s${i}` }));
    expect((await refused(id, { context: "site" })).code).toBe("BAD_CONTEXT");
  });

  test("a pipeline's classes are those of the label", async () => {
    const rows = plainRows(300).map((row, i) => ({
      ...row,
      rule: i % 9 === 0 ? "maybe" : i % 7 === 0 ? null : i % 2 === 0 ? "yes" : "no",
    }));
    expect(await onlyWith("PIPELINE_UNKNOWN_CLASS", rows, { pipeline: "rule" })).toContain(
      '"maybe"',
    );
    const data = await load(rows, { pipeline: "rule" });
    expect([...data.pipeline!.slice(0, 8)]).toEqual([-1, 0, 1, 0, 1, 0, 1, -1]);
    const error = await refused(
      plainRows(100).map((row) => ({ ...row, rule: "Y" })),
      { pipeline: "rule" },
    );
    expect(error.code).toBe("BAD_PIPELINE");
    expect(error.message).toContain('"Y"');
  });

  test("ids and constant columns are no features, unless kept", async () => {
    const rows = plainRows(300).map((row, i) => ({
      ...row,
      number: i + 17,
      name: `n${i}`,
      customer_id: (i * 7919) % 100_003,
      same: 1,
    }));
    const text = await onlyWith("ID_COLUMNS", rows);
    expect(text).toContain('columns "number", "name", "customer_id"');
    expect(await onlyWith("CONSTANT_COLUMNS", rows)).toContain('"same"');
    const kept = await load(rows, { keep: ["customer_id"] });
    expect(kept.features.columns.map((c) => c.name)).toContain("customer_id");
    const none = plainRows(100).map(({ label }, i) => ({ id: i, label: label! }));
    expect((await refused(none)).code).toBe("NO_FEATURES");
  });

  test("a category with very many levels keeps the frequent ones", async () => {
    const rows = plainRows(900).map((row, i) => ({
      ...row,
      zip: i % 3 === 0 ? "often" : `z${i % 500}`,
    }));
    expect(await onlyWith("MANY_LEVELS", rows)).toContain('"zip" has 468 levels');
    const zip = (await load(rows)).features.columns.find((c) => c.name === "zip")!;
    expect(zip.kind === "category" && zip.levels.length).toBe(200);
    expect(zip.kind === "category" && zip.levels).toContain("often");
    expect(zip.kind === "category" && zip.levels).toContain("(other)");
  });
});
