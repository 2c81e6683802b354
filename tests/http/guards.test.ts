/** Who is let in, and how much of the server one client may take. */
import { afterEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import { ApiKeys, loadApiKeys } from "../../src/http/serve/api-keys.ts";
import { RATE_CLIENTS_MAX } from "../../src/http/serve/limits.ts";
import { hostName, isLoopback } from "../../src/http/serve/origin-check.ts";
import { RateLimiter } from "../../src/http/serve/rate-limit.ts";
import type { StartServerOptions } from "../../src/http/serve/start-server.ts";
import { rejection } from "../native/rejection.ts";
import { fakeModel, saying, serve, until } from "./serve-fixture.ts";

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function start(options: Partial<StartServerOptions> = {}, answer = saying("hi")) {
  const server = await serve([await fakeModel(answer)], options);
  closing.push(() => server.close(0));
  return server;
}
const KEY = "sk-0123456789abcdef";
const ask = (url: string, init: RequestInit = {}, body: string | object = ASKED) =>
  fetch(`${url}/v1/completions`, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...init,
  });
const ASKED = { model: "fake", prompt: "x" };
const codeOf = async (response: Response) =>
  ((await response.json()) as { error: { code: string } }).error.code;

describe("keys", () => {
  test("a key is asked for everywhere but where the server is watched", async () => {
    const server = await start({ api_keys: ["another-key-0123456789", KEY] });
    const without = await ask(server.url);
    expect([without.status, without.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
    expect(await codeOf(without)).toBe("invalid_api_key");
    for (const wrong of [`${KEY}0`, KEY.slice(1), "x"])
      expect(
        (await ask(server.url, { headers: { authorization: `Bearer ${wrong}` } })).status,
      ).toBe(401);
    const right = await ask(server.url, { headers: { authorization: `Bearer ${KEY}` } });
    expect(right.status).toBe(200);
    for (const place of ["/metrics", "/v1/models", "/api/tags", "/api/version"])
      expect((await fetch(server.url + place)).status).toBe(401);
    for (const place of ["/", "/health", "/ready"])
      expect((await fetch(server.url + place)).status).toBe(200);
  });

  test("clients with different keys share nothing of the prefix cache", async () => {
    const scopes: string[] = [];
    const server = await start({ api_keys: ["another-key-0123456789", KEY] }, (request) => {
      scopes.push(request.cache_scope);
      return saying("hi")(request);
    });
    for (const key of [KEY, "another-key-0123456789", KEY])
      await ask(server.url, { headers: { authorization: `Bearer ${key}` } });
    expect(scopes[0]).toBe(scopes[2]!);
    expect(scopes[0]).not.toBe(scopes[1]!);
    expect(scopes).not.toContain("");
  });

  test("the log names a key by its hash, and never a key, a prompt or an answer", async () => {
    const server = await start({ api_keys: [KEY] }, saying("a very private answer"));
    const body = { ...ASKED, prompt: "a very private question" };
    await ask(server.url, { headers: { authorization: `Bearer ${KEY}` } }, body);
    await ask(server.url, { headers: { authorization: "Bearer a-guessed-key-0123456789" } });
    await fetch(`${server.url}/a-very-private-path?with=a-very-private-query`);
    await until(() => server.log.lines.filter(({ event }) => event === "request").length === 3);
    const text = JSON.stringify(server.log.lines);
    expect(text).toContain(
      `key ${new Bun.CryptoHasher("sha256").update(KEY).digest("hex").slice(0, 8)}`,
    );
    for (const secret of [KEY, "private", "guessed"]) expect(text).not.toContain(secret);
  });

  test("come from a file and the environment; a bad one is named by its place", async () => {
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "magnet-keys-")), "keys");
    fs.writeFileSync(file, `# ours\n${KEY}\r\n\n  another-key-0123456789  \n`);
    const environment = "third-key-0123456789, fourth-key-0123456789";
    const keys = await loadApiKeys({ file, environment });
    expect(keys).toHaveLength(4);
    expect(new ApiKeys(keys).find("another-key-0123456789")).toMatch(/^[0-9a-f]{8}$/);
    fs.writeFileSync(file, "# none\n");
    expect(await rejection(loadApiKeys({ file }))).toMatchObject({ code: "BAD_API_KEY" });
    expect(await rejection(loadApiKeys({ file: `${file}-no` }))).toMatchObject({
      code: "NOT_FOUND",
    });
    for (const bad of ["short", "with a blank in it", "k".repeat(600)])
      expect(() => new ApiKeys([KEY, bad])).toThrow("key 2 is not usable");
  });

  test("another machine's address needs a key", async () => {
    const error = await rejection(start({ host: "0.0.0.0" }));
    expect(error).toBeInstanceOf(MagnetError);
    expect(error).toMatchObject({ code: "KEY_NEEDED", exit: "config" });
    const server = await start({ host: "0.0.0.0", api_keys: [KEY] });
    const port = new URL(server.url).port;
    // With a key the name does not matter: it may be any of the machine's.
    const headers = { host: "models.example.org", authorization: `Bearer ${KEY}` };
    expect((await ask(`http://127.0.0.1:${port}`, { headers })).status).toBe(200);
  });
});

