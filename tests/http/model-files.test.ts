/** What tells a server's models apart. */
import { expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { modelFiles } from "../../src/http/serve/model-files.ts";
import { makeFolder } from "../agent/real-nodes.ts";

test("a file's size and places in it make its digest", async () => {
  const file = path.join(makeFolder(), "model.gguf");
  const bytes = new Uint8Array(200_000).fill(7);
  const digestOf = async (change: () => void) => {
    change();
    fs.writeFileSync(file, bytes);
    return (await modelFiles(file)).digest;
  };
  const first = await digestOf(() => undefined);
  expect(await modelFiles(file)).toEqual({ size_bytes: 200_000, digest: first });
  expect(first).toMatch(/^[0-9a-f]{64}$/);
  const seen = new Set([first]);
  for (const at of [0, 199_999, 91_500]) seen.add(await digestOf(() => void bytes[at]!++));
  expect(seen.size).toBe(4);
  fs.appendFileSync(file, "x");
  expect(seen).not.toContain((await modelFiles(file)).digest);
  fs.writeFileSync(file, "");
  expect((await modelFiles(file)).size_bytes).toBe(0);
});

test("a folder is its files with their names, those of folders in it too", async () => {
  const folder = makeFolder();
  fs.mkdirSync(path.join(folder, "part"));
  fs.writeFileSync(path.join(folder, "config.json"), "{}");
  fs.writeFileSync(path.join(folder, "part/weights"), "abcd");
  const first = await modelFiles(folder);
  expect(first.size_bytes).toBe(6);
  expect(await modelFiles(folder)).toEqual(first);
  fs.renameSync(path.join(folder, "part/weights"), path.join(folder, "part/other"));
  const renamed = await modelFiles(folder);
  expect([renamed.size_bytes, renamed.digest === first.digest]).toEqual([6, false]);
});
