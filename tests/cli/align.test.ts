/** From text to an aligned model on the command line: pairs, align, resume, eval. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
const at = (...parts: string[]) => path.join(home, ...parts);
const run = (...args: string[]) => magnet(MAIN, home, args);
const last = (stdout: string) =>
  JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as Record<string, unknown>;
interface Figures {
  heldout: { win_rate: number; margin: number; pairs: number };
  language: { loss: number };
}

beforeAll(async () => {
  home = makeHome();
  fs.mkdirSync(at("text"));
  // Documents with words of their own, so that one's continuation is not another's.
  for (let d = 0; d < 40; d++) {
    const word = (i: number) => `${"bcdfghjkmn"[d % 10]}${(i * 7919 + d) % 61}${d % 4}`;
    const words = Array.from({ length: 400 }, (_, i) => word(i));
    fs.writeFileSync(at("text", `${d}.txt`), words.join(" "));
  }
  const base = ["--model", "tiny", "--vocab-size", "400", "--batch", "4", "--steps", "60"];
  const trained = await run("train", ...base, "--data", at("text"), "--out", at("base"));
  expect(trained.code).toBe(0);
}, 60_000);
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

describe("align", () => {
  const lengths = ["--prompt-length", "20", "--response-length", "16", "--count", "120"];
  const pairs = () => ["--pairs", at("pairs.jsonl")];
  const align = (out: string, ...more: string[]) =>
    run("align", ...pairs(), "--out", at(out), "--batch", "4", "--json", ...more);

  test("text makes pairs", async () => {
    const tokenizer = ["--tokenizer", at("base", "data", "tokenizer.json")];
    const data = ["--data", at("text"), "--out", at("pairs.jsonl"), "--heldout", "0.2"];
    const outcome = await run("data", "pairs", ...data, ...tokenizer, ...lengths, "--json");
    const summary = oneDocument(outcome);
    expect(summary).toMatchObject({ schema: "magnet.data_pairs/1", pairs: 120, documents: 40 });
    expect(summary.heldout_pairs as number).toBeGreaterThan(20);
  });

  test("shows before and after; eval agrees; a resumed run ends with the same bits", async () => {
    const settings = ["--lr", "0.002", "--beta", "1", "--seed", "9"];
    const base = ["--model", at("base"), "--language-data", at("base", "data"), ...settings];
    const whole = await align("whole", ...base, "--steps", "24");
    expect(whole.code).toBe(0);
    const result = last(whole.stdout);
    expect(result.schema).toBe("magnet.align/1");
    const [before, after] = [result.before as Figures, result.after as Figures];
    expect(after.heldout.margin).toBeGreaterThan(before.heldout.margin);
    const change = after.language.loss / before.language.loss - 1;
    expect(result.language_change).toBeCloseTo(change, 12);
    const evaluated = oneDocument(await run("eval", at("whole"), ...pairs(), "--json"));
    expect(evaluated).toMatchObject({ schema: "magnet.eval_pairs/1", pairs: after.heldout.pairs });
    expect(evaluated.margin as number).toBeCloseTo(after.heldout.margin, 9);

    expect((await align("part", ...base, "--steps", "10", "--schedule", "constant")).code).toBe(0);
    const more = ["--resume", "--steps", "24", "--language-data", at("base", "data")];
    const resumed = last((await align("part", ...more)).stdout);
    expect((resumed.before as Figures).heldout).toEqual(before.heldout);
    expect(resumed.step).toBe(24);
    const constant = await align("constant", ...base, "--steps", "24", "--schedule", "constant");
    expect(resumed.checkpoint_hash).toBe(last(constant.stdout).checkpoint_hash as string);
  }, 30_000);

  test("for people: one table", async () => {
    const model = ["--model", at("base"), "--steps", "2"];
    const outcome = await run("align", ...pairs(), "--out", at("people"), ...model);
    expect(outcome.code).toBe(0);
    expect(outcome.stdout).toMatch(/^held out +before +after\nwin rate +\d+\.\d% ± /);
    expect(outcome.stdout).toContain("pairs        120, ");
  });

  test.each<[string, string[], string, number]>([
    ["no model", [], "BAD_TRAINING_CONFIG", 2],
    ["an unknown model", ["--model", "none"], "NOT_FOUND", 1],
    ["a folder in use", ["--model", "base", "--out", "whole"], "OUT_IN_USE", 2],
    ["another beta", ["--resume", "--beta", "2", "--out", "whole"], "RESUME_MISMATCH", 1],
    ["another model", ["--resume", "--model", "whole", "--out", "whole"], "RESUME_MISMATCH", 1],
    ["a training run", ["--resume", "--out", "base"], "RESUME_MISMATCH", 1],
  ])("%s is one error", async (_, args, code, exit) => {
    const out = args.includes("--out") ? [] : ["--out", at("never")];
    const places = args.map((arg) => (["base", "whole"].includes(arg) ? at(arg) : arg));
    const outcome = await run("align", ...pairs(), ...out, ...places, "--json");
    expect(errorDocument(outcome).code).toBe(code);
    expect(outcome.code).toBe(exit);
    expect(fs.existsSync(at("never"))).toBe(false);
  });

  test("a bad line is named", async () => {
    fs.writeFileSync(at("bad.jsonl"), '{"prompt":"a","chosen":"b"}\n');
    const bad = ["--pairs", at("bad.jsonl"), "--model", at("base"), "--out", at("never")];
    const error = errorDocument(await run("align", ...bad, "--json"));
    expect(error.code).toBe("PAIRS_INVALID");
    expect(error.message).toContain('bad.jsonl:1: no field "rejected"');
    const neither = errorDocument(await run("eval", at("base"), "--json"));
    expect(neither.code).toBe("MISSING_FLAG");
  });
});
