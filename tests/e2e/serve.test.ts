/**
 * `magnet serve` with nothing but the binary, the repository hidden and HOME empty: both APIs, keys,
 * the chat command as its client, a reader that goes away, and an end that leaves nothing behind.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import { type Place, trainedPlace } from "./binary.ts";

const KEY = "an-api-key-of-this-test";
let place: Place;
let server: ReturnType<Place["start"]>;
let url: string;

beforeAll(async () => {
  place = await trainedPlace();
  fs.writeFileSync(place.at("keys"), `${KEY}\n`);
  const args = ["serve", "m.gguf", "run", "--port", "0", "--api-key-file", "keys"];
  server = place.start([...args, "--ready-file", "ready.json", "--json"]);
  const reader = server.stdout.getReader();
  const { value } = await reader.read();
  if (value === undefined) throw new Error(await new Response(server.stderr).text());
  reader.releaseLock();
  url = (JSON.parse(new TextDecoder().decode(value)) as { url: string }).url;
}, 60_000);
afterAll(() => {
  server.kill("SIGKILL");
  place.remove();
});

const headers = { authorization: `Bearer ${KEY}`, "content-type": "application/json" };
const post = (route: string, body: object) =>
  fetch(`${url}${route}`, { method: "POST", headers, body: JSON.stringify(body) });

test("OpenAI's chat, whole and streamed, gives one text for one seed", async () => {
  const messages = [{ role: "user", content: "w5x1" }];
  const asked = { model: "m", messages, seed: 3, max_tokens: 8 };
  const whole = (await (await post("/v1/chat/completions", asked)).json()) as {
    choices: { message: { content: string }; finish_reason: string }[];
  };
  const streamed = await (await post("/v1/chat/completions", { ...asked, stream: true })).text();
  const events = streamed.split("\n\n").filter((event) => event !== "");
  expect(events.at(-1)).toBe("data: [DONE]");
  const pieces = events.slice(0, -1).map((event) => JSON.parse(event.slice(6)).choices[0]);
  const text = pieces.map((choice) => choice?.delta.content ?? "").join("");
  expect(text).toBe(whole.choices[0]!.message.content);
  expect(pieces.filter((choice) => choice?.finish_reason).length).toBe(1);
});

test("Ollama's chat and listing, of both models", async () => {
  const tags = (await (await fetch(`${url}/api/tags`, { headers })).json()) as {
    models: { name: string }[];
  };
  expect(tags.models.map(({ name }) => name.replace(/:latest$/, "")).sort()).toEqual(["m", "run"]);
  const body = { model: "run", prompt: "w5x1", stream: false, options: { num_predict: 4 } };
  const answer = (await (await post("/api/generate", body)).json()) as { done: boolean };
  expect(answer.done).toBe(true);
});

test("no key, no answer; health and readiness need none", async () => {
  expect((await fetch(`${url}/v1/models`)).status).toBe(401);
  for (const route of ["/health", "/ready"])
    expect((await fetch(`${url}${route}`)).status).toBe(200);
});

test("chat talks with it, one turn a line", async () => {
  const args = ["chat", "m", "--url", url, "--api-key-file", "keys", "--max-tokens", "3"];
  const { code, stdout, stderr } = await place.run(args, { stdin: "w5x1\nw7x2\n/stats\n" });
  expect(code).toBe(0);
  expect(stdout.split("\n").length).toBeGreaterThan(2);
  expect(stderr).toContain("tokens/s, first token after");
  const wrong = ["chat", "nobody", "--url", url, "--api-key-file", "keys", "--prompt", "x"];
  expect(await place.failure(wrong)).toEqual({ code: "NO_MODEL", exit: 2 });
});

test("readers that go away cost nothing that stays", async () => {
  const metric = async (name: string) => {
    const text = await (await fetch(`${url}/metrics`, { headers })).text();
    const lines = text.split("\n").filter((line) => line.startsWith(name));
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  };
  const go = new AbortController();
  const body = JSON.stringify({ model: "run", prompt: "w5", stream: true, n: 8 });
  const requests = Array.from({ length: 8 }, async () => {
    const options = { method: "POST", headers, body, signal: go.signal };
    const response = await fetch(`${url}/v1/completions`, options);
    await response.body!.getReader().read();
  });
  await Promise.all(requests);
  go.abort();
  // The request that asks is itself in flight.
  while ((await metric("magnet_http_requests_in_flight")) > 1);
  expect((await post("/v1/completions", { model: "run", prompt: "w5" })).status).toBe(200);
});

test("SIGTERM ends it with exit code 0, and its port is free", async () => {
  server.kill("SIGTERM");
  expect(await server.exited).toBe(0);
  await expect(fetch(`${url}/health`)).rejects.toThrow();
  const again = place.start(["serve", "m.gguf", "--port", new URL(url).port, "--json"]);
  const reader = again.stdout.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toContain(url);
  again.kill("SIGTERM");
  expect(await again.exited).toBe(0);
});
