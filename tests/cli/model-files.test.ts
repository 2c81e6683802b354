/** Exported models on the command line: export, logits, one-shot and piped chat, damaged files. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
const at = (...parts: string[]) => path.join(home, ...parts);
const run = (...args: string[]) => magnet(MAIN, home, args);

/** The smallest shape that the ternary formats of llama.cpp hold. */
const MODEL = {
  variant: "bitnet",
  vocab_size: 400,
  d_model: 256,
  n_layers: 1,
  n_heads: 4,
  n_kv_heads: 2,
  head_dim: 64,
  d_ff: 256,
  context: 32,
};

beforeAll(async () => {
  home = makeHome();
  const words = Array.from({ length: 3000 }, (_, i) => `w${(i * 7919) % 997}x${i % 13}`);
  const lines = Array.from({ length: 300 }, (_, i) => words.slice(i * 10, i * 10 + 10).join(" "));
  fs.writeFileSync(at("text.txt"), `${lines.join("\n\n")}\n`);
  fs.writeFileSync(at("model.json"), JSON.stringify(MODEL));
  const options = ["--data", at("text.txt"), "--steps", "5", "--batch", "4", "--out", at("run")];
  const trained = await run("train", "--model", at("model.json"), ...options, "--quiet");
  if (trained.code !== 0) throw new Error(trained.stderr);
}, 60_000);
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

describe("export", () => {
  test.each(["tq2_0", "tq1_0", "i2_s", "f16"])("gguf %s", async (type) => {
    const out = at(`${type}.gguf`);
    const args = ["export", "gguf", at("run"), "--type", type, "--out", out, "--json"];
    const document = oneDocument(await run(...args));
    expect(document).toMatchObject({ schema: "magnet.export/1", format: "gguf", type, path: out });
    expect(document.size_bytes).toBe(fs.statSync(out).size);
    const hasher = new Bun.CryptoHasher("sha256").update(fs.readFileSync(out));
    expect(document.sha256).toBe(hasher.digest("hex"));
    expect(fs.readFileSync(out).subarray(0, 4).toString()).toBe("GGUF");
  });

  test("hf", async () => {
    const args = ["export", "hf", at("run"), "--out", at("hf"), "--json"];
    expect(oneDocument(await run(...args))).toMatchObject({ format: "hf", variant: "bitnet" });
    for (const name of ["config.json", "model.safetensors", "tokenizer.json"])
      expect(fs.existsSync(at("hf", name))).toBe(true);
    expect((await run(...args)).code).toBeGreaterThan(0); // never overwritten
  });

  test("a gguf cannot be exported again: its latent weights are gone", async () => {
    const outcome = await run("export", "hf", at("f16.gguf"), "--out", at("no"), "--json");
    expect(errorDocument(outcome).code).toBe("NO_LATENT_WEIGHTS");
  });
});

describe("eval logits", () => {
  test("one row of the vocabulary's size for each token; positions see only what is before", async () => {
    const logits = async (model: string, tokens: string) =>
      oneDocument(await run("eval", "logits", model, "--tokens", tokens, "--json")) as {
        vocab_size: number;
        tokens: number[];
        logits: number[][];
      };
    const three = await logits(at("tq2_0.gguf"), "1,2,3");
    expect(Object.keys(three)).toEqual(["schema", "rounding", "vocab_size", "tokens", "logits"]);
    expect(three.tokens).toEqual([1, 2, 3]);
    expect(three.logits.map((row) => row.length)).toEqual([400, 400, 400]);
    const two = await logits(at("tq2_0.gguf"), "1,2");
    expect(two.logits).toEqual(three.logits.slice(0, 2));
    // The same ternary weights in another packing.
    expect((await logits(at("tq1_0.gguf"), "1,2")).logits).toEqual(two.logits);
  });

  test("ids outside the vocabulary are a usage error", async () => {
    const outcome = await run("eval", "logits", at("run"), "--tokens", "1,400");
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toContain("below 400");
  });
});

