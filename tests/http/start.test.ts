/** How a server begins and ends: the port first, then the models; nothing is left open. */
import { afterEach, expect, test } from "bun:test";
import { MagnetError } from "../../src/core/errors.ts";
import type { ModelSource } from "../../src/http/serve/model-host.ts";
import type { ServedModel } from "../../src/http/serve/served-model.ts";
import { type StartServerOptions, startServer } from "../../src/http/serve/start-server.ts";
import { rejection } from "../native/rejection.ts";
import { fakeModel, keptLog, saying, until } from "./serve-fixture.ts";

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function start(models: readonly ModelSource[], more: Partial<StartServerOptions> = {}) {
  const log = keptLog();
  const server = await startServer({ models, port: 0, version: "test", log, ...more });
  closing.push(() => server.close(0));
  return { ...server, log };
}
const ask = (url: string, model: string) =>
  fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify({ model, prompt: "x" }) });
const status = async (url: string) => (await fetch(url)).status;

/** Models whose loading the test lets go on, and how often each was closed. */
function gated(...ids: string[]) {
  const closed: string[] = [];
  const gates = ids.map(() => Promise.withResolvers<void>());
  const sources = ids.map((id, i) => ({
    id,
    load: async (): Promise<ServedModel> => {
      await gates[i]!.promise;
      return fakeModel(saying(id), { id, close: async () => void closed.push(id) });
    },
  }));
  return { sources, gates, closed };
}

test("while models load /health answers, /ready does not, and requests are told to wait", async () => {
  const { sources, gates } = gated("a", "b");
  const { url, ready } = await start(sources);
  expect(await status(`${url}/health`)).toBe(200);
  expect(await status(`${url}/ready`)).toBe(503);
  const early = await ask(url, "a");
  expect([early.status, early.headers.get("retry-after")]).toEqual([503, "2"]);
  expect(await early.json()).toMatchObject({ error: { code: "model_loading" } });
  expect((await ask(url, "c")).status).toBe(404);
  gates[0]!.resolve();
  const listed = async () =>
    ((await (await fetch(`${url}/v1/models`)).json()) as { data: unknown[] }).data.length;
  while ((await listed()) === 0);
  expect((await ask(url, "a")).status).toBe(200);
  expect(await status(`${url}/ready`)).toBe(503);
  gates[1]!.resolve();
  await ready;
  expect(await status(`${url}/ready`)).toBe(200);
  expect((await ask(url, "b:latest")).status).toBe(200);
});

test("a model that cannot be loaded fails the start; the others are closed with the server", async () => {
  const { sources, gates, closed } = gated("a");
  const failing = {
    id: "b",
    load: async () => {
      throw new MagnetError("BAD_FORMAT", "b is damaged");
    },
  };
  const server = await start([...sources, failing]);
  gates[0]!.resolve();
  expect(await rejection(server.ready)).toMatchObject({ code: "BAD_FORMAT" });
  expect(await status(`${server.url}/ready`)).toBe(503);
  await server.close();
  expect(closed).toEqual(["a"]);
});

test("closing twice closes once, also a model that comes when the server is gone", async () => {
  const { sources, gates, closed } = gated("a", "b");
  const server = await start(sources);
  gates[0]!.resolve();
  await until(() => server.log.lines.length > 0);
  while (
    ((await (await fetch(`${server.url}/v1/models`)).json()) as { data: [] }).data.length === 0
  );
  await Promise.all([server.close(0), server.close(0)]);
  expect(closed).toEqual(["a"]);
  gates[1]!.resolve();
  await server.ready;
  expect(closed).toEqual(["a", "b"]);
  expect(await rejection(fetch(`${server.url}/health`))).toBeInstanceOf(Error);
});

test("what cannot be served is refused before the port opens", async () => {
  const [a] = gated("a").sources;
  const first = await start([a!]);
  for (const [models, more, code] of [
    [[], {}, "NO_MODEL"],
    [[a!, a!], {}, "BAD_MODEL_NAME"],
    [[{ ...a!, id: "../x" }], {}, "BAD_MODEL_NAME"],
    [[{ ...a!, id: "x y" }], {}, "BAD_MODEL_NAME"],
    [[a!], { port: Number(new URL(first.url).port) }, "PORT_IN_USE"],
    [[a!], { host: "192.0.2.1", api_keys: ["0123456789abcdef"] }, "BAD_ADDRESS"],
    [[a!], { api_keys: ["short"] }, "BAD_API_KEY"],
  ] as const)
    expect([code, await rejection(start(models, more))]).toMatchObject([code, { code }]);
});
