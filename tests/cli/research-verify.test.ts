/** An ended run is computed again from its folder: whoever receives one sees what was changed in it. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { seededRandom } from "../../src/core/random.ts";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
const at = (...parts: string[]) => path.join(home, ...parts);
const verify = (...args: string[]) =>
  magnet(MAIN, home, ["research", "verify", ...args, "--sample", "100", "--json"]);

const TRIALS = 8;

interface Verified {
  same: boolean;
  checks: { what: string; same: boolean; detail: string | null }[];
}

beforeAll(async () => {
  home = makeHome();
  const random = seededRandom(3);
  const lines = Array.from({ length: 300 }, () => {
    const [x, z] = [random.next(), random.next()];
    return `${x.toFixed(4)},${z.toFixed(4)},${x + 0.5 * random.next() > 0.7 ? "yes" : "no"}`;
  });
  fs.writeFileSync(at("rows.csv"), `x,z,y\n${lines.join("\n")}\n`);
  const task = {
    ...{ schema: "magnet.research_task/1", name: "sent", domain: "tabular" },
    ...{ data: "rows.csv", label: "y", budget: { trials: TRIALS } },
  };
  fs.writeFileSync(at("task.json"), JSON.stringify(task));
  const run = ["research", "run", at("task.json"), "--out", at("run"), "--workers", "1"];
  expect((await magnet(MAIN, home, run)).code).toBe(0);
}, 120_000);
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

function copy(name: string): string {
  fs.cpSync(at("run"), at(name), { recursive: true });
  return at(name);
}

/** Of a run's folder: its files, and the rows of its database. */
function contents(folder: string): unknown[] {
  const database = new Database(path.join(folder, "run.db"));
  const tables = ["run", "trials", "steps", "lives"];
  const rows = tables.map((name) => database.query(`SELECT * FROM ${name}`).all());
  database.close();
  const names = fs.readdirSync(folder).filter((name) => !name.startsWith("run.db"));
  return [rows, names.map((name) => [name, fs.readFileSync(path.join(folder, name), "utf8")])];
}

async function differing(folder: string): Promise<string[]> {
  const outcome = await verify(folder);
  expect(outcome.code).toBe(6);
  const { same, checks } = oneDocument(outcome) as unknown as Verified;
  expect(same).toBeFalse();
  return checks.flatMap((check) => (check.same ? [] : [check.what]));
}

test("an honest run is the same in every part, and stays as it was", async () => {
  const before = contents(at("run"));
  const { same, checks } = oneDocument(await verify(at("run"))) as unknown as Verified;
  expect(same).toBeTrue();
  const parts = checks.map(({ what }) => what);
  expect(parts).toHaveLength(TRIALS + 2);
  expect(parts).toEqual(expect.arrayContaining(["trial 0", "model", "sealed score"]));
  expect(contents(at("run"))).toEqual(before);
}, 60_000);

test("a changed score, model or sealed score is named", async () => {
  const scored = copy("scored");
  const database = new Database(path.join(scored, "run.db"));
  database.run("UPDATE trials SET record = json_set(record, '$.score', 0.999) WHERE trial = 3");
  database.close();
  expect(await differing(scored)).toEqual(["trial 3"]);

  const sealed = copy("sealed");
  const file = path.join(sealed, "report.json");
  const report = JSON.parse(fs.readFileSync(file, "utf8"));
  report.result.sealed.model.score += 1e-9;
  report.trials[2].score += 1e-9;
  fs.writeFileSync(file, JSON.stringify(report));
  expect((await differing(sealed)).sort()).toEqual(["sealed score", "trial 2"]);

  const model = copy("model");
  const bytes = fs.readFileSync(path.join(model, "model.bin"));
  bytes[bytes.length - 1]! ^= 1;
  fs.writeFileSync(path.join(model, "model.bin"), bytes);
  expect(await differing(model)).toEqual(["model"]);
}, 120_000);

test("a report that was cut off is no bug of magnet, and resume writes it again", async () => {
  const folder = copy("cut");
  const file = path.join(folder, "report.json");
  const whole = fs.readFileSync(file, "utf8");
  for (const text of [whole.slice(0, 300), "{}", whole.replace('"trials": [', '"trails": [')]) {
    fs.writeFileSync(file, text);
    const error = errorDocument(await verify(folder));
    expect([text.length, error.code]).toEqual([text.length, "RUN_CORRUPT"]);
    expect(error.hint).toContain("resume");
  }
  expect((await magnet(MAIN, home, ["research", "resume", folder])).code).toBe(0);
  expect((await verify(folder)).code).toBe(0);
}, 60_000);

test("data that are elsewhere are named with --task, others are refused", async () => {
  fs.mkdirSync(at("there"));
  fs.renameSync(at("rows.csv"), at("there/rows.csv"));
  const missing = errorDocument(await verify(at("run")));
  expect([missing.code, missing.hint]).toEqual(["NOT_FOUND", expect.stringContaining("--task")]);
  const found = oneDocument(await verify(at("run"), "--task", at("there")));
  expect(found.same).toBeTrue();
  fs.appendFileSync(at("there/rows.csv"), "0.5,0.5,yes\n");
  const other = errorDocument(await verify(at("run"), "--task", at("there")));
  expect(other.code).toBe("TASK_CHANGED");
}, 60_000);
