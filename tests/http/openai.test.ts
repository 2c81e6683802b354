/** OpenAI's endpoints through the official client, with a small model behind them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import OpenAI from "openai";
import { rejection } from "../native/rejection.ts";
import { noEnd, serve, smallModel } from "./serve-fixture.ts";

let server: Awaited<ReturnType<typeof serve>>;
let client: OpenAI;
beforeAll(async () => {
  server = await serve([await smallModel()]);
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

test("an unknown model is a NotFoundError", async () => {
  const error = await rejection(client.chat.completions.create({ ...chat, model: "other" }));
  expect(error).toBeInstanceOf(OpenAI.NotFoundError);
  expect(error).toMatchObject({ status: 404, code: "model_not_found", param: "model" });
});
