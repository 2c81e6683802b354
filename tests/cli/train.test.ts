/**
 * From text to a trained model on the command line: tokenizer, data, train, resume, eval, signals.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
let text: string;
const at = (...parts: string[]) => path.join(home, ...parts);
const run = (...args: string[]) => magnet(MAIN, home, args);
const small = ["--model", "tiny", "--batch", "4", "--seed", "7"];

beforeAll(() => {
  home = makeHome();
  text = at("text.txt");
  // Enough different words for a vocabulary of 512; no word list of others is copied.
  const words = Array.from({ length: 3000 }, (_, i) => `w${(i * 7919) % 997}x${i % 13}`);
  const lines = Array.from({ length: 300 }, (_, i) => words.slice(i * 10, i * 10 + 10).join(" "));
  fs.writeFileSync(text, `${lines.join("\n\n")}\n`);
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

const records = (stdout: string) =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const last = (stdout: string) => records(stdout).at(-1)!;

describe("tokenizer and data", () => {
  test("train, encode, decode", async () => {
    const file = at("tokenizer.json");
    const trained = oneDocument(
      await run("tokenizer", "train", text, "--vocab-size", "400", "--out", file, "--json"),
    );
    expect(Object.keys(trained)).toEqual([
      "schema",
      "file",
      "vocab_size",
      "tokenizer_hash",
      "text_bytes",
      "took_ms",
    ]);
    const sample = "w5x1 größe 漢字 🦊";
    const encoded = oneDocument(await run("tokenizer", "encode", file, sample, "--json"));
    expect(encoded.tokenizer_hash).toBe(trained.tokenizer_hash as string);
    const ids = (encoded.ids as number[]).join(",");
    const decoded = oneDocument(await run("tokenizer", "decode", file, ids, "--json"));
    expect(decoded).toMatchObject({ schema: "magnet.tokenizer_decode/1", text: sample });
    const piped = await magnet(MAIN, home, ["tokenizer", "encode", file], { stdin: sample });
    expect(piped.stdout).toBe(`${ids}\n`);
    const bad = await run("tokenizer", "decode", file, "1,400");
    expect(bad.code).toBe(2);
    expect(bad.stderr).toContain("below 400");
  });

  test("prepare and inspect agree", async () => {
    const args = ["--tokenizer", at("tokenizer.json"), "--out", at("data"), "--json"];
    const prepared = oneDocument(await run("data", "prepare", text, ...args));
    expect(prepared).toMatchObject({
      schema: "magnet.data/1",
      folder: at("data"),
      vocab_size: 400,
    });
    expect(oneDocument(await run("data", "inspect", at("data"), "--json"))).toEqual(prepared);
  });

  test("sources with weights are prepared, shown, trained on and evaluated by name", async () => {
    const other = at("other.jsonl");
    const lines = fs.readFileSync(text, "utf8").trim().split("\n\n");
    const record = (line: string) => JSON.stringify({ body: line.split(" ").reverse().join(" ") });
    fs.writeFileSync(other, lines.map((line) => `${record(line)}\n`).join(""));
    const sources = [`${text}=3`, `${other}=1`];
    const field = ["--text-field", "body"];
    const args = ["--tokenizer", at("tokenizer.json"), "--out", at("mixed"), "--json", ...field];
    const prepared = oneDocument(await run("data", "prepare", ...sources, ...args));
    expect(prepared).toMatchObject({
      schema: "magnet.data/1",
      sources: [
        { name: "text.txt", weight: 3, share: 0.75 },
        { name: "other.jsonl", weight: 1, share: 0.25 },
      ],
    });
    expect(oneDocument(await run("data", "inspect", at("mixed"), "--json"))).toEqual(prepared);
    const options = [...small, "--steps", "2", "--out", at("mixed-run")];
    const outcome = await run("train", "--data", at("mixed"), ...options, "--json");
    const result = last(outcome.stdout);
    expect(result.sources).toMatchObject([{ name: "text.txt" }, { name: "other.jsonl" }]);
    const evaluated = records(outcome.stdout).find((r) => r.schema === "magnet.train_evaluated/1");
    expect(evaluated!.sources).toMatchObject([{ name: "text.txt" }, { name: "other.jsonl" }]);
    const bad = await run(
      "train",
      "--data",
      `${text}=3`,
      "--data",
      other,
      "--steps",
      "1",
      "--out",
      at("no"),
      "--json",
    );
    expect(errorDocument(bad).code).toBe("BAD_DATA_SOURCE");
    expect(bad.code).toBe(2);
  }, 60_000);

  test.each([
    ["a missing file", ["none.txt"], "NOT_FOUND"],
    ["an empty file", ["empty.txt"], "DATA_EMPTY"],
    ["a binary file", ["binary.txt"], "DATA_NOT_TEXT"],
  ])("%s is one error", async (_, paths, code) => {
    fs.writeFileSync(at("empty.txt"), "");
    fs.writeFileSync(
      at("binary.txt"),
      new Uint8Array(4096).map((__, i) => (i * 37) % 256),
    );
    const tokenizer = ["--tokenizer", at("tokenizer.json"), "--out", at("never")];
    const outcome = await run("data", "prepare", ...paths, ...tokenizer, "--json");
    expect(outcome.code).toBeGreaterThan(0);
    expect(errorDocument(outcome).code).toBe(code);
    expect(fs.existsSync(at("never", "data.json"))).toBe(false);
  });
});

describe("train", () => {
  const whole = () => ["--data", text, "--vocab-size", "400", "--out", at("whole")];

  test("ends with one line for scripts; the loss falls; eval agrees", async () => {
    const outcome = await run("train", ...small, ...whole(), "--steps", "30", "--json");
    expect(outcome.code).toBe(0);
    const result = last(outcome.stdout);
    expect(result.schema).toBe("magnet.train/1");
    expect(result.checkpoint_hash).toMatch(/^[0-9a-f]{64}$/);
    expect(result.tokens_per_s).toBeGreaterThan(0);
    const first = records(outcome.stdout).find(({ schema }) => schema === "magnet.train_step/1")!;
    expect(result.loss as number).toBeLessThan(first.loss as number);
    const heldout = result.heldout as Record<string, number>;
    const measured = oneDocument(
      await run("eval", at("whole"), "--data", at("whole/data"), "--json"),
    );
    expect(measured.schema).toBe("magnet.eval/1");
    expect(measured.loss as number).toBeCloseTo(heldout.loss!, 9); // other batches, other sums
    expect(measured.checkpoint_hash).toBe(result.checkpoint_hash as string);
    expect(fs.readFileSync(result.loss_plot as string, "utf8")).toContain("<svg ");
    const file = at("again.html");
    const plotted = oneDocument(await run("train", "plot", at("whole"), "--out", file, "--json"));
    expect(plotted).toEqual({ schema: "magnet.train_plot/1", file, runs: ["whole"] });
    expect(fs.readFileSync(file, "utf8")).toContain("Training of whole");
  }, 60_000);

  test("the same hash with another number of threads, and on the scalar path", async () => {
    const hash = async (...args: string[]) => {
      const outcome = await run("train", "--json", ...args);
      expect(outcome.stderr).not.toContain("INTERNAL");
      return last(outcome.stdout).checkpoint_hash as string;
    };
    const options = [...small, "--data", at("whole/data"), "--steps", "12"];
    const one = await hash(...options, "--threads", "1", "--out", at("one"));
    expect(await hash(...options, "--threads", "3", "--out", at("three"))).toBe(one);
    const scalar = await magnet(
      MAIN,
      home,
      ["train", "--json", ...options, "--out", at("scalar")],
      { env: { MAGNET_CPU: "scalar" } },
    );
    expect(last(scalar.stdout).checkpoint_hash).toBe(one);
  }, 60_000);

  test("SIGTERM saves; --resume ends with the hash of a run that was never stopped", async () => {
    const sources = ["--data", at("whole/data")];
    const options = [...small, ...sources, "--steps", "400"];
    const straight = last(
      (await run("train", "--json", ...options, "--out", at("straight"))).stdout,
    );
    const child = Bun.spawn(
      [...MAIN.command, "train", "--json", ...options, "--out", at("stopped")],
      {
        env: { PATH: process.env.PATH!, HOME: home },
        stdout: "pipe",
        stderr: "ignore",
      },
    );
    let stdout = "";
    let steps = 0;
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      stdout += decoder.decode(chunk, { stream: true });
      const seen = stdout.split("magnet.train_step/1").length - 1;
      if (steps < 20 && seen >= 20) child.kill("SIGTERM");
      steps = seen;
    }
    expect(await child.exited).toBe(130);
    const stopped = last(stdout);
    expect(stopped).toMatchObject({ schema: "magnet.train/1", ended: "aborted" });
    expect(stopped.step as number).toBeLessThan(400);
    const resumed = last(
      (await run("train", "--resume", "--json", ...sources, "--out", at("stopped"))).stdout,
    );
    expect(resumed.checkpoint_hash).toBe(straight.checkpoint_hash as string);
  }, 90_000);

  test.each([
    ["an unknown device", ["--device", "gpu"], 2, "BAD_DEVICE"],
    ["an unknown preset", ["--model", "tinny", "--data", "text.txt"], 2, "UNKNOWN_PRESET"],
    ["no data", [], 2, "DATA_EMPTY"],
    ["a seed that is none", ["--seed", "1.5"], 2, "BAD_VALUE"],
  ])("%s", async (_, args, code, name) => {
    const outcome = await run("train", "--steps", "5", "--out", at("no"), "--json", ...args);
    expect(errorDocument(outcome).code).toBe(name);
    expect(outcome.code).toBe(code);
  });

  test("a run is not overwritten, and a folder that cannot be written is one error", async () => {
    const again = await run("train", ...small, ...whole(), "--steps", "30", "--json");
    expect(errorDocument(again).code).toBe("OUT_IN_USE");
    const args = ["--data", at("whole/data"), "--steps", "2", "--out", "/proc/nowhere", "--json"];
    const blocked = await run("train", ...small, ...args);
    expect(blocked.code).toBe(1);
    expect(errorDocument(blocked).code).toMatch(/^NOT_(FOUND|PERMITTED)$/);
  });
});

test("sim: shape, and the same seed gives the same run", async () => {
  const args = ["sim", "--seed", "3", "--nodes", "5", "--duration", "20s", "--json"];
  const first = await run(...args);
  expect(first.code).toBe(0);
  const report = oneDocument(first);
  expect(report).toMatchObject({
    schema: "magnet.sim/1",
    seed: 3,
    nodes: 5,
    ok: true,
    exit_code: 0,
  });
  expect(oneDocument(await run(...args))).toEqual(report);
  expect((await run("sim", "--duration", "10")).code).toBe(2);
});
