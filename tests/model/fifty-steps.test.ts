/**
 * Fifty steps of models with every feature on end in the same checkpoint hash for every thread
 * count, on every CPU path, and for a run that was stopped in the middle and resumed.
 */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { type CpuPath, cpuInfo } from "../../src/native/library.ts";

const root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-fifty-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

async function hashes(cpu: CpuPath, threads: number, stop = 0): Promise<string[]> {
  const folder = fs.mkdtempSync(path.join(root, `${cpu}-${threads}-`));
  const file = path.join(import.meta.dir, "fifty-steps-child.ts");
  const child = Bun.spawn([process.execPath, file, String(threads), folder, String(stop)], {
    env: { ...process.env, MAGNET_CPU: cpu },
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return JSON.parse(text) as string[];
}

test("one checkpoint hash for 1, 2, 3 and 8 threads, every CPU path, and a resumed run", async () => {
  const { paths } = cpuInfo();
  const reference = await hashes(paths[0]!, 1);
  expect(new Set(reference).size).toBe(3);
  for (const threads of [2, 3, 8])
    expect(await hashes(paths[0]!, threads), `${paths[0]}, ${threads}`).toEqual(reference);
  expect(await hashes(paths[0]!, 2, 23), "resumed").toEqual(reference);
  for (const cpu of paths.slice(1)) expect(await hashes(cpu, 2), cpu).toEqual(reference);
  process.stderr.write(`paths compared: ${paths.join(", ")} (what this CPU has)\n`);
}, 60_000);
