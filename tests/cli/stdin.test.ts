/** Standard input without an end, or without line ends, is refused by its length, not by the memory. */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.join(import.meta.dir, "../..");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-stdin-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const magnet = (args: string[], stdin: "pipe" | number) =>
  Bun.spawn([process.execPath, path.join(root, "src/main.ts"), ...args], {
    env: { HOME: folder, PATH: "/usr/bin:/bin" },
    stdin,
    stdout: "pipe",
    stderr: "pipe",
  });

async function outcome(child: ReturnType<typeof magnet>) {
  const [stderr, code] = await Promise.all([new Response(child.stderr).text(), child.exited]);
  return { stderr, code };
}

test("keys import reads at most a key from an endless pipe", async () => {
  const zero = fs.openSync("/dev/zero", "r");
  const { stderr, code } = await outcome(magnet(["keys", "import", "-"], zero));
  fs.closeSync(zero);
  expect(stderr).toStartWith("INPUT_TOO_LARGE: ");
  expect(code).toBe(2);
});

test("several data prepare runs into one folder leave prepared data", async () => {
  const text = path.join(folder, "text.txt");
  const lines = Array.from({ length: 4000 }, (_, i) => `Line ${i} tells of ship ${i % 97}.\n`);
  fs.writeFileSync(text, lines.map((line, i) => (i % 20 === 0 ? `${line}\n` : line)).join(""));
  const tokenizer = path.join(folder, "tokenizer.json");
  const trained = magnet(
    ["tokenizer", "train", text, "--vocab-size", "300", "--out", tokenizer],
    "pipe",
  );
  expect(await outcome(trained)).toEqual({ stderr: expect.any(String), code: 0 });
  const out = path.join(folder, "data");
  const prepare = () =>
    magnet(["data", "prepare", text, "--tokenizer", tokenizer, "--out", out, "--quiet"], "pipe");
  const runs = await Promise.all([prepare(), prepare(), prepare()].map(outcome));
  expect(runs).toEqual(Array.from({ length: 3 }, () => ({ stderr: "", code: 0 })));
  expect(await outcome(magnet(["data", "inspect", out], "pipe"))).toMatchObject({ code: 0 });
  expect(fs.readdirSync(out).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});
