/**
 * Streams whose readers are slow, stall or go away, and answers that fail or take too long: the
 * work ends at once, and nothing is left of it.
 */
import { afterEach, expect, test } from "bun:test";
import net from "node:net";
import OpenAI from "openai";
import { MagnetError } from "../../src/core/errors.ts";
import type { ServedModel } from "../../src/http/serve/served-model.ts";
import type { StartServerOptions } from "../../src/http/serve/start-server.ts";
import { rejection } from "../native/rejection.ts";
import { fakeModel, piece, RESULT, saying, serve, until } from "./serve-fixture.ts";

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function start(answer: ServedModel["answer"], limits: StartServerOptions["limits"] = {}) {
  const server = await serve([await fakeModel(answer)], { limits });
  closing.push(() => server.close(0));
  const ends = () =>
    server.log.lines.filter(({ event }) => event === "request").map(({ fields }) => fields);
  return { ...server, ends };
}

/** An answer without an end, and what became of it. */
function endless(text = "word ") {
  const seen = { pieces: 0, aborted: 0, ended: 0, begun: 0 };
  const answer: ServedModel["answer"] = async function* ({ signal }) {
    seen.begun++;
    signal.addEventListener("abort", () => seen.aborted++, { once: true });
    try {
      for (;;) {
        if (signal.aborted) throw new MagnetError("CANCELLED", "cancelled");
        seen.pieces++;
        yield piece(text);
        await new Promise((resolve) => setImmediate(resolve));
      }
    } finally {
      seen.ended++;
    }
  };
  return { seen, answer };
}
/** An answer that comes only when it is cancelled. */
function silent() {
  const seen = { begun: 0, ended: 0 };
  const answer: ServedModel["answer"] = async function* ({ signal }) {
    seen.begun++;
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    seen.ended++;
    yield* [];
    throw new MagnetError("CANCELLED", "cancelled");
  };
  return { seen, answer };
}
const body = (stream: boolean, more: object = {}) =>
  JSON.stringify({ model: "fake", prompt: "x", stream, ...more });
const ask = (url: string, init: RequestInit) =>
  fetch(`${url}/v1/completions`, { method: "POST", ...init });

for (const stream of [true, false])
  test(`a client that goes ends its work (${stream ? "streamed" : "whole"} answer)`, async () => {
    const { seen, answer } = endless();
    const server = await start(answer);
    const abort = new AbortController();
    const asked = ask(server.url, { body: body(stream, { n: 3 }), signal: abort.signal });
    if (stream) await (await asked).body!.getReader().read();
    else await until(() => seen.pieces > 20);
    abort.abort();
    await rejection(asked.then((response) => response.text()));
    await until(() => server.app.in_flight === 0);
    expect(seen).toMatchObject({ begun: 3, aborted: 3, ended: 3 });
    expect(server.ends()).toMatchObject([{ status: 499, cancelled: "closed" }]);
  });

test("a client that goes before its first token ends its work", async () => {
  const { seen, answer } = silent();
  const server = await start(answer);
  const abort = new AbortController();
  const asked = ask(server.url, { body: body(true), signal: abort.signal });
  await until(() => seen.begun === 1);
  abort.abort();
  await rejection(asked);
  await until(() => server.app.in_flight === 0);
  expect(seen.ended).toBe(1);
});

