/** Who answers, what it may cost, and that answers are recorded and replayed. */
import { afterEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseTeacher } from "../../../src/research/teacher/settings.ts";
import { openTeacher } from "../../../src/research/teacher/teacher.ts";
import { type Script, startTeacherServer } from "./server.ts";

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

function server(script: Script) {
  const started = startTeacherServer(script);
  ends.push(started.stop);
  return started;
}

const question = (prompt: string) => ({
  ...{ system: "s", prompt, answer_tokens: 100, temperature: 0.5, seed: 3 },
});
const openai = (base_url: string, more: object = {}) =>
  parseTeacher({ backend: "openai", model: "m", base_url, ...more });

describe("backends", () => {
  test("an OpenAI-compatible server gets the question, the seed and the key", async () => {
    const { base_url, asked } = server(() => "hello");
    const teacher = await openTeacher(openai(base_url), { env: { OPENAI_API_KEY: "k1" } });
    expect((await teacher.ask(question("why"))).text).toBe("hello");
    expect(asked[0]!.path).toBe("/v1/chat/completions");
    expect(asked[0]!.headers.get("authorization")).toBe("Bearer k1");
    expect(asked[0]!.body).toMatchObject({ model: "m", seed: 3, temperature: 0.5 });
    expect(asked[0]!.body.messages.map((m) => m.role)).toEqual(["system", "user"]);
    expect(teacher.use).toMatchObject({ calls: 1, failed: 0, input_tokens: 30, output_tokens: 10 });
  });

  test("Claude is asked over its own API with its own key", async () => {
    const { base_url, asked } = server(() => "bonjour");
    const settings = parseTeacher({ backend: "claude", model: "m", base_url });
    const teacher = await openTeacher(settings, { env: { ANTHROPIC_API_KEY: "k2" } });
    expect((await teacher.ask(question("why"))).text).toBe("bonjour");
    expect(asked[0]!.path).toBe("/v1/messages");
    expect(asked[0]!.headers.get("x-api-key")).toBe("k2");
  });

  test("no key, a key without TLS, and a refused key each say what to do", async () => {
    const claude = parseTeacher({ backend: "claude", model: "m" });
    expect(openTeacher(claude, { env: {} })).rejects.toMatchObject({ code: "NO_TEACHER_KEY" });
    const far = openai("http://teacher.example/v1");
    expect(openTeacher(far, { env: { OPENAI_API_KEY: "k" } })).rejects.toMatchObject({
      code: "TEACHER_NOT_SECRET",
    });
    const { base_url } = server(() => Response.json({ error: { message: "no" } }, { status: 401 }));
    const refused = await openTeacher(openai(base_url), { env: {} });
    expect(refused.ask(question("why"))).rejects.toMatchObject({
      code: "TEACHER_FAILED",
      retryable: false,
      exit: "auth",
    });
  });

  test("a key goes to no host that only a task file names", async () => {
    const far = openai("https://teacher.example/v1", { key_env: "OTHER_KEY" });
    const env = { OTHER_KEY: "k" };
    expect(openTeacher(far, { env })).rejects.toMatchObject({ code: "TEACHER_NOT_TRUSTED" });
    await openTeacher(far, { env, trusted_hosts: ["teacher.example"] });
    const lured = parseTeacher({ ...far, backend: "claude", key_env: undefined });
    expect(openTeacher(lured, { env: { ANTHROPIC_API_KEY: "k" } })).rejects.toMatchObject({
      code: "TEACHER_NOT_TRUSTED",
    });
    const keyless = openai("https://teacher.example/v1");
    await openTeacher(keyless, { env: {} });
  });

  test("a redirect is not followed, so the key stays where it belongs", async () => {
    const other = server(() => "stolen");
    const { base_url } = server(() => Response.redirect(`${other.base_url}/chat/completions`, 307));
    const teacher = await openTeacher(openai(base_url), { env: { OPENAI_API_KEY: "k" } });
    expect(teacher.ask(question("why"))).rejects.toMatchObject({ code: "TEACHER_FAILED" });
    await teacher.ask(question("why")).catch(() => undefined);
    expect(other.asked).toHaveLength(0);
  }, 30_000);

  test("an endless answer ends at the limit", async () => {
    const flood = () =>
      new Response(new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(65_536)) }), {
        headers: { "content-type": "application/json" },
      });
    const { base_url } = server(flood);
    const teacher = await openTeacher(openai(base_url), { env: {} });
    expect(teacher.ask(question("why"))).rejects.toMatchObject({ code: "TEACHER_FAILED" });
    await teacher.ask(question("why")).catch(() => undefined);
  }, 30_000);
});

