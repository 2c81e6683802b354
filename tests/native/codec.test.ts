import { describe, expect, test } from "bun:test";
import path from "node:path";
import fc from "fast-check";
import { seededRandom } from "../../src/core/random.ts";
import * as codec from "../../src/native/codec.ts";
import { rejection } from "./rejection.ts";

const random = seededRandom(3);
const floats = (n: number, scale = 1) =>
  Float32Array.from({ length: n }, () => (random.next() * 2 - 1) * scale);
const BLOCK = 128;
const HEADER_BYTES = 24;

/** Scale of every block, as the decoder sees it. */
const scalesOf = (bytes: Uint8Array, n: number) =>
  new Float32Array(bytes.slice(HEADER_BYTES, HEADER_BYTES + Math.ceil(n / BLOCK) * 4).buffer);

describe("pseudo-gradient codec", () => {
  test("lengths are the documented ones", () => {
    expect(codec.DELTA_KINDS.map((kind) => codec.compressedBytes(kind, 1000))).toEqual([
      24 + 4000,
      24 + 2000,
      24 + 8 * 4 + 1000,
      24 + 8 * 4 + 500,
    ]);
    expect(codec.compressedBytes("int4", 1)).toBe(24 + 4 + 1);
  });

  test("fp32 is exact; int8 and int4 err by at most half a step of their block", async () => {
    for (const n of [1, 2, 127, 128, 129, 1001]) {
      const delta = floats(n, 0.02);
      const exact = await codec.decompressDelta(await codec.compressDelta(delta, "fp32"), n);
      expect(exact.delta).toEqual(delta);
      for (const kind of ["int8", "int4"] as const) {
        const bytes = await codec.compressDelta(delta, kind);
        const scales = scalesOf(bytes, n);
        const { delta: read, kind: seen } = await codec.decompressDelta(bytes, n);
        expect(seen).toBe(kind);
        for (let i = 0; i < n; i++) {
          const scale = scales[Math.floor(i / BLOCK)]!;
          expect(Math.abs(read[i]! - delta[i]!)).toBeLessThanOrEqual(scale * 0.500001);
        }
        const peak = delta.slice(0, BLOCK).reduce((a, x) => Math.max(a, Math.abs(x)), 0);
        expect(scales[0]).toBe(Math.fround(peak / (kind === "int8" ? 127 : 7)));
      }
    }
  });

  test("fp16 agrees with the runtime's own conversion, ties and subnormals included", async () => {
    const special = [0, -0, 1, -1, 65504, 6.1e-5, 5.96e-8, 2.98e-8, 2.99e-8, 1e-9, 1 + 2 ** -11];
    const ties = [1 + 3 * 2 ** -11, 2048.5, 2049, 2051, 2 ** -14 - 2 ** -26];
    const delta = Float32Array.from([
      ...special,
      ...ties,
      ...floats(5000, 8),
      ...floats(999, 1e-5),
    ]);
    const bytes = await codec.compressDelta(delta, "fp16");
    const expected = new Uint8Array(Float16Array.from(delta).buffer);
    expect(Buffer.compare(bytes.subarray(HEADER_BYTES), expected)).toBe(0);
    const { delta: read } = await codec.decompressDelta(bytes, delta.length);
    expect(read).toEqual(Float32Array.from(Float16Array.from(delta)));
  });

  test("zeros and subnormal blocks survive", async () => {
    const delta = new Float32Array(300);
    delta[200] = 1e-44;
    for (const kind of codec.DELTA_KINDS) {
      const residual = new Float32Array(300);
      const bytes = await codec.compressDelta(delta, kind, { residual });
      const { delta: read } = await codec.decompressDelta(bytes, 300);
      for (let i = 0; i < 300; i++) expect(read[i]! + residual[i]!).toBe(delta[i]!);
    }
  });

  test("error feedback: what is sent plus what is kept is what was given, each round", async () => {
    const n = 500;
    const delta = floats(n, 0.01);
    for (const kind of ["fp16", "int8", "int4"] as const) {
      const residual = floats(n, 0.001);
      const before = residual.slice();
      const bytes = await codec.compressDelta(delta, kind, { residual });
      const { delta: sent } = await codec.decompressDelta(bytes, n);
      for (let i = 0; i < n; i++)
        expect(sent[i]! + residual[i]!).toBeCloseTo(Math.fround(delta[i]! + before[i]!), 7);
    }
  });

  test("int4 with error feedback: the average sent approaches a constant delta as 1/rounds", async () => {
    const n = 1024;
    const delta = floats(n, 0.01);
    const residual = new Float32Array(n);
    const total = new Float64Array(n);
    let worst_without = 0;
    const plain = await codec.decompressDelta(await codec.compressDelta(delta, "int4"), n);
    for (let i = 0; i < n; i++)
      worst_without = Math.max(worst_without, Math.abs(plain.delta[i]! - delta[i]!));
    const rounds = 100;
    for (let r = 0; r < rounds; r++) {
      const bytes = await codec.compressDelta(delta, "int4", { residual });
      const { delta: sent } = await codec.decompressDelta(bytes, n);
      for (let i = 0; i < n; i++) total[i]! += sent[i]!;
    }
    let worst = 0;
    for (let i = 0; i < n; i++) worst = Math.max(worst, Math.abs(total[i]! / rounds - delta[i]!));
    // A residual never exceeds half a step (0.01 * 1.2 / 7 / 2), so the average errs by that /
    // rounds.
    expect(worst).toBeLessThan(1.2e-5);
    expect(worst).toBeLessThan(worst_without / 20);
  });

  test("NaN, Inf and magnitudes that do not fit are refused; the residual stays", async () => {
    const residual = floats(300);
    const before = residual.slice();
    const cases: [number, codec.DeltaKind[]][] = [
      [Number.NaN, [...codec.DELTA_KINDS]],
      [Number.NEGATIVE_INFINITY, [...codec.DELTA_KINDS]],
      [70000, ["fp16"]],
      [1e38, ["int8", "int4"]],
    ];
    for (const [value, kinds] of cases)
      for (const kind of kinds) {
        const delta = floats(300);
        delta[299] = value;
        expect(await rejection(codec.compressDelta(delta, kind, { residual }))).toMatchObject({
          code: "NOT_A_NUMBER",
        });
        expect(residual).toEqual(before);
      }
  });
});

