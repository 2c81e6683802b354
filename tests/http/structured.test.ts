/**
 * Answers of a wanted form through both APIs: a model of noise, held to a schema, answers with JSON
 * that an independent validator (ajv) takes, whatever the seed.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import Ajv from "ajv";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { rejection } from "../native/rejection.ts";
import { serve, smallModel } from "./serve-fixture.ts";

let server: Awaited<ReturnType<typeof serve>>;
let client: OpenAI;
beforeAll(async () => {
  server = await serve([await smallModel()]);
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(() => server.close());

const SCHEMAS = {
  whale: {
    type: "object",
    properties: {
      name: { type: "string", maxLength: 12 },
      length_m: { type: "integer", minimum: 1, maximum: 40 },
      colour: { enum: ["white", "grey", "black"] },
    },
    required: ["name", "length_m", "colour"],
    additionalProperties: false,
  },
  crew: {
    type: "object",
    properties: {
      crew: {
        type: "array",
        minItems: 1,
        maxItems: 3,
        items: { anyOf: [{ type: "boolean" }, { type: "number" }, { type: "null" }] },
      },
    },
    required: ["crew"],
    additionalProperties: false,
  },
} as const;
const messages = [{ role: "user" as const, content: "Describe the whale" }];

/** `strict` does not matter: a schema is followed exactly. */
const wanted = (name: keyof typeof SCHEMAS) => ({
  type: "json_schema" as const,
  json_schema: { name, schema: SCHEMAS[name], strict: true },
});
const ask = (response_format: OpenAI.ChatCompletionCreateParams["response_format"], seed: number) =>
  ({
    ...{ model: "small", messages, max_tokens: 150, seed, temperature: 1 },
    response_format,
  }) as OpenAI.ChatCompletionCreateParamsNonStreaming;

describe("OpenAI's response_format", () => {
  for (const name of ["whale", "crew"] as const)
    test(`json_schema: ${name}, six seeds at once`, async () => {
      const valid = new Ajv().compile(SCHEMAS[name]);
      const asked = Array.from({ length: 6 }, (_, seed) => ask(wanted(name), seed));
      const answers = await Promise.all(asked.map((one) => client.chat.completions.create(one)));
      const texts = answers.map((answer) => answer.choices[0]!.message.content!);
      for (const text of texts) expect([text, valid(JSON.parse(text))]).toEqual([text, true]);
      expect(new Set(texts).size).toBeGreaterThan(1);
      expect(answers.every(({ choices }) => choices[0]!.finish_reason === "stop")).toBe(true);
      // The same request alone, and streamed, gives the same text.
      let streamed = "";
      for await (const chunk of await client.chat.completions.create({
        ...asked[3]!,
        stream: true,
      }))
        streamed += chunk.choices[0]?.delta.content ?? "";
      expect(streamed).toBe(texts[3]!);
    });

  test("json_object: any object, closed within max_tokens", async () => {
    const asked = { ...ask({ type: "json_object" }, 1), max_tokens: 40, n: 5 };
    const { choices } = await client.chat.completions.create(asked);
    for (const { message } of choices) {
      const text = message.content!;
      const value = JSON.parse(text);
      expect([text, typeof value === "object" && !Array.isArray(value)]).toEqual([text, true]);
    }
  });

  test("a keyword that is not done is refused by its name", async () => {
    const schema = { type: "array", contains: { type: "integer" } };
    const format = { type: "json_schema", json_schema: { name: "x", schema } } as const;
    const error = await rejection(client.chat.completions.create(ask(format, 0)));
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ code: "unsupported_schema", param: "response_format" });
    expect((error as Error).message).toContain("contains");
    const broken = {
      type: "json_schema",
      json_schema: { name: "x", schema: { type: 5 } },
    } as const;
    const malformed = await rejection(client.chat.completions.create(ask(broken as never, 0)));
    expect(malformed).toMatchObject({ status: 400, param: "response_format" });
  });

  test("one schema's grammar is kept, not made for each request", async () => {
    const handles = async () => {
      const page = await (await fetch(`${server.url}/metrics`)).text();
      return /^magnet_native_handles\{.*\} (\d+)$/m.exec(page)![1];
    };
    await client.chat.completions.create(ask(wanted("whale"), 1));
    const before = await handles();
    for (const seed of [2, 3]) await client.chat.completions.create(ask(wanted("whale"), seed));
    expect(await handles()).toBe(before);
  });
});

test("Ollama's format: a schema, or any JSON object", async () => {
  const ollama = new Ollama({ host: server.url });
  const valid = new Ajv().compile(SCHEMAS.whale);
  const asked = { model: "small", messages, options: { seed: 3, num_predict: 150 } };
  const answer = await ollama.chat({ ...asked, format: SCHEMAS.whale });
  expect(valid(JSON.parse(answer.message.content))).toBe(true);
  const any = await ollama.generate({
    ...{ model: "small", prompt: "Describe", format: "json", options: asked.options },
  });
  expect(typeof JSON.parse(any.response!)).toBe("object");
  const refused = ollama.chat({ ...asked, format: { type: "array", contains: {} } });
  expect(await rejection(refused)).toMatchObject({ status_code: 400 });
});
