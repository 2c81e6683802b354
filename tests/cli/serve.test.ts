/** `magnet serve` as people start and stop it: banner, ready file, refusals, signals. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { serverModels, streamCompletion } from "../../src/http/completion-client.ts";
import { PRESETS } from "../../src/model/config.ts";
import { randomModelFile } from "../../src/model/random-model.ts";
import { errorDocument, MAIN, magnet, makeHome } from "./magnet.ts";

let home: string;
let model: string;
const at = (name: string) => path.join(home, name);
const never = new AbortController().signal;

beforeAll(async () => {
  home = makeHome();
  const config = { ...PRESETS.demo!, vocab_size: 2000, context: 100_000 };
  fs.renameSync(await randomModelFile({ config, folder: home }), at("tiny.gguf"));
  model = at("tiny.gguf");
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

type Child = Bun.Subprocess<"pipe", "pipe", "pipe">;
let children: Child[] = [];
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(children.map((child) => child.exited));
  children = [];
});

/** Starts a server and reads stdout until `ready` or the document. */
async function serve(...args: string[]): Promise<{ child: Child; shown: string; url: string }> {
  const child = Bun.spawn([...MAIN.command, "serve", "--port", "0", ...args], {
    env: { PATH: "/usr/bin:/bin", HOME: home },
    ...({ stdin: "pipe", stdout: "pipe", stderr: "pipe" } as const),
  });
  children.push(child);
  let shown = "";
  const decoder = new TextDecoder();
  for await (const bytes of child.stdout) {
    shown += decoder.decode(bytes, { stream: true });
    if (/^ready$/m.test(shown) || /^\{.*\}$/m.test(shown)) {
      const url = /http:\/\/[\d.]+:\d+/.exec(shown)![0];
      return { child, shown, url };
    }
  }
  throw new Error(`not ready: ${shown} ${await new Response(child.stderr).text()}`);
}

async function ended(child: Child): Promise<{ code: number; stderr: string }> {
  const stderr = await new Response(child.stderr).text();
  return { code: await child.exited, stderr };
}

describe("what it says", () => {
  test("the banner for people", async () => {
    const { child, shown, url } = await serve(model, "--context", "100", "--kv-memory", "2MiB");
    const lines = shown.replaceAll(url, "URL").trimEnd().split("\n");
    const own = (line: string) =>
      line
        .replace(/^(cpu +)\w+, \d+ threads$/, "$1PATH")
        .replace(/^(memory +)[\d.]+ MiB now$/, "$1SIZE");
    expect(lines.map(own)).toEqual([
      "model     tiny: gguf, 669.7 KiB, 1.3M parameters, context 100",
      "          2.0 MiB for keys and values of 2048 tokens",
      "memory    SIZE",
      "cpu       PATH",
      "openai    URL/v1",
      "ollama    URL",
      "metrics   URL/metrics",
      "key       none needed",
      `try       curl URL/v1/chat/completions -H 'content-type: application/json' -d '{"model":"tiny","messages":[{"role":"user","content":"Hello"}]}'`,
      "ready",
    ]);
    child.kill("SIGTERM");
    const { code, stderr } = await ended(child);
    expect(code).toBe(0);
    expect(stderr).toEndWith("stopped\n");
  });

  test("one document for scripts, and the ready file", async () => {
    const file = at("ready.json");
    const names = ["--name", "first", "--name", "second"];
    const { child, shown, url } = await serve(
      model,
      model,
      ...names,
      "--json",
      "--ready-file",
      file,
    );
    const document = JSON.parse(shown);
    expect(Object.keys(document).join()).toBe(
      "schema,url,openai_url,ollama_url,models,api_keys,resident_bytes,engine,device,cpu_path,threads,pid",
    );
    expect(document).toMatchObject({ schema: "magnet.serve/1", url, api_keys: 0, pid: child.pid });
    expect(document.models.map(({ id }: { id: string }) => id)).toEqual(["first", "second"]);
    expect(JSON.parse(fs.readFileSync(file, "utf8"))).toEqual({
      schema: "magnet.ready/1",
      url,
      models: ["first", "second"],
      pid: child.pid,
    });
    expect(await serverModels({ url }, never)).toEqual(["first", "second"]);
    child.kill("SIGINT");
    expect((await ended(child)).code).toBe(0);
  });
});

test("a file of any name gets a name that requests can use", async () => {
  fs.copyFileSync(model, at("Größe v1.5 (2).gguf"));
  const { shown, child } = await serve(at("Größe v1.5 (2).gguf"));
  expect(shown).toContain("model     Gr-e-v1.5-2-: gguf");
  child.kill("SIGTERM");
  expect((await ended(child)).code).toBe(0);
});

