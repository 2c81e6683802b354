/**
 * The bytes of answers, exactly: what a client's parser was written for must not change by accident.
 * The forms are those of OpenAI's API reference and of Ollama's docs/api.md.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import { fakeModel, saying, serve, tokenText } from "./serve-fixture.ts";

const NOW_MS = 1_700_000_000_000;
let server: Awaited<ReturnType<typeof serve>>;
beforeAll(async () => {
  server = await serve([await fakeModel(saying("Hel", "", "lo \u{1f40b}"))], {
    clock: { now_ms: () => NOW_MS },
    monotonic_ms: () => 0,
    random: seededRandom(9),
  });
});
afterAll(() => server.close());

async function wire(path: string, body: object): Promise<string> {
  const response = await fetch(server.url + path, { method: "POST", body: JSON.stringify(body) });
  return (await response.text()).replaceAll(/(chatcmpl|cmpl)-[0-9a-f]{24}/g, "$1-ID");
}
const lines = (...objects: unknown[]) =>
  objects.map((data) => `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`);

test("a streamed chat completion", async () => {
  const messages = [{ role: "user", content: "hi" }];
  const text = await wire("/v1/chat/completions", { model: "fake", messages, stream: true });
  const head =
    '{"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1700000000,"model":"fake","system_fingerprint":"fp_fake","choices":[{"index":0,"delta":';
  expect(text).toBe(
    [
      `data: ${head}{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]}\n\n`,
      `data: ${head}{"content":"Hel"},"logprobs":null,"finish_reason":null}]}\n\n`,
      `data: ${head}{"content":"lo \u{1f40b}"},"logprobs":null,"finish_reason":null}]}\n\n`,
      `data: ${head}{},"logprobs":null,"finish_reason":"stop"}]}\n\n`,
      "data: [DONE]\n\n",
    ].join(""),
  );
});

test("a streamed text completion with usage and log-probabilities", async () => {
  const stream_options = { include_usage: true };
  const body = { model: "fake", prompt: "hi", logprobs: 1, stream: true, stream_options };
  const text = await wire("/v1/completions", body);
  const head = {
    ...{ id: "cmpl-ID", object: "text_completion", created: 1_700_000_000, model: "fake" },
    system_fingerprint: "fp_fake",
  };
  const [word65, word66] = [await tokenText(65), await tokenText(66)];
  const chunk = (text: string, offset: number) => ({
    ...head,
    choices: [
      {
        ...{ text, index: 0 },
        logprobs: {
          ...{ tokens: [word65], token_logprobs: [-0.5] },
          top_logprobs: [{ [word65]: -0.5, [word66]: -9999 }],
          text_offset: [offset],
        },
        finish_reason: null,
      },
    ],
    usage: null,
  });
  const end = { text: "", index: 0, logprobs: null, finish_reason: "stop" };
  const usage = {
    ...{ prompt_tokens: 3, completion_tokens: 3, total_tokens: 6 },
    prompt_tokens_details: { cached_tokens: 1 },
  };
  expect(text).toBe(
    lines(
      ...[chunk("Hel", 0), chunk("", 3), chunk("lo \u{1f40b}", 3)],
      { ...head, choices: [end], usage: null },
      { ...head, choices: [], usage },
      "[DONE]",
    ).join(""),
  );
});

test("streams of Ollama: JSON lines, durations in nanoseconds", async () => {
  const head = '{"model":"fake","created_at":"2023-11-14T22:13:20.000Z",';
  const end =
    '"done":true,"done_reason":"stop","total_duration":0,"load_duration":1000000,"prompt_eval_count":3,"prompt_eval_duration":20000000,"eval_count":3,"eval_duration":300000000}\n';
  expect(await wire("/api/generate", { model: "fake", prompt: "hi" })).toBe(
    [
      `${head}"response":"Hel","done":false}\n`,
      `${head}"response":"lo \u{1f40b}","done":false}\n`,
      `${head}"response":"",${end}`,
    ].join(""),
  );
  const messages = [{ role: "user", content: "hi" }];
  expect(await wire("/api/chat", { model: "fake", messages })).toBe(
    [
      `${head}"message":{"role":"assistant","content":"Hel"},"done":false}\n`,
      `${head}"message":{"role":"assistant","content":"lo \u{1f40b}"},"done":false}\n`,
      `${head}"message":{"role":"assistant","content":""},${end}`,
    ].join(""),
  );
});
