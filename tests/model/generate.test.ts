/** Opening models of every kind, and generating text from them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { openEngine, type TextEngine } from "../../src/model/engine/open-engine.ts";
import { exportGguf } from "../../src/model/export-gguf.ts";
import { exportHf } from "../../src/model/export-hf.ts";
import { generate, generateText } from "../../src/model/generate.ts";
import { evalLogits } from "../../src/model/inference.ts";
import { type LoadedModel, loadLatentModel, loadModel } from "../../src/model/load-model.ts";
import { StopText } from "../../src/model/stop-text.ts";
import type { Tokenizer } from "../../src/model/tokenizer.ts";
import { errorOf } from "./error-of.ts";
import { bookTokenizer, maxDifference, randomParams, SMALL } from "./small-models.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-generate-"));
const config = { ...SMALL, vocab_size: 400, n_layers: 1 };
const hf = path.join(folder, "hf");
const gguf = path.join(folder, "model.gguf");
let tokenizer: Tokenizer;
let params: Float32Array;
let loaded: LoadedModel;
let text_engine: TextEngine<Tokenizer>;

beforeAll(async () => {
  tokenizer = await bookTokenizer(config.vocab_size);
  params = await randomParams(config);
  await exportHf({ config, params, tokenizer, folder: hf });
  await exportGguf({ config, params, tokenizer, type: "I2_S", name: "m", path: gguf });
  loaded = await loadModel(gguf, { threads: 1 });
  text_engine = openEngine(loaded);
});
afterAll(async () => {
  await text_engine.engine.close();
  loaded.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

describe("opening", () => {
  test("a Hugging Face folder gives back configuration, tokenizer and every weight", async () => {
    const latent = await loadLatentModel(hf);
    expect(latent.config).toEqual(config);
    expect(latent.tokenizer.hash).toBe(tokenizer.hash);
    expect(maxDifference(latent.params, params)).toBe(0);
    const names = fs.readdirSync(hf).sort();
    expect(names).toEqual([
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
  });

  test("folder and file give nearly the same logits (the embedding is f16 in the file)", async () => {
    const other = await loadModel(hf, { threads: 1 });
    const tokens = Int32Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    const a = await evalLogits(other.model, tokens);
    const b = await evalLogits(loaded.model, tokens);
    expect(maxDifference(a, b)).toBeLessThan(0.05);
    expect([loaded.kind, other.kind, loaded.name]).toEqual(["gguf", "hf", "model"]);
    other.close();
  });

  test("a wrong tokenizer is refused, by size and by hash", async () => {
    const save = async (name: string, vocab_size: number, specials?: string[]) => {
      const { Tokenizer: T } = await import("../../src/model/tokenizer.ts");
      const text = new TextEncoder().encode("the quick brown fox ".repeat(3) + "jumps".repeat(9));
      const made = await T.train([text], {
        vocab_size,
        ...(specials && { special_tokens: specials }),
      });
      const file = path.join(folder, name);
      fs.writeFileSync(file, made.toJson());
      return file;
    };
    const small = await save("small.json", 262);
    expect((await errorOf(loadModel(gguf, { tokenizer_path: small }))).message).toContain("262");
    const specials = Array.from({ length: 144 }, (_, i) => `<|s${i}|>`);
    const other = await save("other.json", 400, specials);
    for (const model of [gguf, hf]) {
      const error = await errorOf(loadModel(model, { tokenizer_path: other }));
      expect([error.code, error.exit]).toEqual(["TOKENIZER_MISMATCH", "verification"]);
    }
  });

  test("what is no model says so", async () => {
    expect((await errorOf(loadModel(path.join(folder, "none")))).code).toBe("NOT_FOUND");
    expect((await errorOf(loadModel(folder))).code).toBe("NOT_A_CHECKPOINT");
    const text = path.join(folder, "small.json");
    expect((await errorOf(loadModel(text))).code).toBe("BAD_FORMAT");
    expect((await errorOf(loadLatentModel(gguf))).code).toBe("NO_LATENT_WEIGHTS");
  });

  test("an export never replaces a folder and leaves nothing half-written", async () => {
    const again = await errorOf(exportHf({ config, params, tokenizer, folder: hf }));
    expect(again.code).toBe("EXISTS");
    expect(fs.readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);
  });
});

describe("generating", () => {
  const options = { mode: "complete", prompt: "Call me", max_tokens: 24 } as const;

  test("pieces and tail are the decoded tokens, and the seed fixes them", async () => {
    const sampling = { temperature: 1, top_k: 0, top_p: 1, seed: 9n };
    const tokens: number[] = [];
    let text = "";
    const pieces = generate(text_engine, { ...options, sampling });
    for (let next = await pieces.next(); ; next = await pieces.next()) {
      if (next.done) {
        text += next.value.tail;
        expect(next.value.prompt_tokens).toBe(1 + tokenizer.encode("Call me").length);
        break;
      }
      text += next.value.text;
      tokens.push(next.value.token);
    }
    expect(text).toBe(tokenizer.decode(tokens, { skip_special: true }));
    const again = await generateText(text_engine, { ...options, sampling });
    const other = await generateText(text_engine, {
      ...options,
      sampling: { ...sampling, seed: 10n },
    });
    expect(again.text).toBe(text);
    expect(other.text).not.toBe(text);
  });

  test("a stop string ends the text before it", async () => {
    const greedy = { temperature: 0 };
    const whole = await generateText(text_engine, { ...options, sampling: greedy });
    const stop = whole.text.slice(5, 8);
    const cut = await generateText(text_engine, { ...options, sampling: greedy, stop: [stop] });
    expect(cut.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
    expect([whole.finish_reason, cut.finish_reason]).toEqual(["length", "stop"]);
  });

  test("a chat that goes on computes only what is new, and gives the same answer", async () => {
    const sampling = { temperature: 0 };
    const turns = [{ role: "user", content: "Who are you, and where do you come from?" }] as const;
    const chat = { mode: "chat", max_tokens: 6, sampling } as const;
    await generateText(text_engine, { ...chat, messages: turns });
    const more = [
      ...turns,
      { role: "assistant", content: "I" },
      { role: "user", content: "?" },
    ] as const;
    const kept = await generateText(text_engine, { ...chat, messages: more });
    const without = openEngine(loaded, { prefix_cache: false });
    const fresh = await generateText(without, { ...chat, messages: more });
    await without.engine.close();
    expect(kept.text).toBe(fresh.text);
    expect([kept.cached_tokens, fresh.cached_tokens]).toEqual([16, 0]);
  });

  test("alternatives come with every token, most likely first, and the prompt may be ids", async () => {
    const prompt = tokenizer.encode("Call me");
    const request = { mode: "complete", prompt, max_tokens: 3, top_logprobs: 5 } as const;
    for await (const piece of generate(text_engine, { ...request, sampling: { temperature: 0 } })) {
      expect(piece.top).toHaveLength(5);
      expect(piece.top[0]).toEqual({ token: piece.token, logprob: piece.logprob });
      const logprobs = piece.top.map(({ logprob }) => logprob);
      expect(logprobs).toEqual([...logprobs].sort((x, y) => y - x));
    }
  });

  test("an engine with llama.cpp's rounding answers too, batch or no batch", async () => {
    const file = path.join(folder, "tq2.gguf");
    await exportGguf({ config, params, tokenizer, type: "TQ2_0", name: "m", path: file });
    const other = await loadModel(file, { threads: 1 });
    const rounded = openEngine(other, { rounding: "llamacpp" });
    const ask = (seed: number) =>
      generateText(rounded, { ...options, sampling: { temperature: 0.7, seed } });
    const alone = await ask(3);
    const crowd = await Promise.all([3, 4, 5].map(ask));
    await rounded.engine.close();
    other.close();
    expect(crowd[0]!.text).toBe(alone.text);
    expect(crowd[1]!.text).not.toBe(alone.text);
  });

  test("a rounding that is not defined for the file fails the request by name", async () => {
    const other = openEngine(loaded, { rounding: "llamacpp" });
    const error = await errorOf(generateText(other, options));
    await other.engine.close();
    expect([error.code, error.message.includes("I2_S")]).toEqual(["UNSUPPORTED", true]);
  });

  test("a stop string ends the computing with its last token", async () => {
    const sampling = { temperature: 0 };
    const before = text_engine.engine.stats().completion_tokens;
    const whole = await generateText(text_engine, { ...options, sampling });
    const stop = [whole.text.slice(5, 8)];
    const cut = await generateText(text_engine, { ...options, sampling, stop });
    const { completion_tokens, running, blocks_in_use } = text_engine.engine.stats();
    expect(completion_tokens - before).toBe(whole.completion_tokens + cut.completion_tokens);
    expect([running, blocks_in_use]).toEqual([0, 0]);
    expect(cut.completion_tokens).toBeLessThan(whole.completion_tokens);
  });

  test("an abort ends the generation with CANCELLED", async () => {
    const abort = new AbortController();
    const pieces = generate(text_engine, { ...options, signal: abort.signal });
    await pieces.next();
    abort.abort();
    expect((await errorOf(pieces.next())).code).toBe("CANCELLED");
  });

  test("sampling options out of range are refused by name", async () => {
    const sampling = { temperature: -1, top_p: 2, seed: -1 };
    const error = await errorOf(generateText(text_engine, { ...options, sampling }));
    expect(error.code).toBe("BAD_SAMPLING");
    for (const field of Object.keys(sampling)) expect(error.message).toContain(field);
  });

  test("a prompt longer than the context says how long both are", async () => {
    const error = await errorOf(
      generateText(text_engine, { ...options, prompt: "word ".repeat(500) }),
    );
    expect(error.code).toBe("PROMPT_TOO_LONG");
    expect(error.message).toContain("128");
  });

  test("a prompt of megabytes is refused before it is cut into tokens", async () => {
    const prompt = "word ".repeat(4_000_000);
    const before = process.cpuUsage();
    const error = await errorOf(generateText(text_engine, { mode: "complete", prompt }));
    expect(error.code).toBe("PROMPT_TOO_LONG");
    expect(error.message).toContain("at least");
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(500); // cutting it takes seconds
  });
});

test("stop texts are found across pieces, and near misses are given out", () => {
  const stops = new StopText(["<end>", "STOP"]);
  const shown = ["a<en", "d", "x<", "end", ">tail"].map((piece) => stops.push(piece));
  expect(shown).toEqual(["a", "", "<endx", "", ""]);
  expect([stops.stopped, stops.end()]).toEqual([true, ""]);
  const open = new StopText(["<end>"]);
  expect(open.push("b<e") + open.end()).toBe("b<e");
});
