/** A language run on the command line: what check says, and that its model is used by other commands. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { seededRandom } from "../../src/core/random.ts";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
const at = (...parts: string[]) => path.join(home, ...parts);
const run = (...args: string[]) => magnet(MAIN, home, args);

const BASELINE = {
  ...{ vocab_size: 320, d_model: 32, n_layers: 1, head_dim: 16, group: 1 },
  ...{ context: 64, batch: 4 },
};

function writeTask(name: string, baseline: object): string {
  const language = { tokens: 4096, evaluation_context: 64, evaluation_bytes: 4096, baseline };
  const task = {
    ...{ schema: "magnet.research_task/1", name: "tales", domain: "language" },
    ...{ data: "tales.jsonl", budget: { trials: 2 }, language },
  };
  fs.writeFileSync(at(name), JSON.stringify(task));
  return at(name);
}

/** Sentences of a few words, different in every document. */
function tales(documents: number): string {
  const random = seededRandom(11);
  const draw = (words: string) => {
    const all = words.split(" ");
    return all[Math.floor(random.next() * all.length)]!;
  };
  const sentence = () =>
    `the ${draw("cat dog sailor child bird")} ${draw("sees likes paints hears")} ` +
    `${draw("moons boats bread clocks")} ${draw("slowly again often")}.`;
  const text = () => Array.from({ length: 30 }, sentence).join(" ");
  return Array.from({ length: documents }, () => `${JSON.stringify({ text: text() })}\n`).join("");
}

beforeAll(() => {
  home = makeHome();
  fs.writeFileSync(at("tales.jsonl"), tales(80));
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

test("check says how much text there is and what a trial takes, or what is missing", async () => {
  const task = writeTask("task.json", BASELINE);
  const { language, notes } = oneDocument(await run("research", "check", task, "--json"));
  expect(language).toMatchObject({ sources: 1, documents: 80, tokens_per_trial: 4096 });
  const { training_bytes, held_out_bytes, cpu_s_per_trial } = language as Record<string, number>;
  const bytes = fs
    .readFileSync(at("tales.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .reduce((sum, line) => sum + (JSON.parse(line) as { text: string }).text.length, 0);
  expect(training_bytes! + held_out_bytes!).toBe(bytes);
  expect(cpu_s_per_trial).toBeWithin(0.001, 60);
  expect(notes).toMatchObject([{ code: "BUDGET_SMALL" }]);
  expect((await run("research", "check", task)).stdout).not.toContain("minority");

  const wide = writeTask("wide.json", { ...BASELINE, vocab_size: 2048 });
  const long = writeTask("long.json", { ...BASELINE, context: 60_000 });
  for (const command of ["check", "run"]) {
    const small = errorDocument(await run("research", command, wide, "--json"));
    expect(small.code).toBe("CORPUS_TOO_SMALL");
    expect(small.hint).toContain("language.baseline.vocab_size (now 2048)");
    const short = errorDocument(await run("research", command, long, "--json"));
    expect(short.hint).toContain("language.baseline.context (now 60000)");
  }
}, 120_000);

test("a run leaves a model that chat goes on with and export takes; predict says so", async () => {
  const task = writeTask("task.json", BASELINE);
  fs.mkdirSync(at("taken/model"), { recursive: true });
  const taken = await run("research", "run", task, "--out", at("taken"), "--json");
  expect(errorDocument(taken).code).toBe("EXISTS");

  const out = ["--workers", "1", "--out", at("done"), "--json"];
  const ended = oneDocument(await run("research", "run", task, ...out));
  const { model_folder } = ended.files as { model_folder: string };
  expect(fs.realpathSync(model_folder)).toBe(fs.realpathSync(at("done/model")));
  const report = fs.readFileSync(at("done/report.md"), "utf8");
  expect(report).toContain("magnet chat model --complete");

  const asked = ["--complete", "--prompt", "the cat", "--max-tokens", "4", "--json"];
  const chat = oneDocument(await run("chat", model_folder, ...asked));
  expect(chat.completion_tokens).toBe(4);
  const exported = await run(
    "export",
    "gguf",
    model_folder,
    "--type",
    "f16",
    "--out",
    at("m.gguf"),
  );
  expect(exported.code).toBe(0);
  const refused = errorDocument(await run("research", "predict", at("done"), task, "--json"));
  expect(refused.code).toBe("LANGUAGE_MODEL");
  expect(refused.hint).toContain("magnet chat");
  // The model is there already, and the same.
  expect((await run("research", "resume", at("done"))).code).toBe(0);
}, 180_000);
