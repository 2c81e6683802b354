/** OpenAI's endpoints through the official client, with a small model behind them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import OpenAI from "openai";
import type { ServedModel } from "../../src/http/serve/served-model.ts";
import { rejection } from "../native/rejection.ts";
import { noEnd, promptIds, serve, smallModel } from "./serve-fixture.ts";

let server: Awaited<ReturnType<typeof serve>>;
let client: OpenAI;
let small: ServedModel;
beforeAll(async () => {
  small = await smallModel();
  server = await serve([small]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.close());

const messages = [{ role: "user" as const, content: "Call me Ishmael" }];
const chat = { model: "small", messages, max_tokens: 12, seed: 3, logit_bias: await noEnd() };

async function streamed(options: object = {}) {
  const chunks: OpenAI.ChatCompletionChunk[] = [];
  for await (const chunk of await client.chat.completions.create({
    ...chat,
    ...options,
    stream: true,
  }))
    chunks.push(chunk);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  return { chunks, text };
}

describe("chat completions", () => {
  test("a whole answer", async () => {
    const answer = await client.chat.completions.create(chat);
    expect(answer).toMatchObject({
      object: "chat.completion",
      model: "small",
      choices: [{ index: 0, finish_reason: "length", logprobs: null }],
      usage: { completion_tokens: 12 },
    });
    expect(answer.id).toStartWith("chatcmpl-");
    expect(answer.choices[0]!.message.content!.length).toBeGreaterThan(0);
    const { prompt_tokens, total_tokens } = answer.usage!;
    expect(total_tokens).toBe(prompt_tokens + 12);
  });

  test("a stream gives the same text, piece by piece, with the role first", async () => {
    const whole = await client.chat.completions.create(chat);
    const { chunks, text } = await streamed();
    expect(text).toBe(whole.choices[0]!.message.content!);
    expect(chunks[0]!.choices[0]!.delta.role).toBe("assistant");
    expect(chunks.slice(1).every((chunk) => chunk.choices[0]!.delta.role === undefined)).toBe(true);
    const reasons = chunks.map((chunk) => chunk.choices[0]!.finish_reason);
    expect(reasons.at(-1)).toBe("length");
    expect(reasons.slice(0, -1).every((reason) => reason === null)).toBe(true);
    expect(chunks.every((chunk) => chunk.usage === undefined)).toBe(true);
    expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1);
  });

  test("include_usage adds a last chunk with the counts", async () => {
    const { chunks } = await streamed({ stream_options: { include_usage: true } });
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 12 } });
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true);
  });

  test("n choices have seeds of their own; the first is the one of n = 1", async () => {
    const one = await client.chat.completions.create(chat);
    const three = await client.chat.completions.create({ ...chat, n: 3 });
    const texts = three.choices.map((choice) => choice.message.content);
    expect(texts[0]).toBe(one.choices[0]!.message.content);
    expect(new Set(texts).size).toBe(3);
    expect(three.usage!.prompt_tokens).toBe(one.usage!.prompt_tokens);
    expect(three.usage!.completion_tokens).toBe(36);
  });

  test("a stop string ends the answer and is not part of it", async () => {
    const whole = (await client.chat.completions.create(chat)).choices[0]!.message.content!;
    const stop = whole.slice(6, 9);
    const cut = await client.chat.completions.create({ ...chat, stop });
    expect(cut.choices[0]!.finish_reason).toBe("stop");
    expect(cut.choices[0]!.message.content).toBe(whole.slice(0, whole.indexOf(stop)));
  });
});

test("log-probabilities of a chat: the drawn token is in agreement with its alternatives", async () => {
  const asked = { ...chat, temperature: 0, logprobs: true, top_logprobs: 4 };
  const answer = await client.chat.completions.create(asked);
  const content = answer.choices[0]!.logprobs!.content!;
  expect(content).toHaveLength(12);
  for (const { token, logprob, bytes, top_logprobs } of content) {
    expect(top_logprobs).toHaveLength(4);
    // Greedy with a bias on end tokens only: the drawn token is the most likely one or next to it.
    const found = top_logprobs.find((top) => top.token === token)!;
    expect(found.logprob).toBe(logprob);
    expect(logprob).toBeLessThan(0);
    expect(new TextDecoder().decode(Uint8Array.from(bytes!))).toBe(token);
    const order = top_logprobs.map((top) => top.logprob);
    expect(order).toEqual(order.toSorted((a, b) => b - a));
  }
  const bytes = content.flatMap((entry) => entry.bytes!);
  expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(
    answer.choices[0]!.message.content!,
  );
  const { chunks } = await streamed({ temperature: 0, logprobs: true, top_logprobs: 4 });
  const pieces = chunks.flatMap((chunk) => chunk.choices[0]?.logprobs?.content ?? []);
  expect(pieces).toEqual(content);
});

describe("text completions", () => {
  const asked = {
    model: "small",
    prompt: "Call me",
    max_tokens: 8,
    seed: 2,
    logit_bias: chat.logit_bias,
  };

  test("whole, streamed, echoed, and from ids", async () => {
    const whole = await client.completions.create(asked);
    const { text, finish_reason } = whole.choices[0]!;
    expect([whole.object, finish_reason]).toEqual(["text_completion", "length"]);
    let streamedText = "";
    for await (const chunk of await client.completions.create({ ...asked, stream: true }))
      streamedText += chunk.choices[0]!.text;
    expect(streamedText).toBe(text);
    const echoed = await client.completions.create({ ...asked, echo: true });
    expect(echoed.choices[0]!.text).toBe(`Call me${text}`);
    const ids = [...(await promptIds("Call me"))];
    const fromIds = await client.completions.create({ ...asked, prompt: ids });
    expect(fromIds.choices[0]!.text).toBe(text);
    expect(fromIds.usage).toEqual(whole.usage!);
  });

  test("several prompts times n, in OpenAI's order", async () => {
    const prompts = ["Call me", "The whale"];
    const all = await client.completions.create({ ...asked, prompt: prompts, n: 2 });
    expect(all.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    for (const [p, prompt] of prompts.entries()) {
      const one = await client.completions.create({ ...asked, prompt, n: 2 });
      const texts = one.choices.map(({ text }) => text);
      expect(all.choices.slice(2 * p, 2 * p + 2).map(({ text }) => text)).toEqual(texts);
    }
    expect(all.usage!.completion_tokens).toBe(32);
  });

  test("log-probabilities have the older form, with offsets into the text", async () => {
    const answer = await client.completions.create({ ...asked, logprobs: 2 });
    const { text, logprobs } = answer.choices[0]!;
    expect(logprobs!.tokens).toHaveLength(8);
    expect(logprobs!.top_logprobs!.every((top) => Object.keys(top).length === 2)).toBe(true);
    const ascii = /^[\x20-\x7e]*$/.test(text);
    if (ascii)
      for (const [i, offset] of logprobs!.text_offset!.entries())
        expect(text.slice(offset)).toStartWith(logprobs!.tokens![i]!);
  });
});

test("the prefix cache is used by requests that begin alike, and told of", async () => {
  const prompt = "A whale-ship was my Yale College and my Harvard. ".repeat(4);
  const ask = () => client.completions.create({ model: "small", prompt, max_tokens: 2, seed: 1 });
  const first = await ask();
  const second = await ask();
  expect(second.choices[0]!.text).toBe(first.choices[0]!.text);
  const { prompt_tokens, prompt_tokens_details } = second.usage!;
  expect(prompt_tokens_details!.cached_tokens!).toBeGreaterThan(prompt_tokens - 17);
});

test("n choices compute their prompt once", async () => {
  const prompt = "Better sleep with a sober cannibal than a drunken Christian. ".repeat(3);
  const before = small.stats();
  const asked = { model: "small", prompt, max_tokens: 2, n: 4, seed: 1 };
  const { usage } = await client.completions.create(asked);
  const after = small.stats();
  const cached = after.cached_tokens - before.cached_tokens;
  // Whole blocks are shared; the last token of a prompt is always computed.
  expect(cached).toBeGreaterThanOrEqual(3 * (usage!.prompt_tokens - 17));
  expect(after.prompt_tokens - before.prompt_tokens).toBe(4 * usage!.prompt_tokens);
});

test("a cancelled request never reaches the engine, nor stays in it", async () => {
  const before = small.stats();
  const request = {
    prompt: { text: "Call me" },
    stop: [],
    sampling: {},
    top_logprobs: 0,
    cache_scope: "",
  };
  const answer = small.answer({ ...request, signal: AbortSignal.abort() });
  expect(await rejection(answer.next())).toMatchObject({ code: "CANCELLED" });
  const abort = new AbortController();
  const running = small.answer({ ...request, signal: abort.signal });
  await running.next();
  const pending = (async () => {
    while (!(await running.next()).done);
  })();
  abort.abort();
  expect(await rejection(pending)).toMatchObject({ code: "CANCELLED" });
  const { running: left, blocks_in_use, live_handles } = small.stats();
  expect([left, blocks_in_use, live_handles]).toEqual([0, 0, before.live_handles]);
});

describe("embeddings", () => {
  test("unit vectors, as numbers or as base64, that say the same", async () => {
    const input = ["Call me Ishmael", "the white whale"];
    const asked = { model: "small", input };
    const floats = await client.embeddings.create({ ...asked, encoding_format: "float" });
    expect(floats.data.map(({ index }) => index)).toEqual([0, 1]);
    for (const { embedding } of floats.data) {
      expect(embedding).toHaveLength(256);
      expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
    }
    // Without a format the client itself asks for base64 and decodes it.
    const decoded = await client.embeddings.create(asked);
    expect(decoded.data.map(({ embedding }) => [...embedding])).toEqual(
      floats.data.map(({ embedding }) => embedding),
    );
    const alone = await client.embeddings.create({
      ...asked,
      input: input[1]!,
      encoding_format: "float",
    });
    expect(alone.data[0]!.embedding).toEqual(floats.data[1]!.embedding);
    const ids = [...(await promptIds(input[1]!))];
    const fromIds = await client.embeddings.create({
      ...asked,
      input: ids,
      encoding_format: "float",
    });
    expect(fromIds.data[0]!.embedding).toEqual(floats.data[1]!.embedding);
    expect(fromIds.usage.prompt_tokens).toBe(ids.length);
  });

  test("refusals", async () => {
    for (const [more, param] of [
      [{ dimensions: 8 }, "dimensions"],
      [{ input: "" }, "input"],
      [{ input: ["x", ""] }, "input.1"],
      [{ input: [70_000] }, "input"],
      [{ input: "whale ".repeat(2000) }, "input"],
    ] as const) {
      const asked = { model: "small", input: "x", ...more } as OpenAI.EmbeddingCreateParams;
      const error = await rejection(client.embeddings.create(asked));
      expect(error).toBeInstanceOf(OpenAI.BadRequestError);
      expect(error).toMatchObject({ param });
    }
  });
});

test("models", async () => {
  const ids: string[] = [];
  for await (const model of client.models.list()) ids.push(model.id);
  expect(ids).toEqual(["small"]);
  expect(await client.models.retrieve("small")).toMatchObject({ id: "small", object: "model" });
  expect(await rejection(client.models.retrieve("a/b"))).toBeInstanceOf(OpenAI.NotFoundError);
});

describe("refusals name the parameter", () => {
  const content = (part: object) => [{ role: "user", content: [part] }];
  const cases: [string, object, string, string][] = [
    ["a word too much", { frobnicate: 1 }, "unknown_parameter", "frobnicate"],
    [
      "tools",
      { tools: [{ type: "function", function: { name: "f" } }] },
      "unsupported_parameter",
      "tools",
    ],
    ["functions", { functions: [{ name: "f" }] }, "unsupported_parameter", "functions"],
    ["audio", { modalities: ["text", "audio"] }, "unsupported_parameter", "modalities"],
    [
      "images",
      { messages: content({ type: "image_url", image_url: { url: "x" } }) },
      "unsupported_content",
      "messages.0.content.0",
    ],
    [
      "tool results",
      { messages: [{ role: "tool", content: "x", tool_call_id: "1" }] },
      "unsupported_parameter",
      "messages.0.role",
    ],
    ["no messages", { messages: [] }, "invalid_parameter", "messages"],
    [
      "a role",
      { messages: [{ role: "pirate", content: "x" }] },
      "invalid_parameter",
      "messages.0.role",
    ],
    ["temperature", { temperature: 3 }, "invalid_parameter", "temperature"],
    ["n", { n: 0 }, "invalid_parameter", "n"],
    ["top_logprobs alone", { top_logprobs: 2 }, "invalid_parameter", "top_logprobs"],
    [
      "stream_options alone",
      { stream_options: { include_usage: true } },
      "invalid_parameter",
      "stream_options",
    ],
    ["17 stops", { stop: Array.from({ length: 17 }, () => "x") }, "invalid_parameter", "stop"],
    ["bias", { logit_bias: { x: 1 } }, "invalid_parameter", "logit_bias.x"],
    ["a bias of no token", { logit_bias: { 70000: 1 } }, "invalid_parameter", "logit_bias.70000"],
    ["both limits", { max_completion_tokens: 5 }, "invalid_parameter", "max_tokens"],
    ["format", { response_format: { type: "xml" } }, "invalid_parameter", "response_format.type"],
    [
      "too long",
      { messages: [{ role: "user", content: "whale ".repeat(3000) }] },
      "context_length_exceeded",
      "messages",
    ],
  ];
  for (const [name, more, code, param] of cases)
    test(name, async () => {
      const asked = { ...chat, ...more } as OpenAI.ChatCompletionCreateParamsNonStreaming;
      const error = await rejection(client.chat.completions.create(asked));
      expect(error).toBeInstanceOf(OpenAI.BadRequestError);
      expect(error).toMatchObject({ status: 400, code, param, type: "invalid_request_error" });
    });

  test("of text completions", async () => {
    for (const [more, param] of [
      [{ suffix: "x" }, "suffix"],
      [{ echo: true, logprobs: 1 }, "echo"],
      [{ best_of: 3 }, "best_of"],
      [{ logprobs: 6 }, "logprobs"],
      [{ prompt: [70_000] }, "prompt"],
      [{ prompt: "whale ".repeat(3000) }, "prompt"],
      [{ n: 100, prompt: ["a", "b"] }, "n"],
    ] as const) {
      const asked = { model: "small", prompt: "x", ...more };
      const error = await rejection(
        client.completions.create(asked as OpenAI.CompletionCreateParams),
      );
      expect([more, error]).toMatchObject([more, { status: 400, param }]);
    }
  });
});

test("what changes nothing is let pass: parts of text, nulls, harmless fields, empty tools", async () => {
  const plain = await client.chat.completions.create(chat);
  const parts = [
    { type: "text", text: "Call me " },
    { type: "text", text: "Ishmael" },
  ];
  const dressed = await client.chat.completions.create({
    ...chat,
    messages: [{ role: "user", content: parts, name: "ahab" }],
    ...{
      user: "u",
      store: true,
      metadata: { a: "b" },
      service_tier: "auto",
      tools: [],
      top_p: null,
    },
    ...{
      tool_choice: "none",
      parallel_tool_calls: true,
      modalities: ["text"],
      presence_penalty: null,
    },
    response_format: { type: "text" },
  } as OpenAI.ChatCompletionCreateParamsNonStreaming);
  expect(dressed.choices[0]!.message.content).toBe(plain.choices[0]!.message.content);
});

test("an unknown model is a NotFoundError", async () => {
  const error = await rejection(client.chat.completions.create({ ...chat, model: "other" }));
  expect(error).toBeInstanceOf(OpenAI.NotFoundError);
  expect(error).toMatchObject({ status: 404, code: "model_not_found", param: "model" });
});
