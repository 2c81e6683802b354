import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { encodeChat } from "../../src/model/chat-template.ts";
import { packPairs } from "../../src/model/pair-batch.ts";
import { encodePair, loadPairs } from "../../src/model/pair-data.ts";
import { type PairFormat, parsePair, readPairs } from "../../src/model/preference-pairs.ts";
import { bytesTokenizer, politePairs, writeLines } from "./align-fixture.ts";
import { errorOf } from "./error-of.ts";

let root = "";
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-pairs-"));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
const user = (content: string) => ({ role: "user" as const, content });
const assistant = (content: string) => ({ role: "assistant" as const, content });
const parse = (value: unknown, format: PairFormat = "auto") =>
  parsePair({ place: "p.jsonl:3", value }, format);

describe("a line", () => {
  test("of strings is a text that goes on, or with --format chat a question", () => {
    const line = { prompt: "a", chosen: "b", rejected: "c", other: 1 };
    const pair = { place: "p.jsonl:3", chosen: "b", rejected: "c", heldout: null };
    expect(parse(line)).toEqual({ ...pair, prompt: "a" });
    expect(parse(line, "text")).toEqual({ ...pair, prompt: "a" });
    expect(parse(line, "chat")).toEqual({ ...pair, prompt: [user("a")] });
    expect(parse({ ...line, heldout: true }).heldout).toBe(true);
  });

  test("of messages is a conversation, with the prompt beside or inside the responses", () => {
    const expected = { prompt: [user("a")], chosen: "b", rejected: "c" };
    for (const line of [
      { prompt: [user("a")], chosen: "b", rejected: "c" },
      { prompt: [user("a")], chosen: [assistant("b")], rejected: [assistant("c")] },
      { prompt: "a", chosen: [assistant("b")], rejected: [assistant("c")] },
      { chosen: [user("a"), assistant("b")], rejected: [user("a"), assistant("c")] },
      { prompt: "a", chosen: [user("a"), assistant("b")], rejected: [user("a"), assistant("c")] },
    ])
      expect(parse(line)).toMatchObject(expected);
  });

  const messages = { prompt: [user("a")], chosen: [assistant("b")], rejected: [assistant("c")] };
  test.each<[string, unknown, string]>([
    ["no object", [1], "not a JSON object"],
    ["no prompt", { chosen: "b", rejected: "c" }, 'no field "prompt"'],
    ["no chosen", { prompt: "a", rejected: "c" }, 'no field "chosen"'],
    ["a number", { prompt: 1, chosen: "b", rejected: "c" }, '"prompt" is neither'],
    ["an empty response", { prompt: "a", chosen: " ", rejected: "c" }, '"chosen" is empty'],
    ["equal responses", { prompt: "a", chosen: "b", rejected: "b" }, "are the same"],
    ["a wrong side", { prompt: "a", chosen: "b", rejected: "c", heldout: 1 }, '"heldout"'],
    ["another role", { ...messages, prompt: [{ role: "tool", content: "" }] }, "message 1"],
    ["no answer", { ...messages, chosen: [user("b")] }, "does not end with"],
    ["other questions", { ...messages, chosen: [user("x"), assistant("b")] }, "different"],
    ["no question", { ...messages, prompt: [{ role: "system", content: "s" }] }, "no message of"],
  ])("with %s is refused, with its place", (_, line, message) => {
    expect(() => parse(line)).toThrow("p.jsonl:3");
    expect(() => parse(line)).toThrow(message);
  });
});

describe("files", () => {
  const readAll = async (file: string) => {
    for await (const _ of readPairs([file]));
  };
  test.each<[string, string | Uint8Array, string]>([
    ["no JSON", '{"prompt":"a","chosen":"b","rejected":"c"}\n\n{"prompt"\n', ":3: not JSON"],
    ["no UTF-8", Uint8Array.of(0x22, 0xff, 0x22), ":1: not UTF-8"],
    ["a very long line", new Uint8Array(17 * 2 ** 20).fill(32), ":1: longer than"],
  ])("%s is one error with file and line", async (_, content, message) => {
    const file = path.join(root, "bad.jsonl");
    fs.writeFileSync(file, content);
    const error = await errorOf(readAll(file));
    expect(error.code).toBe("PAIRS_INVALID");
    expect(error.message).toContain(`${file}${message}`);
    expect(error.hint).toBeDefined();
  });

  test("that are absent, folders or empty are errors; a last line needs no end", async () => {
    expect((await errorOf(readAll(path.join(root, "none")))).code).toBe("NOT_FOUND");
    expect(["NOT_A_FILE", "IS_A_FOLDER"]).toContain((await errorOf(readAll(root))).code);
    const empty = path.join(root, "empty.jsonl");
    fs.writeFileSync(empty, "\n  \n");
    const options = { tokenizer: bytesTokenizer, context: 64 };
    expect((await errorOf(loadPairs({ ...options, files: [empty] }))).code).toBe("PAIRS_EMPTY");
    fs.writeFileSync(empty, '{"prompt":"a","chosen":"b","rejected":"c"}');
    expect((await loadPairs({ ...options, files: [empty] })).train).toHaveLength(1);
  });
});