describe("browsers", () => {
  test("a loopback server answers only to names of this machine", async () => {
    const server = await start();
    const status = async (host: string) =>
      (await fetch(`${server.url}/health`, { headers: { host } })).status;
    for (const host of ["localhost", "localhost:9", "127.0.0.1:80", "[::1]:1", "a.localhost"])
      expect([host, await status(host)]).toEqual([host, 200]);
    for (const host of [
      "evil.example",
      "127.0.0.1.evil.example",
      "localhost.evil.example:80",
      "0.0.0.0",
    ])
      expect([host, await status(host)]).toEqual([host, 403]);
  });

  test("names of this machine", () => {
    const ours = ["localhost", "LOCALHOST.", "127.3.2.1", "::1", "[::1]", "::ffff:127.0.0.1"];
    for (const name of ours) expect([name, isLoopback(name)]).toEqual([name, true]);
    const foreign = ["", "0.0.0.0", "::", "128.0.0.1", "127.0.0.1.example", "1127.0.0.1", "::2"];
    for (const name of foreign) expect([name, isLoopback(name)]).toEqual([name, false]);
    expect(hostName("[::1]:80")).toBe("[::1]");
    for (const bad of ["", "a:b", "a/b", "a b", "[::1", "a:123456"])
      expect([bad, hostName(bad)]).toEqual([bad, undefined]);
  });

  test("pages of other sites are refused, also where they need no preflight", async () => {
    const server = await start();
    const from = (origin: string) => ask(server.url, { headers: { origin } });
    for (const origin of ["https://evil.example", "null", "http://localhost:1", "file://"]) {
      const response = await from(origin);
      expect([origin, response.status]).toEqual([origin, 403]);
      expect(response.headers.get("access-control-allow-origin")).toBeNull();
    }
    expect((await from(server.url)).status).toBe(200);
  });

  test("an allowed origin gets its preflight and its answers, errors too", async () => {
    const origin = "https://app.example.org";
    const server = await start({ cors_origins: [origin], api_keys: [KEY] });
    const preflight = await fetch(`${server.url}/v1/chat/completions`, {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-stainless-os",
      },
    });
    expect(preflight.status).toBe(204);
    expect(Object.fromEntries(preflight.headers)).toMatchObject({
      "access-control-allow-origin": origin,
      "access-control-allow-headers": "authorization, content-type, x-stainless-os",
      "access-control-allow-methods": "GET, HEAD, POST, OPTIONS",
      vary: "Origin",
    });
    const refused = await ask(server.url, { headers: { origin } });
    expect(refused.status).toBe(401);
    expect(refused.headers.get("access-control-allow-origin")).toBe(origin);
    const headers = { origin, authorization: `Bearer ${KEY}` };
    const streamed = await ask(server.url, { headers }, { ...ASKED, stream: true });
    expect(streamed.headers.get("access-control-allow-origin")).toBe(origin);
    const other = { headers: { origin: "https://app.example.org.evil.example" } };
    expect((await ask(server.url, other)).status).toBe(403);
  });

  test("what is no origin is refused when the server starts", async () => {
    for (const bad of ["app.example.org", "https://a.example/", "https://a.example/x", ""])
      expect(await rejection(start({ cors_origins: [bad] }))).toMatchObject({ code: "BAD_ORIGIN" });
  });
});

