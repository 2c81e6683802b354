/** `magnet chat --schema`: answers follow it, in this process and from a server; bad ones are refused. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { PRESETS } from "../../src/model/config.ts";
import { randomModelFile } from "../../src/model/random-model.ts";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
let model: string;
const at = (name: string) => path.join(home, name);
const SCHEMA = {
  type: "object",
  properties: {
    size: { type: "integer", minimum: 1, maximum: 9 },
    kind: { enum: ["whale", "ship"] },
  },
  required: ["size", "kind"],
};

beforeAll(async () => {
  home = makeHome();
  const config = { ...PRESETS.demo!, vocab_size: 2000 };
  model = await randomModelFile({ config, folder: home });
  fs.writeFileSync(at("schema.json"), JSON.stringify(SCHEMA));
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

const ask = (...args: string[]) =>
  magnet(MAIN, home, ["chat", "--prompt", "x", "--json", "--schema", at("schema.json"), ...args]);

/** The model's weights are noise: only the constraint can make this. */
function checkAnswer(outcome: Awaited<ReturnType<typeof ask>>): void {
  const { text, finish_reason } = oneDocument(outcome);
  expect(finish_reason).toBe("stop");
  const { size, kind, ...rest } = JSON.parse(text as string);
  expect([1, 2, 3, 4, 5, 6, 7, 8, 9]).toContain(size);
  expect(["whale", "ship"]).toContain(kind);
  expect(rest).toEqual({});
}

test("a model in this process, for every seed", async () => {
  for (const seed of ["1", "2", "3"]) checkAnswer(await ask(model, "--seed", seed));
  checkAnswer(await ask(model, "--complete"));
});

test("a server", async () => {
  const server = Bun.spawn([...MAIN.command, "serve", model, "--port", "0", "--json"], {
    env: { PATH: "/usr/bin:/bin", HOME: home },
    stdout: "pipe",
    stderr: "ignore",
  });
  try {
    const { value } = await server.stdout.getReader().read();
    const { url } = JSON.parse(new TextDecoder().decode(value)) as { url: string };
    checkAnswer(await ask("--url", url));
    const completed = await ask("--url", url, "--complete");
    expect(errorDocument(completed).code).toBe("SCHEMA_NEEDS_CHAT");
  } finally {
    server.kill("SIGKILL");
    await server.exited;
  }
});

test.each([
  ["an unknown keyword", '{"type": "object", "if": {}}', "UNSUPPORTED_SCHEMA", "if"],
  ["no schema", '"text"', "BAD_SCHEMA", ""],
  ["no JSON", "{", "BAD_SCHEMA", "is not JSON"],
])("%s is refused before the model is opened", async (_, text, code, said) => {
  fs.writeFileSync(at("bad.json"), text);
  const args = ["chat", "absent.gguf", "--prompt", "x", "--json", "--schema", at("bad.json")];
  const error = errorDocument(await magnet(MAIN, home, args));
  expect(error.code).toBe(code);
  expect(error.message).toContain(said);
});
