/** Ollama's endpoints through the `ollama` client, with a small model behind them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Ollama } from "ollama";
import { rejection } from "../native/rejection.ts";
import { fakeModel, RESULT, serve, smallModel } from "./serve-fixture.ts";

let server: Awaited<ReturnType<typeof serve>>;
let client: Ollama;
beforeAll(async () => {
  server = await serve([await smallModel(), await smallModel("other/model-2")]);
  client = new Ollama({ host: server.url });
});
afterAll(() => server.close());

const messages = [{ role: "user", content: "Call me Ishmael" }];
const options = { num_predict: 10, seed: 4, repeat_penalty: 1 };
const send = async (path: string, body: object) => {
  const response = await fetch(server.url + path, { method: "POST", body: JSON.stringify(body) });
  return { status: response.status, answer: (await response.json()) as Record<string, unknown> };
};

test("the server says who it is", async () => {
  expect(await (await fetch(server.url)).text()).toBe("Ollama is running");
  const head = await fetch(server.url, { method: "HEAD" });
  expect([head.status, await head.text()]).toEqual([200, ""]);
  expect(await client.version()).toEqual({ version: "0.0.0-test" });
});

test("models are listed, running, and shown", async () => {
  const { models } = await client.list();
  expect(models.map(({ name }) => name)).toEqual(["small:latest", "other/model-2:latest"]);
  expect(models[0]).toMatchObject({
    digest: expect.stringMatching(/^[0-9a-f]{64}$/),
    details: { family: "bitnet", parameter_size: "1.4M" },
  });
  expect((await client.ps()).models).toHaveLength(2);
  const shown = await client.show({ model: "other/model-2" });
  expect(shown.capabilities).toEqual(["completion", "embedding"]);
  expect(shown.model_info).toMatchObject({ "bitnet.context_length": 512, "bitnet.block_count": 2 });
  expect(shown.template).toContain("<|assistant|>");
});

describe("answers", () => {
  test("a chat, whole and streamed, is the same text", async () => {
    const whole = await client.chat({ model: "small", messages, options });
    expect(whole).toMatchObject({
      model: "small",
      message: { role: "assistant" },
      done: true,
      done_reason: "length",
      eval_count: 10,
    });
    for (const field of ["total_duration", "prompt_eval_duration", "eval_duration"] as const)
      expect([field, Number.isInteger(whole[field]) && whole[field] > 0]).toEqual([field, true]);
    let text = "";
    const parts = [];
    for await (const part of await client.chat({
      model: "small",
      messages,
      options,
      stream: true,
    })) {
      text += part.message.content;
      parts.push(part.done);
    }
    expect(text).toBe(whole.message.content);
    expect(parts.filter((done) => done)).toHaveLength(1);
    expect(parts.at(-1)).toBe(true);
  });

  test("generate asks in the chat format; raw goes on with the text", async () => {
    const prompt = messages[0]!.content;
    const asked = await client.generate({ model: "small:latest", prompt, options });
    const chatted = await client.chat({ model: "small", messages, options });
    expect(asked.response).toBe(chatted.message.content);
    const raw = await client.generate({ model: "small", prompt, raw: true, options });
    expect(raw.response).not.toBe(asked.response);
    const system = "Speak of whales";
    const led = await client.generate({ model: "small", prompt, system, options });
    const both = [{ role: "system", content: system }, ...messages];
    const ledChat = await client.chat({ model: "small", messages: both, options });
    expect(led.response).toBe(ledChat.message.content);
    let text = "";
    for await (const part of await client.generate({
      model: "small",
      prompt,
      options,
      stream: true,
    }))
      text += part.response;
    expect(text).toBe(asked.response!);
  });

  test("the same seed gives the same text; no seed, or a negative one, another each time", async () => {
    const ask = async (seed?: number) => {
      const sampling = { num_predict: 24, ...(seed === undefined ? {} : { seed }) };
      return (await client.chat({ model: "small", messages, options: sampling })).message.content;
    };
    expect(await ask(7)).toBe(await ask(7));
    expect(await ask(7)).not.toBe(await ask(8));
    expect(await ask()).not.toBe(await ask());
    expect(await ask(-1)).not.toBe(await ask(-1));
  });

  test("log-probabilities come when they are asked for", async () => {
    const asked = { model: "small", messages, options, logprobs: true, top_logprobs: 3 } as const;
    const { logprobs } = await client.chat(asked);
    expect(logprobs).toHaveLength(10);
    for (const { logprob, top_logprobs } of logprobs!) {
      expect(logprob).toBeLessThan(0);
      expect(top_logprobs).toHaveLength(3);
    }
    expect((await client.chat({ model: "small", messages, options })).logprobs).toBeUndefined();
  });

  test("a request without a prompt asks whether the model is there", async () => {
    const empty = await client.chat({ model: "small", messages: [] });
    expect(empty).toMatchObject({ done: true, done_reason: "load", message: { content: "" } });
    const unload = await client.generate({ model: "small", prompt: "", keep_alive: 0 });
    expect(unload).toMatchObject({ done: true, done_reason: "unload", response: "" });
  });
});

test("embeddings are unit vectors, long texts cut to the context unless told otherwise", async () => {
  const { embeddings, prompt_eval_count } = await client.embed({
    model: "small",
    input: ["Call me Ishmael", "whale", "whale ".repeat(2000)],
  });
  expect(embeddings).toHaveLength(3);
  expect(prompt_eval_count).toBeGreaterThan(512);
  for (const vector of embeddings) {
    expect(vector).toHaveLength(256);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
  }
  const { embedding } = await client.embeddings({ model: "small", prompt: "whale" });
  expect(embedding).toEqual(embeddings[1]!);
  const long = { model: "small", input: "whale ".repeat(2000), truncate: false };
  expect((await rejection(client.embed(long))) as object).toMatchObject({ status_code: 400 });
});

test("what is not done is refused by name", async () => {
  const chat = { model: "small", messages };
  for (const [path, body, word] of [
    ["/api/chat", { ...chat, model: "none" }, 'no model "none"'],
    ["/api/chat", { ...chat, tools: [{ type: "function" }] }, "tools"],
    ["/api/chat", { ...chat, think: true }, "think"],
    [
      "/api/chat",
      { ...chat, messages: [{ role: "user", content: "x", images: ["aa"] }] },
      "images",
    ],
    ["/api/chat", { ...chat, messages: [{ role: "tool", content: "x" }] }, "messages.0.role"],
    ["/api/chat", { ...chat, options: { mirostat: 1 } }, "mirostat"],
    ["/api/chat", { ...chat, options: { repeat_last_n: 64 } }, "repeat_last_n"],
    ["/api/chat", { ...chat, options: { temprature: 1 } }, "did you mean temperature"],
    ["/api/chat", { ...chat, options: { top_p: 2 } }, "top_p"],
    ["/api/chat", { ...chat, options: { num_predict: 0 } }, "num_predict"],
    ["/api/chat", { ...chat, format: "yaml" }, "format"],
    ["/api/chat", { ...chat, top_logprobs: 2 }, "logprobs"],
    ["/api/generate", { model: "small", prompt: "x", suffix: "y" }, "suffix"],
    ["/api/generate", { model: "small", prompt: "x", context: [1, 2] }, "context"],
    ["/api/generate", { model: "small", prompt: "x", template: "{{ .Prompt }}" }, "template"],
    ["/api/embed", { model: "small", input: "x", dimensions: 8 }, "dimensions"],
    ["/api/pull", { model: "small" }, "when the server starts"],
  ] as const) {
    const { status, answer } = await send(path, body);
    expect([path, body, status >= 400 && status !== 500]).toEqual([path, body, true]);
    expect(answer.error as string).toContain(word);
  }
});

test("options without an effect here, and empty asks for what is not done, are let pass", async () => {
  const harmless = {
    num_ctx: 4096,
    num_gpu: 1,
    num_thread: 8,
    mirostat: 0,
    penalize_newline: true,
  };
  const body = {
    model: "small",
    messages,
    stream: false,
    think: false,
    tools: [],
    keep_alive: "5m",
  };
  const { status } = await send("/api/chat", { ...body, options: { ...options, ...harmless } });
  expect(status).toBe(200);
});

test("the wanted format reaches the model as a constraint", async () => {
  const formats: unknown[] = [];
  const model = await fakeModel(
    async function* ({ constraint }) {
      yield* [];
      return { ...RESULT, tail: String(constraint?.program[0]) };
    },
    {
      constraint(format) {
        formats.push(format);
        return { program: Uint8Array.of(formats.length) };
      },
    },
  );
  const fake = await serve([model]);
  try {
    const ask = new Ollama({ host: fake.url });
    const schema = { type: "object", properties: { a: { type: "integer" } } };
    for (const format of ["json", schema]) await ask.chat({ model: "fake", messages, format });
    const plain = await ask.chat({ model: "fake", messages });
    expect(formats).toEqual([{ kind: "json_object" }, { kind: "json_schema", schema }]);
    expect(plain.message.content).toBe("undefined");
  } finally {
    await fake.close();
  }
});