describe("chat", () => {
  const ask = (model: string, ...more: string[]) =>
    run("chat", model, "--prompt", "w5x1 w7", "--max-tokens", "8", "--json", ...more);

  test.each(["run", "hf", "tq2_0.gguf"])(
    "%s answers; the same seed, the same answer",
    async (model) => {
      const first = oneDocument(await ask(at(model), "--seed", "3"));
      expect(first).toMatchObject({ schema: "magnet.chat/1" });
      expect(first.completion_tokens as number).toBeLessThanOrEqual(8);
      const again = oneDocument(await ask(at(model), "--seed", "3"));
      expect(again.text).toBe(first.text as string);
    },
  );

  test("text goes to stdout as it is made; --complete goes on with the prompt", async () => {
    const args = ["--prompt", "w5x1", "--complete", "--temperature", "0", "--max-tokens", "4"];
    const outcome = await run("chat", at("run"), ...args);
    expect(outcome.code).toBe(0);
    expect(outcome.stdout.length).toBeGreaterThan(1);
  });

  test("through a pipe every line is a turn, and commands work", async () => {
    const stdin = "w5x1\n/help\n/clear\nw7x2\n/quit\nnever\n";
    const outcome = await magnet(MAIN, home, ["chat", at("run"), "--max-tokens", "2"], { stdin });
    expect(outcome.code).toBe(0);
    expect(outcome.stderr).toMatch(/\/clear +forgets/);
    expect(outcome.stdout.length).toBeGreaterThan(1);
  });

  test("a question that is too long ends the turn, not the program", async () => {
    const stdin = `${"w5x1 w7x2 ".repeat(40)}\nw5\n`;
    const outcome = await magnet(MAIN, home, ["chat", at("run"), "--max-tokens", "2"], { stdin });
    expect(outcome.code).toBe(0);
    expect(outcome.stderr).toContain("the context 32");
  });

  test("--json needs a question: --prompt, or lines, each with a document", async () => {
    expect((await run("chat", at("run"), "--json")).code).toBe(2);
    const args = ["chat", at("run"), "--max-tokens", "2", "--json"];
    const { code, stdout } = await magnet(MAIN, home, args, { stdin: "w5x1\n/clear\nw7x2\n" });
    expect(code).toBe(0);
    const documents = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(documents).toHaveLength(2);
    const keys =
      "schema,model,text,finish_reason,prompt_tokens,completion_tokens,first_token_ms," +
      "tokens_per_s,dropped_turns";
    for (const document of documents) expect(Object.keys(document).join()).toBe(keys);
  });

  test("--prompt - takes all of standard input as one question", async () => {
    const args = ["chat", at("run"), "--prompt", "-", "--max-tokens", "2", "--json"];
    const both = await magnet(MAIN, home, args, { stdin: "w5x1\nw7x2\n" });
    const one = await magnet(MAIN, home, args, { stdin: "w5x1\n" });
    const tokens = [both, one].map((outcome) => oneDocument(outcome).prompt_tokens as number);
    expect(tokens[0]).toBeGreaterThan(tokens[1]!);
  });

  test("what is not UTF-8 is refused with its line", async () => {
    for (const prompt of [[], ["--prompt", "-"]]) {
      const child = Bun.spawn([...MAIN.command, "chat", at("run"), ...prompt], {
        env: { PATH: "/usr/bin:/bin", HOME: home },
        stdin: Buffer.from("w5\n\xff\xfe\n", "latin1"),
        stdout: "ignore",
        stderr: "pipe",
      });
      const stderr = await new Response(child.stderr).text();
      expect(await child.exited).toBe(2);
      const what = prompt.length === 0 ? "line 2 of standard input" : "standard input";
      expect(stderr).toContain(`NOT_UTF8: ${what} is not UTF-8`);
    }
  });
});

describe("damaged and foreign files", () => {
  test("a truncated GGUF, one that is none, a missing one", async () => {
    const whole = fs.readFileSync(at("tq2_0.gguf"));
    fs.writeFileSync(at("cut.gguf"), whole.subarray(0, whole.length / 2));
    fs.writeFileSync(at("none.gguf"), "this is no model");
    for (const name of ["cut.gguf", "none.gguf", "missing.gguf"]) {
      const outcome = await run("chat", at(name), "--prompt", "x", "--json");
      const { code, hint } = errorDocument(outcome);
      expect(code).not.toBe("INTERNAL");
      expect(hint).toBeString();
    }
  });

  test("a checkpoint with one flipped bit is refused with exit 6", async () => {
    fs.cpSync(at("run"), at("flipped"), { recursive: true });
    const file = at("flipped/checkpoints/step-00000005/model.safetensors");
    const bytes = fs.readFileSync(file);
    bytes[bytes.length - 5]! ^= 1;
    fs.writeFileSync(file, bytes);
    const outcome = await run("chat", at("flipped"), "--prompt", "x", "--json");
    expect(outcome.code).toBe(6);
    expect(errorDocument(outcome).code).toBe("CHECKPOINT_CORRUPT");
  });

  test("the tokenizer of another model is refused", async () => {
    const other = at("other.json");
    await run("tokenizer", "train", at("text.txt"), "--vocab-size", "350", "--out", other);
    const outcome = await run("chat", at("run"), "--prompt", "x", "--tokenizer", other, "--json");
    expect(errorDocument(outcome).code).toBe("TOKENIZER_MISMATCH");
  });
});
