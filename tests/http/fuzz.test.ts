/**
 * Random bodies, near to real ones, at every endpoint that takes one: the answer is always a whole
 * one or a refusal in the API's own form; never a failure of ours, and never a wait without end.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import type { ServedModel } from "../../src/http/serve/served-model.ts";
import { fakeModel, SERVED, saying, serve, smallModel } from "./serve-fixture.ts";

type Server = Awaited<ReturnType<typeof serve>>;
let fake: Server;
/** Slower; shows what only the engine and the library refuse. Its context keeps answers short. */
let real: Server;
let model: ServedModel;
beforeAll(async () => {
  fake = await serve([await fakeModel(saying("some ", "text"))]);
  model = await smallModel("fake", { ...SERVED, context: 24 });
  real = await serve([model]);
});
afterAll(() => Promise.all([fake.close(), real.close()]));

const CONNECTION = { address: "127.0.0.1", hold: () => undefined, release: () => undefined };

/** Values of wrong and right kinds, small and huge. */
const anything = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(null, true, false, "", "x", 0, 1, -1, 2, 0.5, [], {}) },
  fc.constantFrom(2 ** 31, 2 ** 53, -(2 ** 53), 1e300, -0, 1e-320),
  fc.jsonValue({ maxDepth: 3 }),
  fc.array(fc.oneof(fc.string(), fc.integer()), { maxLength: 20 }),
  fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.double()), { maxKeys: 5 }),
);
const message = fc.oneof(
  fc.record({ role: fc.constantFrom("system", "user", "assistant"), content: fc.string() }),
  fc.record({
    role: fc.oneof(fc.constantFrom("developer", "tool", "__proto__", "constructor"), fc.string()),
    content: fc.oneof(
      fc.array(fc.record({ type: fc.constant("text"), text: fc.string() })),
      anything,
    ),
  }),
  anything,
);
/** Right values of the fields, so that a body comes further than the first check. */
const RIGHT: Record<string, fc.Arbitrary<unknown>> = {
  messages: fc.array(message, { maxLength: 4 }),
  prompt: fc.oneof(fc.string(), fc.array(fc.string(), { maxLength: 3 })),
  input: fc.oneof(fc.string(), fc.array(fc.string(), { maxLength: 3 })),
  stream: fc.boolean(),
  stream_options: fc.record({ include_usage: fc.boolean() }),
  n: fc.integer({ min: 0, max: 4 }),
  max_tokens: fc.integer({ min: 0, max: 100 }),
  temperature: fc.double({ min: -1, max: 3 }),
  seed: fc.oneof(fc.integer(), fc.maxSafeInteger()),
  stop: fc.oneof(fc.string(), fc.array(fc.string(), { maxLength: 20 })),
  logit_bias: fc.dictionary(fc.integer().map(String), fc.integer({ min: -100, max: 100 })),
  logprobs: fc.oneof(fc.boolean(), fc.integer({ min: 0, max: 5 })),
  top_logprobs: fc.integer({ min: 0, max: 20 }),
  echo: fc.boolean(),
  tools: anything,
  response_format: fc.record({
    type: fc.constantFrom("text", "json_object", "json_schema", "other"),
    json_schema: anything,
  }),
  format: fc.oneof(fc.constantFrom("", "json", "yaml"), anything),
  options: fc.oneof(
    anything,
    fc.record({ num_predict: fc.integer({ min: -3, max: 9 }), seed: fc.integer() }),
  ),
  keep_alive: fc.oneof(fc.constantFrom(0, "5m", "0s", -1), anything),
  encoding_format: fc.constantFrom("float", "base64", "hex"),
  unknown_field: anything,
};
const body = fc
  .tuple(
    fc.subarray(Object.keys(RIGHT)),
    fc.record(
      Object.fromEntries(Object.entries(RIGHT).map(([k, v]) => [k, fc.oneof(v, v, anything)])),
    ),
    fc.oneof({ weight: 9, arbitrary: fc.constant("fake") }, anything),
  )
  .map(([names, values, model]) => ({
    model,
    ...Object.fromEntries(names.map((name) => [name, values[name]])),
  }));
/** Few fields more than are needed, so that many bodies are taken. */
const NEEDED: Record<string, string[]> = {
  "/v1/chat/completions": ["messages"],
  "/v1/embeddings": ["input"],
  "/api/chat": ["messages"],
  "/api/embed": ["input"],
  "/api/show": [],
};
const nearly = (path: string) => {
  const needed = NEEDED[path] ?? ["prompt"];
  return fc.tuple(body, fc.nat(2)).map(([all, extras]) => {
    const extra = Object.keys(all)
      .filter((name) => name !== "model")
      .slice(0, extras);
    const fields: Record<string, unknown> = { model: all.model };
    for (const name of extra) fields[name] = (all as Record<string, unknown>)[name];
    for (const name of needed)
      fields[name] ??= name === "messages" ? [{ role: "user", content: "x" }] : "x";
    return fields;
  });
};

/** Sends random bodies; gives how many were taken. */
async function fuzz(server: Server, path: string, numRuns: number): Promise<number> {
  let taken = 0;
  const send = async (text: string) => {
    const init = { method: "POST", body: text, headers: { host: "localhost" } };
    const request = new Request(`http://localhost${path}`, init);
    const response = await server.app.fetch(request, CONNECTION);
    const answer = await response.text();
    const { status } = response;
    expect([text, status < 500, status]).toEqual([text, true, status]);
    expect([text, answer.includes('"internal_error"')]).toEqual([text, false]);
    if (status === 200) taken++;
    else {
      const { error } = JSON.parse(answer);
      expect(typeof (path.startsWith("/api/") ? error : error.message)).toBe("string");
    }
  };
  const bodies = fc.oneof(body, nearly(path), nearly(path)).map((value) => JSON.stringify(value));
  await fc.assert(fc.asyncProperty(fc.oneof(bodies, bodies, fc.string()), send), { numRuns });
  expect(server.app.in_flight).toBe(0);
  expect(server.log.lines.filter(({ level }) => level === "error")).toEqual([]);
  return taken;
}

for (const path of [
  ...["/v1/chat/completions", "/v1/completions", "/v1/embeddings"],
  ...["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"],
])
  test(`${path} takes or refuses`, async () => {
    expect(await fuzz(fake, path, 250)).toBeGreaterThan(10);
  });

for (const path of ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/api/generate"])
  test(`${path} takes or refuses, with a real model`, async () => {
    expect(await fuzz(real, path, 50)).toBeGreaterThan(0);
    const { running, waiting, blocks_in_use } = model.stats();
    expect([running, waiting, blocks_in_use]).toEqual([0, 0, 0]);
  });
