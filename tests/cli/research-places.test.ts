/** Where runs lie, how they are named, and what is left of one that could not begin. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { eventLine } from "../../src/cli/research/view.ts";
import type { ResearchEvent } from "../../src/research/loop/events.ts";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
const at = (...parts: string[]) => path.join(home, ...parts);
const run = (...args: string[]) => magnet(MAIN, home, ["research", ...args, "--json"]);
const ROWS = 120;

beforeAll(() => {
  home = makeHome();
  const rows = Array.from({ length: ROWS }, (_, i) => `${(i * 37) % 101},${i % 3 ? "a" : "b"}`);
  fs.writeFileSync(at("rows.csv"), `x,y\n${rows.join("\n")}\n`);
  const task = {
    ...{ schema: "magnet.research_task/1", name: "places", domain: "tabular" },
    ...{ data: "rows.csv", label: "y", budget: { trials: 1 } },
  };
  fs.writeFileSync(at("task.json"), JSON.stringify(task));
  const taught = { ...task, teacher: { backend: "oracle", model: "m" } };
  fs.writeFileSync(at("taught.json"), JSON.stringify(taught));
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

test("a run that cannot begin leaves no folder that would take its name", async () => {
  const zero = await run("run", "task.json", "--cpu", "0", "--out", "zero");
  expect(errorDocument(zero).code).toBe("BAD_BUDGET");
  const alone = await run("run", "task.json", "--nodes", "2", "--out", "alone");
  expect(errorDocument(alone).code).toBe("NODE_NOT_RUNNING");
  expect(fs.existsSync(at("zero"))).toBeFalse();
  expect(fs.existsSync(at("alone"))).toBeFalse();
}, 60_000);

test("a folder that --out NAME made is found by NAME", async () => {
  const outcome = await run("run", "task.json", "--out", "here", "--workers", "1");
  expect(outcome.stderr).toContain("DUPLICATE_ROWS"); // what check says, before it is trained on
  const made = oneDocument(outcome);
  expect(made.folder).toBe(fs.realpathSync(at("here")));
  expect(oneDocument(await run("report", "here")).schema).toBe("magnet.research_report/1");
  const predicted = await run("predict", "here", "rows.csv");
  expect(predicted.stdout.trimEnd().split("\n")).toHaveLength(ROWS);
}, 120_000);

test("a run without an end or without a beginning says so", async () => {
  fs.rmSync(at("here/report.json"));
  fs.rmSync(at("here/model.bin"));
  for (const command of [["report", "here"] as const, ["predict", "here", "rows.csv"] as const]) {
    const { code, message, hint } = errorDocument(await run(...command));
    expect(code).toBe("RUN_NOT_DONE");
    expect(message).toContain("was interrupted, after 1 trial");
    expect(hint).toContain("magnet research resume");
  }
  const database = new Database(at("here/run.db"));
  database.run("DELETE FROM run");
  database.close();
  for (const command of ["resume", "report"])
    expect(errorDocument(await run(command, "here")).code).toBe("RUN_NOT_BEGUN");
  const absent = await run("predict", "nowhere", "rows.csv");
  expect(errorDocument(absent).code).toBe("RUN_NOT_FOUND");
}, 60_000);

test("check names a bad teacher; forget wants a key", async () => {
  expect(errorDocument(await run("check", "taught.json")).code).toBe("BAD_TEACHER");
  expect(errorDocument(await run("knowledge", "forget", "02ab")).code).toBe("BAD_VALUE");
}, 60_000);

test("lines of a run name the model that is judged, in figures of four digits", () => {
  const contender = { trial: 7, configuration: {}, strategy: "blend", version: 2, score: 0.5 };
  const difference = { difference: 0, standard_error: 0, low: 0, high: 0, level: 0.95 };
  const verdict = {
    ...{ accepted: false, difference, noise_floor: 0, seeds: 1, gate: null, reason: "too small" },
  };
  const judged = {
    ...{ index: 0, kind: "verdict", version: 2, contender: { ...contender, seeds: 1 }, verdict },
  } as ResearchEvent;
  expect(eventLine(judged)).toBe("  not accepted (blend, trial 7): too small");
  const still = { index: 1, kind: "converged", versions: 3, epsilon: 0.00067570867 } as const;
  expect(eventLine(still)).toBe("converged: 3 versions in a row brought less than 0.0007");
});