describe("hostile compressed bytes", () => {
  async function expectRefused(bytes: Uint8Array, n: number) {
    const into = new Float32Array(n).fill(7);
    expect(await rejection(codec.decompressDelta(bytes, n, { into }))).toMatchObject({
      code: "BAD_FORMAT",
    });
    expect(into.every((x) => x === 7)).toBe(true);
  }

  test("every header field, the length, scales and values are checked", async () => {
    const n = 301;
    for (const kind of codec.DELTA_KINDS) {
      const good = await codec.compressDelta(floats(n), kind);
      for (const offset of [0, 4, 5, 8, 15, 16, 20]) {
        const bad = good.slice();
        bad[offset]! ^= 0x40;
        await expectRefused(bad, n);
      }
      await expectRefused(good.subarray(0, good.length - 1), n);
      await expectRefused(new Uint8Array([...good, 0]), n);
      await expectRefused(new Uint8Array(0), n);
      await expectRefused(good, n + 1);
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -1, 1e37]) {
        const bad = good.slice();
        const view = new DataView(bad.buffer);
        if (kind === "fp16") view.setUint16(HEADER_BYTES + 600, value < 0 ? 0xfc00 : 0x7c01, true);
        else view.setFloat32(HEADER_BYTES + 8, value, true);
        if (kind !== "fp32" || !Number.isFinite(value)) await expectRefused(bad, n);
      }
    }
    const int8 = await codec.compressDelta(floats(n), "int8");
    int8[int8.length - 1] = 0x80;
    await expectRefused(int8, n);
    const int4 = await codec.compressDelta(floats(n), "int4");
    await expectRefused(int4.with(int4.length - 1, 0x10 | int4.at(-1)!), n);
    await expectRefused(int4.with(int4.length - 2, 0x83), n);
  });

  test("random corruption is refused or decodes to finite numbers", async () => {
    const n = 257;
    const originals = await Promise.all(
      codec.DELTA_KINDS.map((kind) => codec.compressDelta(floats(n), kind)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...originals),
        fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        fc.option(fc.nat(1200)),
        async (original, edits, cut) => {
          const bytes = original.slice(0, cut ?? original.length);
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          try {
            const { delta } = await codec.decompressDelta(bytes, n);
            expect(delta.every(Number.isFinite)).toBe(true);
          } catch (error) {
            expect(error).toMatchObject({ code: "BAD_FORMAT" });
          }
        },
      ),
      { seed: 99, numRuns: 300 },
    );
  });
});

test("scalar and AVX2 give the same bits, for 1, 2 and 5 threads", async () => {
  const run = async (cpu: string, threads: number) => {
    const script = path.join(import.meta.dir, "codec-digest.ts");
    const env = { ...process.env, MAGNET_CPU: cpu };
    const child = Bun.spawn([process.execPath, script, String(threads)], {
      env,
      stderr: "inherit",
    });
    return await new Response(child.stdout).text();
  };
  const expected = await run("scalar", 1);
  expect(expected).toMatch(/^[0-9a-f]{64}\n$/);
  for (const [cpu, threads] of [
    ["scalar", 2],
    ["avx2", 1],
    ["avx2", 2],
    ["avx2", 5],
  ] as const)
    expect(await run(cpu, threads)).toBe(expected);
}, 30_000);
