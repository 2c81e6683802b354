/** From a table to a model, a report and shared knowledge on the command line. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { parse } from "csv-parse/sync";
import { seededRandom } from "../../src/core/random.ts";
import { startTeacherServer } from "../research/teacher/server.ts";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
const at = (...parts: string[]) => path.join(home, ...parts);
const run = (...args: string[]) => magnet(MAIN, home, ["research", ...args]);

const TASK = {
  schema: "magnet.research_task/1",
  name: "ripe fruit",
  domain: "tabular",
  data: "fruit.csv",
  label: "ripe",
  budget: { trials: 14 },
};

/** A fifth is ripe: by weight and colour, with noise. */
function fruit(rows: number): string {
  const random = seededRandom(5);
  const uniform = () => random.next();
  const lines = ["weight,colour,shelf,ripe"];
  for (let i = 0; i < rows; i++) {
    const weight = uniform();
    const colour = ["red", "green", "=odd"][Math.floor(uniform() * 3)]!;
    const ripe = weight + (colour === "red" ? 0.4 : 0) + 0.4 * uniform() > 1.15;
    lines.push(
      `${weight.toFixed(4)},${colour},${Math.floor(uniform() * 9)},${ripe ? "yes" : "no"}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

const writeTask = (name: string, change: object = {}) => {
  const file = at(name);
  fs.writeFileSync(file, JSON.stringify({ ...TASK, ...change }));
  return file;
};

beforeAll(() => {
  home = makeHome();
  fs.writeFileSync(at("fruit.csv"), fruit(600));
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

interface Ended {
  folder: string;
  ended: string;
  result: {
    sealed: { model: { score: number; low: number }; trivial: { score: number } };
    final: { candidate: { configuration: object } };
    trials: Record<string, number>;
  };
  files: Record<"markdown" | "page" | "csv" | "json" | "model", string>;
}

describe("research", () => {
  let ended: Ended;

  test("run goes from a task file to a model that beats the trivial answer", async () => {
    const outcome = await run("run", writeTask("task.json"), "--workers", "2", "--json");
    expect(outcome.stderr).toContain("noise floor");
    ended = oneDocument(outcome) as unknown as Ended;
    expect(outcome.code).toBe(0);
    expect(ended.folder).toEndWith(path.join("research", "runs", "ripe-fruit"));
    expect(ended.result.sealed.model.low).toBeGreaterThan(ended.result.sealed.trivial.score);
    expect(ended.result.trials.done).toBeWithin(8, 15);
    for (const file of Object.values(ended.files))
      expect(fs.statSync(file).size).toBeGreaterThan(0);
  }, 120_000);

  test("the model predicts new rows, by run and by file, and names what is missing", async () => {
    const outcome = await run("predict", "ripe-fruit", at("fruit.csv"));
    const rows = parse(outcome.stdout, { columns: true }) as Record<string, string>[];
    const truth = parse(fs.readFileSync(at("fruit.csv"), "utf8"), { columns: true }) as {
      ripe: string;
    }[];
    expect(rows).toHaveLength(600);
    const right = rows.filter((row, i) => row.class === truth[i]!.ripe).length;
    expect(right).toBeGreaterThan(510);
    expect(Number(rows[0]!.p_yes) + Number(rows[0]!.p_no)).toBeCloseTo(1, 4);

    const [first] = (await run("predict", ended.files.model, at("fruit.csv"), "--json")).stdout
      .trimEnd()
      .split("\n");
    expect(JSON.parse(first!)).toMatchObject({
      ...{ schema: "magnet.research_predict/1", row: 0, class: rows[0]!.class },
    });
    fs.writeFileSync(at("bare.csv"), "colour,shelf\nred,1\ngreen,2\n");
    const missing = errorDocument(await run("predict", "ripe-fruit", at("bare.csv"), "--json"));
    expect(missing.message).toContain("weight");
    fs.writeFileSync(at("garbage.bin"), "no model");
    const bad = await run("predict", at("garbage.bin"), at("fruit.csv"), "--json");
    expect(errorDocument(bad).code).toBe("BAD_MODEL");
  }, 60_000);

  test("report shows it as Markdown, page, CSV and document", async () => {
    expect((await run("report", "ripe-fruit")).stdout).toStartWith("# Research: ripe fruit");
    const html = await run("report", "ripe-fruit", "--format", "html");
    expect(html.stdout).toStartWith("<!doctype html>");
    const csv = parse((await run("report", "ripe-fruit", "--format", "csv")).stdout);
    expect(csv).toHaveLength(1 + ended.result.trials.done!);
    const document = oneDocument(await run("report", "ripe-fruit", "--json"));
    expect(document.schema).toBe("magnet.research_report/1");
  }, 60_000);

  test("resume of an ended run shows the same result; a second run has its own folder", async () => {
    const again = oneDocument(await run("resume", "ripe-fruit", "--json")) as unknown as Ended;
    const { spent: _, ...known } = ended.result as typeof ended.result & { spent?: unknown };
    expect(again.result).toMatchObject(known);
    const refused = await run("run", at("task.json"), "--out", ended.folder, "--json");
    expect(errorDocument(refused).code).toBe("RUN_EXISTS");
    // A killed run leaves its number behind, which may be another program's by now: this one's.
    fs.writeFileSync(path.join(ended.folder, "run.pid"), `${process.pid}\n`);
    const stopped = await run("stop", "ripe-fruit", "--json");
    expect(errorDocument(stopped).code).toBe("RUN_NOT_RUNNING");
    const { runs } = oneDocument(await run("list", "--json")) as {
      runs: { name: string; state: string; trials: number }[];
    };
    expect(runs).toMatchObject([
      { name: "ripe-fruit", state: "done", trials: ended.result.trials.done! },
    ]);
  }, 60_000);

  test("what was learnt goes to another machine, signed, and a changed file does not", async () => {
    const { insights } = oneDocument(await run("knowledge", "--json")) as { insights: object[] };
    expect(insights.length).toBeGreaterThan(0);
    const file = at("knowledge.json");
    expect((await run("knowledge", "export", "--out", file)).code).toBe(0);
    const there = ["--knowledge", at("other.db"), "--json"];
    const taken = oneDocument(await run("knowledge", "import", file, ...there));
    expect(taken).toMatchObject({ insights: insights.length, added: insights.length });
    const twice = oneDocument(await run("knowledge", "import", file, ...there));
    expect(twice.added).toBe(0);
    const listed = await run("knowledge", "list", "--knowledge", at("other.db"));
    expect(listed.stdout).toContain("ripe fruit");
    const text = fs.readFileSync(file, "utf8").replace("ripe fruit", "ripe_fruit");
    fs.writeFileSync(at("changed.json"), text);
    const changed = errorDocument(await run("knowledge", "import", at("changed.json"), ...there));
    expect(changed.code).toBe("BAD_KNOWLEDGE");
  }, 60_000);

  test("check says what a run would be given, and each mistake of a task file is named", async () => {
    const facts = oneDocument(await run("check", at("task.json"), "--json"));
    expect(facts).toMatchObject({ facts: { rows: 600, classes: 2 }, metric: "balanced_accuracy" });
    const mistakes: [object, string][] = [
      [{ label: "rip" }, "did you mean ripe"],
      [{ data: "absent.csv" }, "absent.csv"],
      [{ budgets: 1 }, "budget"],
      [{ budget: { trials: 1, cpu_s: 1 } }, "one limit"],
      [{ domain: "tabula" }, "domain"],
    ];
    for (const [change, says] of mistakes) {
      const { message, hint } = errorDocument(
        await run("check", writeTask("bad.json", change), "--json"),
      );
      expect(`${message} ${hint}`.toLowerCase()).toContain(says.toLowerCase());
    }
    const absent = await run("resume", "nothing", "--json");
    expect(errorDocument(absent).code).toBe("RUN_NOT_FOUND");
  }, 60_000);
});

test("a teacher's documents come without duplicates and without the evaluation set", async () => {
  const words = (s: number) => Array.from({ length: 60 }, (_, i) => `w${(i * s) % 997}`).join(" ");
  const texts = [words(3), words(3), words(5), words(7)];
  const server = startTeacherServer(() =>
    JSON.stringify({ examples: texts.map((text) => ({ text })) }),
  );
  try {
    fs.writeFileSync(at("evaluation.txt"), words(7));
    const teacher = ["--teacher", "openai", "--model", "m", "--base-url", server.base_url];
    const what = ["--kind", "documents", "--topic", "fruit", "--count", "4"];
    const rest = ["--against", at("evaluation.txt"), "--out", at("made.jsonl"), "--json"];
    const outcome = await run("generate", ...what, ...teacher, ...rest);
    expect(oneDocument(outcome)).toMatchObject({ kept: 2, contaminated: 1 });
    expect(outcome.code).toBe(1); // fewer than asked for, and it says why
    const lines = fs.readFileSync(at("made.jsonl"), "utf8").trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).text)).toEqual([texts[0], texts[2]]);
    const again = await run("generate", ...what, ...teacher, ...rest);
    expect(errorDocument(again).code).toBe("FILE_EXISTS");
  } finally {
    server.stop();
  }
}, 60_000);
