/**
 * The same bits for every thread count and on every CPU path, and from the same seed on every host.
 */
import { describe, expect, test } from "bun:test";
import path from "node:path";
import { sha256Hex } from "../../src/core/bytes.ts";
import { PRESETS } from "../../src/model/config.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { type CpuPath, cpuInfo } from "../../src/native/library.ts";

async function hashes(cpu: CpuPath, threads: number): Promise<string[]> {
  const child = Bun.spawn(
    [process.execPath, path.join(import.meta.dir, "trainer-child.ts"), String(threads)],
    { env: { ...process.env, MAGNET_CPU: cpu }, stdout: "pipe", stderr: "inherit" },
  );
  const text = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return JSON.parse(text) as string[];
}

describe("training gives the same bits", () => {
  test("for 1, 2, 3 and 7 threads, on every CPU path", async () => {
    const reference = await hashes("scalar", 1);
    expect(await hashes("scalar", 3)).toEqual(reference);
    const { paths } = cpuInfo();
    for (const cpu of paths.filter((name) => name !== "scalar"))
      for (const threads of [1, 2, 3, 7]) expect(await hashes(cpu, threads)).toEqual(reference);
    process.stderr.write(`paths compared: ${paths.join(", ")} (what this CPU has)\n`);
  }, 20_000);
});

describe("initialisation", () => {
  const options = { batch: 1, context: 8, threads: 1 };
  const bits = (x: Float32Array) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);

  test("a seed stands for exact bits, on every host", async () => {
    const trainer = Trainer.create(PRESETS.tiny!, options);
    await trainer.initialise(7n);
    // Known answer of this implementation: a change breaks the reproducibility of old runs.
    expect(sha256Hex(bits(trainer.params))).toBe(
      "27bae5633bcc932691fb5201a07d382c3bbcf78829a1038ab50d915fde2abe7f",
    );
    const first = trainer.params.slice();
    await trainer.initialise(2n ** 64n - 1n);
    expect(trainer.params).not.toEqual(first);
    await trainer.initialise(7n);
    expect(trainer.params).toEqual(first);
    trainer.close();
  });

  test("matrices are normal with standard deviation 0.02, norms are one", async () => {
    const trainer = Trainer.create(PRESETS.demo!, options);
    await trainer.initialise(1n);
    const embedding = trainer.params.subarray(0, 2048 * 256);
    let sum = 0;
    let squares = 0;
    let beyond = 0;
    for (const x of embedding) {
      sum += x;
      squares += x * x;
      if (Math.abs(x) > 0.04) beyond++;
    }
    const n = embedding.length;
    expect(Math.abs(sum / n)).toBeLessThan(1e-4);
    expect(Math.sqrt(squares / n)).toBeCloseTo(0.02, 4);
    expect(beyond / n).toBeCloseTo(0.0455, 2); // two standard deviations of a normal
    expect(trainer.params.at(-1)).toBe(1);
    trainer.close();
  });
});
