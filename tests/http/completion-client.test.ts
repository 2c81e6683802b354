/** The client against servers of every mood: split chunks, refusals, streams that break off. */
import { afterEach, describe, expect, test } from "bun:test";
import { serverBase, serverModels, streamCompletion } from "../../src/http/completion-client.ts";

let server: ReturnType<typeof Bun.serve> | undefined;
afterEach(() => server?.stop(true));
const never = new AbortController().signal;

function serve(answer: (request: Request) => Response | Promise<Response>): { url: string } {
  server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: answer });
  return { url: server.url.href };
}

/** The text, byte by byte at the places that `cut` says. */
function streamed(text: string, chunk_bytes: number): Response {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  const body = new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, at + chunk_bytes));
      at += chunk_bytes;
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

const event = (data: unknown) => `data: ${JSON.stringify(data)}\n\n`;
const piece = (content: string) => event({ choices: [{ delta: { content } }] });
const ENDING =
  event({ choices: [{ delta: {}, finish_reason: "length" }] }) +
  event({ choices: [], usage: { prompt_tokens: 5, completion_tokens: 2 } });

async function answerOf(from: { url: string; api_key?: string }, signal = never) {
  const pieces = streamCompletion(from, { model: "m", messages: [] }, signal);
  let text = "";
  for (;;) {
    const next = await pieces.next();
    if (next.done) return { text, ...next.value };
    text += next.value;
  }
}

async function failureOf(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await work;
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error("it did not fail");
}

test.each([1, 2, 7, 1000])("an answer in chunks of %d bytes", async (chunk_bytes) => {
  const text = `: hello\r\n\r\n${piece("Übermut")}${piece(" — 鯨")}${ENDING}data: [DONE]\n\n`;
  const from = serve(() => streamed(text, chunk_bytes));
  expect(await answerOf(from)).toEqual({
    text: "Übermut — 鯨",
    finish_reason: "length",
    prompt_tokens: 5,
    completion_tokens: 2,
  });
});

test("asks the right route, with the key, for a stream with its usage", async () => {
  const asked: { path: string; key: string | null; body: unknown }[] = [];
  const from = serve(async (request) => {
    const { pathname: path } = new URL(request.url);
    asked.push({ path, key: request.headers.get("authorization"), body: await request.json() });
    return streamed(`${event({ choices: [{ text: "x" }] })}data: [DONE]\n\n`, 99);
  });
  await answerOf({ ...from, api_key: "secret" });
  const plain = streamCompletion({ url: `${from.url}v1/` }, { prompt: "p" }, never);
  expect((await plain.next()).value).toBe("x");
  await plain.next();
  const streaming = { stream: true, stream_options: { include_usage: true } };
  expect(asked).toEqual([
    {
      path: "/v1/chat/completions",
      key: "Bearer secret",
      body: { model: "m", messages: [], ...streaming },
    },
    { path: "/v1/completions", key: null, body: { prompt: "p", ...streaming } },
  ]);
});

describe("failures", () => {
  const refusal = (status: number, code: string) => () =>
    Response.json({ error: { message: "no way", code } }, { status });

  test.each([
    ["context_length_exceeded", 400, "PROMPT_TOO_LONG"],
    ["model_not_found", 404, "SERVER_REFUSED"],
    ["invalid_api_key", 401, "KEY_REFUSED"],
    ["engine_busy", 503, "SERVER_REFUSED"],
  ])("%s", async (code, status, expected) => {
    const failure = await failureOf(answerOf(serve(refusal(status, code))));
    expect(failure.code).toBe(expected);
    expect(failure.message).toBe(`the server answered ${status}: no way`);
  });

  test.each([
    ["a page", () => new Response("<html>"), "SERVER_REFUSED"],
    ["a stream that breaks off", () => streamed(piece("a"), 9), "SERVER_REFUSED"],
    ["events of another kind", () => streamed("data: hello\n\n", 9), "BAD_STREAM"],
    ["an endless event", () => streamed("x".repeat(5 << 20), 1 << 20), "BAD_STREAM"],
    [
      "an error in the stream",
      () => streamed(event({ error: { message: "x" } }), 9),
      "SERVER_REFUSED",
    ],
    ["a proxy's error page", () => new Response("<html>", { status: 502 }), "SERVER_REFUSED"],
  ])("%s", async (_, answer, expected) => {
    expect((await failureOf(answerOf(serve(answer)))).code).toBe(expected);
  });

  test("nobody there, and addresses that are none", async () => {
    const from = serve(() => new Response(""));
    await server!.stop(true);
    expect((await failureOf(answerOf(from))).code).toBe("UNREACHABLE");
    for (const url of ["127.0.0.1:8080", "ftp://x", "http://user:pass@x/", ""])
      expect(() => serverBase(url)).toThrow(/is no address of a server/);
  });

  test("a signal ends it with CANCELLED, before and within the answer", async () => {
    const stop = new AbortController();
    const open = serve(() => {
      const body = new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode(piece("a"))),
      });
      return new Response(body);
    });
    const pieces = streamCompletion(open, { messages: [] }, stop.signal);
    expect((await pieces.next()).value).toBe("a");
    stop.abort();
    expect((await failureOf(pieces.next())).code).toBe("CANCELLED");
    expect((await failureOf(answerOf(open, AbortSignal.abort()))).code).toBe("CANCELLED");
  });
});

test("the models of a server", async () => {
  const from = serve(() => Response.json({ object: "list", data: [{ id: "a" }, { id: "b" }] }));
  expect(await serverModels(from, never)).toEqual(["a", "b"]);
  await server!.stop(true);
  expect(
    (
      await failureOf(
        serverModels(
          serve(() => Response.json({})),
          never,
        ),
      )
    ).code,
  ).toBe("BAD_STREAM");
});