/** A client that sends a request and reads nothing until it is told to. */
async function stalling(url: string): Promise<net.Socket> {
  const { port, hostname } = new URL(url);
  const socket = net.connect(Number(port), hostname);
  socket.on("error", () => undefined);
  socket.pause();
  const text = body(true);
  socket.write(
    `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
  );
  return socket;
}

test("a reader that stalls is dropped; what waits for it is bounded", async () => {
  const { seen, answer } = endless("x".repeat(8192));
  const server = await start(answer, { stall_ms: 100, stream_buffer_bytes: 65_536 });
  const socket = await stalling(server.url);
  await until(() => server.app.in_flight === 0 && seen.begun === 1);
  expect(server.ends()).toMatchObject([{ status: 499, cancelled: "stalled" }]);
  expect(seen).toMatchObject({ aborted: 1, ended: 1 });
  // Beside our buffer the socket's own hold some megabytes, not all that a model can say.
  expect(seen.pieces * 8192).toBeLessThan(32 << 20);
  const lost = new Promise((resolve) => socket.on("close", resolve));
  socket.resume();
  await lost;
});

test("a slow reader slows its answer and gets all of it", async () => {
  const long = "y".repeat(65_536);
  const server = await start(saying(...Array.from({ length: 200 }, () => long)), {
    stream_buffer_bytes: 65_536,
  });
  const response = await ask(server.url, { body: body(true) });
  let text = "";
  for await (const part of response.body!) {
    await new Promise((resolve) => setImmediate(resolve));
    text += new TextDecoder().decode(part);
  }
  expect(text.split("data: ").length - 1).toBe(202);
  expect(text).toEndWith("data: [DONE]\n\n");
});

const broken: ServedModel["answer"] = async function* () {
  yield piece("a beginning");
  await Promise.resolve();
  throw new Error("/secret/path is broken");
};

test("an answer that fails midway says so in the stream; the client throws", async () => {
  const server = await start(broken);
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "x", maxRetries: 0 });
  const texts: string[] = [];
  const error = await rejection(
    (async () => {
      const asked = { model: "fake", prompt: "x", stream: true } as const;
      for await (const chunk of await client.completions.create(asked))
        texts.push(chunk.choices[0]!.text);
    })(),
  );
  expect(texts).toEqual(["a beginning"]);
  expect(error).toBeInstanceOf(OpenAI.APIError);
  expect((error as InstanceType<typeof OpenAI.APIError>).code).toBe("internal_error");
  expect(String(error)).not.toContain("secret");
  await until(() => server.app.in_flight === 0);
  // Whoever runs the server finds the reason under the request's id.
  const failed = server.log.lines.find(({ event }) => event === "request_failed")!;
  expect(String(failed.fields.error)).toContain("/secret/path");
  expect(failed.fields.request_id).toBe(server.ends()[0]!.request_id);
});

test("an answer that fails midway in Ollama's form", async () => {
  const server = await start(broken);
  const text = await fetch(`${server.url}/api/generate`, {
    method: "POST",
    body: JSON.stringify({ model: "fake", prompt: "x" }),
  }).then((response) => response.text());
  expect(
    text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))[1],
  ).toEqual({
    error: "the server failed; its log has the reason",
  });
});

test("an answer beyond its time ends: with a status, or with an error in the stream", async () => {
  const { answer } = silent();
  const whole = await start(answer, { answer_ms: 30 });
  const response = await ask(whole.url, { body: body(false) });
  expect([response.status, await response.json()]).toMatchObject([
    504,
    { error: { code: "answer_timeout" } },
  ]);
  const streamed = await start(endless().answer, { answer_ms: 30 });
  const text = await (await ask(streamed.url, { body: body(true) })).text();
  expect(text).toContain('"code":"answer_timeout"');
  expect(text).not.toContain("[DONE]");
});

test("a choice that fails ends the others of its request", async () => {
  const waiting = silent();
  let asked = 0;
  const server = await start(async function* (request) {
    if (asked++ > 0) return yield* waiting.answer(request);
    yield piece("leads");
    await until(() => waiting.seen.begun === 2);
    throw new Error("broken");
  });
  const response = await ask(server.url, { body: body(false, { n: 3 }) });
  expect(response.status).toBe(500);
  expect(waiting.seen).toEqual({ begun: 2, ended: 2 });
});

test("a busy engine is a 503 before the stream begins, and asks to come again", async () => {
  const server = await start(async function* () {
    yield* [];
    throw new MagnetError("ENGINE_BUSY", "256 requests wait", { retryable: true });
  });
  const response = await ask(server.url, { body: body(true) });
  expect([response.status, response.headers.get("retry-after")]).toEqual([503, "1"]);
  expect(await response.json()).toMatchObject({ error: { code: "engine_busy" } });
});

test("closing lets running answers end, and refuses new ones", async () => {
  const gate = Promise.withResolvers<void>();
  const server = await start(async function* () {
    yield piece("first");
    await gate.promise;
    yield piece("last");
    return RESULT;
  });
  const response = await ask(server.url, { body: body(true) });
  const reader = response.body!.getReader();
  await reader.read();
  const closed = server.close(60_000);
  const late = await rejection(ask(server.url, { body: body(true) }));
  expect(late).toBeInstanceOf(Error);
  gate.resolve();
  let text = "";
  for (let next = await reader.read(); !next.done; next = await reader.read())
    text += new TextDecoder().decode(next.value);
  expect(text).toContain('"text":"last"');
  expect(text).toEndWith("data: [DONE]\n\n");
  await closed;
  expect(server.log.lines.at(-1)!.event).toBe("stopped");
});

test("the last bytes reach a slow reader, though the server stops meanwhile", async () => {
  const server = await start(saying(...Array.from({ length: 40 }, () => "z".repeat(100_000))));
  const response = await ask(server.url, { body: body(true) });
  const closed = server.close(60_000);
  let length = 0;
  let text = "";
  for await (const part of response.body!) {
    await new Promise((resolve) => setImmediate(resolve));
    length += part.length;
    text = new TextDecoder().decode(part).slice(-20);
  }
  expect(text).toEndWith("data: [DONE]\n\n");
  expect(length).toBeGreaterThan(4_000_000);
  await closed;
});

test("an answer holds its connection; after it the connection may be closed again", async () => {
  const { app, ...server } = await start(saying("a", "b"));
  for (const stream of [true, false]) {
    const seen: string[] = [];
    const connection = {
      address: "127.0.0.1",
      hold: () => void seen.push("held"),
      release: () => void seen.push("released"),
    };
    const init = { method: "POST", body: body(stream), headers: { host: "localhost" } };
    const request = new Request(`${server.url}/v1/completions`, init);
    const response = await app.fetch(request, connection);
    expect(await response.text()).toContain("b");
    expect(seen).toEqual(["held", "released"]);
  }
});

test("closing cancels what outlasts the grace period", async () => {
  const { seen, answer } = endless();
  const server = await start(answer);
  const response = await ask(server.url, { body: body(true) });
  const text = response.text();
  await server.close(20);
  expect(await text).toContain('"code":"server_stopping"');
  expect(seen).toMatchObject({ aborted: 1, ended: 1 });
  expect(server.ends()).toMatchObject([{ status: 503, cancelled: "stopping" }]);
});