describe("tokens", () => {
  const line = { prompt: "prompt", chosen: "yes!", rejected: "n" };
  const bytes = (text: string) => [...bytesTokenizer.encode(text)];

  test("text goes on: begin token, prompt, response, and no end", () => {
    const { encoded, truncated } = encodePair(parse(line), bytesTokenizer, 64);
    expect(truncated).toBe(false);
    const prompt = [bytesTokenizer.bos_id!, ...bytes("prompt")];
    expect([...encoded.prompt]).toEqual(prompt);
    expect([...encoded.chosen]).toEqual(bytes("yes!"));
    const { tokens, labels, width } = packPairs([encoded]);
    expect(width).toBe(prompt.length + 4);
    expect([...tokens.slice(width)]).toEqual([...prompt, ...bytes("n"), 0, 0, 0]);
    expect([...labels]).toEqual([
      ...[...prompt.map(() => -100), ...bytes("yes!")],
      ...[...prompt.map(() => -100), ...bytes("n"), -100, -100, -100],
    ]);
  });

  test("a chat is what the chat template gives, the end token counted", () => {
    const { encoded } = encodePair(parse(line, "chat"), bytesTokenizer, 64);
    const whole = encodeChat(bytesTokenizer, [user("prompt"), assistant("yes!")], {
      add_generation_prompt: false,
    });
    expect([...encoded.prompt, ...encoded.chosen]).toEqual([...whole]);
    expect(encoded.chosen.at(-1)).toBe(bytesTokenizer.eos_id!);
  });

  test("a long prompt loses its beginning, for both responses the same; a response never", () => {
    const context = 8; // 9 tokens: begin token, 4 of the prompt, 4 of the longer response
    const { encoded, truncated } = encodePair(parse(line), bytesTokenizer, context);
    expect(truncated).toBe(true);
    const { bos_id } = bytesTokenizer;
    expect([...encoded.prompt]).toEqual([bos_id!, ...bytes("ompt")]);
    expect(encodePair(parse(line), bytesTokenizer, 5).encoded.prompt).toHaveLength(2);
    expect(() => encodePair(parse(line), bytesTokenizer, 4)).toThrow(
      "p.jsonl:3: a response of 4 tokens does not fit a context of 4",
    );
  });
});

describe("sides", () => {
  const load = (name: string, lines: readonly unknown[], heldout_fraction = 0.3) =>
    loadPairs({
      files: [writeLines(path.join(root, name), lines)],
      tokenizer: bytesTokenizer,
      context: 64,
      heldout_fraction,
    });
  const promptsOf = (pairs: readonly { prompt: Int32Array }[]) =>
    new Set(pairs.map(({ prompt }) => prompt.join()));

  test("depend on the prompt only, and share none", async () => {
    const lines = politePairs(40);
    const doubled = [...lines, ...lines.map((line) => ({ ...line, chosen: " other" }))];
    const data = await load("sides.jsonl", doubled);
    expect(data.train.length + data.heldout.length).toBe(80);
    expect(data.heldout.length / 80).toBeCloseTo(0.3, 1);
    expect(promptsOf(data.train).isDisjointFrom(promptsOf(data.heldout))).toBe(true);
    const reversed = await load("reversed.jsonl", doubled.toReversed());
    expect(promptsOf(reversed.heldout)).toEqual(promptsOf(data.heldout));
    expect((await load("all.jsonl", lines, 0)).heldout).toEqual([]);
  });

  test("that lines say are kept; a prompt on both is refused", async () => {
    const lines = politePairs(6).map((line, i) => ({ ...line, heldout: i === 2 }));
    const data = await load("said.jsonl", lines);
    expect(data.heldout).toHaveLength(1);
    const leak = [...lines, { ...lines[2], chosen: " other", heldout: false }];
    const error = await errorOf(load("leak.jsonl", leak));
    expect(error.message).toContain("leak.jsonl:7: its prompt is on the other side");
  });
});