describe("caps", () => {
  test("tokens: a call that could exceed them is not made", async () => {
    const { base_url, asked } = server(() => "x");
    const teacher = await openTeacher(openai(base_url, { tokens_max: 150 }), { env: {} });
    await teacher.ask(question("a"));
    expect(teacher.ask(question("b".repeat(100)))).rejects.toMatchObject({ code: "TEACHER_SPENT" });
    expect(asked).toHaveLength(1);
  });

  test("money: counted by the given prices", async () => {
    const { base_url } = server(() => "x");
    const prices = { price_input_usd_per_mtok: 3, price_output_usd_per_mtok: 15 };
    const settings = openai(base_url, { ...prices, cost_max_usd: 0.002 });
    const teacher = await openTeacher(settings, { env: {} });
    await teacher.ask(question("a"));
    expect(teacher.use.cost_usd).toBeCloseTo((30 * 3 + 10 * 15) / 1e6, 12);
    await teacher.ask(question("a"));
    expect(teacher.ask(question("b".repeat(2000)))).rejects.toMatchObject({
      code: "TEACHER_SPENT",
    });
  });

  test("a server that does not count is not free", async () => {
    const body = {
      ...{ id: "c", object: "chat.completion", created: 1, model: "m" },
      choices: [
        { index: 0, finish_reason: "stop", message: { role: "assistant", content: "abcd" } },
      ],
    };
    const { base_url } = server(() => Response.json(body));
    const teacher = await openTeacher(openai(base_url), { env: {} });
    await teacher.ask(question("why"));
    expect(teacher.use.input_tokens).toBeGreaterThan(0);
    expect(teacher.use.output_tokens).toBeGreaterThan(0);
  });
});

describe("recording", () => {
  test("a recorded run is replayed without a server, and an unknown question is an error", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-teacher-"));
    ends.push(() => fs.rmSync(folder, { recursive: true, force: true }));
    const file = path.join(folder, "answers.jsonl");
    const { base_url } = server((_, i) => `answer ${i}`);
    const first = await openTeacher(openai(base_url, { record: file }), { env: {} });
    for (const q of ["a", "b", "a"]) await first.ask(question(q));
    const again = await openTeacher(openai(base_url, { replay: file }), { env: {} });
    const texts = [];
    for (const q of ["a", "a", "b"]) texts.push((await again.ask(question(q))).text);
    expect(texts).toEqual(["answer 0", "answer 2", "answer 1"]);
    expect(again.use).toEqual(first.use);
    expect(again.ask(question("c"))).rejects.toMatchObject({ code: "NOT_RECORDED" });
    fs.appendFileSync(file, "garbage\n");
    expect(openTeacher(openai(base_url, { replay: file }), { env: {} })).rejects.toMatchObject({
      code: "BAD_RECORDING",
    });
  });
});

test("settings name the field that is wrong", () => {
  const bad = (value: object) => {
    try {
      parseTeacher({ backend: "openai", model: "m", base_url: "http://127.0.0.1/v1", ...value });
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(bad({})).toBe("");
  expect(bad({ base_url: "file:///etc/passwd" })).toContain("base_url");
  expect(bad({ base_url: undefined })).toContain("base_url");
  expect(bad({ cost_max_usd: 1 })).toContain("prices");
  expect(bad({ tokens_max: 0 })).toContain("tokens_max");
  expect(bad({ record: "a", replay: "b" })).toContain("exclude");
  expect(bad({ backend: "oracle" })).toContain("backend");
});