describe("rates", () => {
  test("a bucket fills with time, up to a minute's worth", () => {
    const rate = new RateLimiter(6);
    for (let i = 0; i < 6; i++) expect(rate.take("a", 1000)).toBe(0);
    expect(rate.take("a", 1000)).toBeCloseTo(10);
    expect(rate.take("b", 1000)).toBe(0);
    expect(rate.take("a", 6000)).toBeCloseTo(5);
    expect(rate.take("a", 11_000)).toBe(0);
    expect(rate.take("a", 5000)).toBeGreaterThan(0); // a clock that goes back gives nothing
    let taken = 0;
    while (rate.take("a", 10_000_000) === 0) taken++;
    expect(taken).toBe(6);
  });

  test("strangers do not fill the memory", () => {
    const rate = new RateLimiter(1);
    for (let i = 0; i < RATE_CLIENTS_MAX + 500; i++) rate.take(`address ${i}`, 0);
    expect(rate.clients).toBe(RATE_CLIENTS_MAX);
    rate.take("late", 60_000);
    expect(rate.clients).toBe(1);
  });

  test("requests of one client beyond its rate get 429 with Retry-After; /health does not", async () => {
    let now_ms = 5_000_000;
    const server = await start({
      limits: { requests_per_minute: 2 },
      clock: { now_ms: () => now_ms },
    });
    expect((await ask(server.url)).status).toBe(200);
    expect((await ask(server.url)).status).toBe(200);
    const third = await ask(server.url);
    expect([third.status, third.headers.get("retry-after")]).toEqual([429, "30"]);
    expect(await codeOf(third)).toBe("rate_limit_exceeded");
    for (let i = 0; i < 5; i++) expect((await fetch(`${server.url}/health`)).status).toBe(200);
    now_ms += 30_000;
    expect((await ask(server.url)).status).toBe(200);
  });

  test("requests at once: one client's, and all together", async () => {
    const gate = Promise.withResolvers<void>();
    const slow: ReturnType<typeof saying> = async function* (request) {
      await gate.promise;
      return yield* saying("x")(request);
    };
    const own = await start({ limits: { requests_per_client: 2 } }, slow);
    const all = await start({ limits: { requests_max: 2 } }, slow);
    const running = [own, own, all, all].map(({ url }) => ask(url));
    await until(() => own.app.in_flight === 2 && all.app.in_flight === 2);
    const refusals = await Promise.all([ask(own.url), ask(all.url)]);
    expect(refusals.map(({ status }) => status)).toEqual([429, 503]);
    expect(refusals.every(({ headers }) => headers.get("retry-after") === "1")).toBe(true);
    expect(await Promise.all(refusals.map(codeOf))).toEqual(["too_many_requests", "server_busy"]);
    expect((await fetch(`${all.url}/health`)).status).toBe(200);
    gate.resolve();
    for (const response of await Promise.all(running)) expect(response.status).toBe(200);
  });
});

/** Sends bytes as they are and gives all that comes back until the server closes. */
function raw(url: string, bytes: string): Promise<string> {
  const { port, hostname } = new URL(url);
  return new Promise((resolve) => {
    let answer = "";
    const socket = net.connect(Number(port), hostname, () => socket.write(bytes));
    socket.on("data", (data) => {
      answer += data;
    });
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(answer));
  });
}

describe("sizes and times", () => {
  test("a body beyond the limit is refused, whether its length is told or not", async () => {
    const server = await start({ limits: { body_bytes: 1000 } });
    const long = { ...ASKED, prompt: "x".repeat(1000) };
    const told = await ask(server.url, {}, long);
    expect([told.status, await codeOf(told)]).toEqual([413, "request_too_large"]);
    const chunks = "64\r\n".concat("x".repeat(100), "\r\n").repeat(20);
    const head =
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n";
    const untold = await raw(server.url, `${head}Connection: close\r\n\r\n${chunks}0\r\n\r\n`);
    expect(untold).toStartWith("HTTP/1.1 413");
    expect((await ask(server.url)).status).toBe(200);
  });

  test("a body that drips in is given up", async () => {
    const server = await start({ limits: { body_ms: 50 } });
    const head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    const answer = await raw(server.url, `${head}Content-Length: 100\r\n\r\n{"model":`);
    expect(answer).toStartWith("HTTP/1.1 408");
    await until(() => server.app.in_flight === 0);
  });

  test("endless headers are refused", async () => {
    const server = await start();
    const head = `GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ${"a".repeat(40_000)}\r\n\r\n`;
    expect(await raw(server.url, head)).toStartWith("HTTP/1.1 431");
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
  });
});