describe("refused with its reason", () => {
  const run = (...args: string[]) => magnet(MAIN, home, ["serve", "--json", ...args]);

  test("the port of another server", async () => {
    const { url } = await serve(model);
    const { port } = new URL(url);
    const error = errorDocument(await run(model, "--port", port));
    expect(error.code).toBe("PORT_IN_USE");
    expect(error.message).toBe(`another program listens on 127.0.0.1:${port}`);
  });

  test.each([
    ["no model", [], "MISSING_ARGUMENT", 2],
    ["one that is not there", ["absent.gguf"], "NOT_FOUND", 1],
    ["one that is none", ["garbage.gguf"], "BAD_FORMAT", 6],
    ["another machine's address without keys", ["tiny.gguf", "--host", "0.0.0.0"], "KEY_NEEDED", 3],
    [
      "an address of nobody",
      ["tiny.gguf", "--host", "192.0.2.1", "--api-key-file", "keys"],
      "BAD_ADDRESS",
      1,
    ],
    ["an empty key file", ["tiny.gguf", "--api-key-file", "empty"], "BAD_API_KEY", 3],
    ["the same name twice", ["tiny.gguf", "tiny.gguf"], "BAD_MODEL_NAME", 2],
    ["more names than models", ["tiny.gguf", "--name", "a", "--name", "b"], "BAD_VALUE", 2],
    ["a port that is none", ["tiny.gguf", "--port", "70000"], "BAD_VALUE", 2],
    ["a size that is none", ["tiny.gguf", "--kv-memory", "much"], "BAD_VALUE", 2],
    ["more memory than there is", ["tiny.gguf", "--kv-memory", "900TiB"], "NOT_ENOUGH_MEMORY", 7],
    ["an origin that is none", ["tiny.gguf", "--cors-origin", "example.org"], "BAD_ORIGIN", 3],
  ])("%s", async (_, args, code, exit) => {
    fs.writeFileSync(at("garbage.gguf"), "this is no model");
    fs.writeFileSync(at("empty"), "# no key\n");
    fs.writeFileSync(at("sparse.gguf"), "GGUF");
    fs.truncateSync(at("sparse.gguf"), 8 * 2 ** 40); // takes no place on the disk
    fs.writeFileSync(at("keys"), "0123456789abcdef\n");
    const outcome = await run(...args, ...(args.includes("--port") ? [] : ["--port", "0"]));
    const error = errorDocument(outcome);
    expect({ code: error.code, exit: outcome.code }).toEqual({ code, exit });
    expect(error.hint).not.toBeNull();
  });
});

test("with a key file, only who has a key is answered", async () => {
  fs.writeFileSync(at("keys"), "# ours\n0123456789abcdef\n");
  const { shown, url } = await serve(model, "--api-key-file", at("keys"));
  expect(shown).toContain("key       needed (1 known)");
  expect(await serverModels({ url, api_key: "0123456789abcdef" }, never)).toEqual(["tiny"]);
  const chat = ["chat", "--url", url, "--prompt", "x", "--max-tokens", "2", "--json"];
  const without = await magnet(MAIN, home, chat);
  expect(without.code).toBe(5);
  expect(errorDocument(without).code).toBe("KEY_REFUSED");
  const given = [...chat, "--api-key-file", at("keys")];
  expect((await magnet(MAIN, home, given)).stdout).toStartWith(
    '{"schema":"magnet.chat/1","model":"tiny"',
  );
  const env = { MAGNET_API_KEY: "0123456789abcdef" };
  expect((await magnet(MAIN, home, chat, { env })).code).toBe(0);
});

describe("stopping", () => {
  /** A stream that is under way. */
  async function streaming(url: string, max_tokens: number) {
    const body = { model: "tiny", prompt: "on and on", max_tokens };
    const pieces = streamCompletion({ url }, body, never);
    await pieces.next();
    return pieces;
  }
  async function restOf(pieces: AsyncGenerator<string, { finish_reason: string }>) {
    for (;;) {
      const next = await pieces.next();
      if (next.done) return next.value.finish_reason;
    }
  }

  test("a running answer may end; new requests are refused", async () => {
    const { child, url } = await serve(model, "--grace", "600");
    const pieces = await streaming(url, 2000);
    child.kill("SIGTERM");
    expect(await restOf(pieces)).toMatch(/length|stop/);
    const { code, stderr } = await ended(child);
    expect(code).toBe(0);
    expect(stderr).toContain("1 requests are running: they may end");
    await expect(fetch(url)).rejects.toThrow();
  });

  test("after the grace period it is cut off, with an error and not as if it were whole", async () => {
    const { child, url } = await serve(model, "--grace", "0");
    const pieces = await streaming(url, 90_000);
    child.kill("SIGTERM");
    await expect(restOf(pieces)).rejects.toThrow();
    expect((await ended(child)).code).toBe(0);
  });

  test("a second signal ends at once", async () => {
    const { child, url } = await serve(model, "--grace", "600");
    await streaming(url, 90_000);
    const { stderr } = child;
    child.kill("SIGTERM");
    let said = "";
    for await (const bytes of stderr) {
      said += new TextDecoder().decode(bytes);
      if (said.includes("stopping; a second signal ends at once")) break;
    }
    child.kill("SIGTERM");
    expect(await child.exited).toBe(130);
  });

  test("--attached leaves with the program that started it", async () => {
    const { child } = await serve(model, "--attached");
    child.stdin.end();
    expect(await child.exited).toBe(0);
  });
});
