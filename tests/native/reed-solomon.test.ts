import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { seededRandom } from "../../src/core/random.ts";
import { parityMatrix, rsEncode, rsReconstruct } from "../../src/native/codec.ts";
import { apply, decode, paperRows, parityRows, subsets } from "./gf-reference.ts";
import { rejection } from "./rejection.ts";

const random = seededRandom(11);
const shardsOf = (count: number, length: number) =>
  Array.from({ length: count }, () => random.bytes(length));

/** Loses the shards of `lost`, rebuilds them, compares. */
async function expectRestored(all: readonly Uint8Array[], lost: number[], k: number) {
  const holes = all.map((s, i) => (lost.includes(i) ? null : s));
  const code = { data_shards: k, parity_shards: all.length - k };
  const rebuilt = await rsReconstruct(holes, lost, code);
  lost.forEach((index, i) => {
    if (Buffer.compare(rebuilt[i]!, all[index]!) !== 0)
      throw new Error(`${k}+${all.length - k}: shard ${index} is wrong after losing ${lost}`);
  });
}

describe("known answers", () => {
  test("0x11D with generator 2: powers and products", () => {
    expect([...parityMatrix({ data_shards: 10, parity_shards: 2 }).rows[1]!]).toEqual([
      1, 2, 4, 8, 16, 32, 64, 128, 0x1d, 0x3a,
    ]);
  });

  test("4+2 parity is RAID-6's P and Q (H. P. Anvin, The mathematics of RAID-6)", async () => {
    const data = shardsOf(4, 1000);
    const [p, q] = await rsEncode(data, { data_shards: 4, parity_shards: 2 });
    for (let i = 0; i < 1000; i++) {
      const d = data.map((s) => s[i]!);
      expect(p![i]).toBe(d.reduce((a, b) => a ^ b));
      // Q = d0 + 2 d1 + 4 d2 + 8 d3 by repeated doubling, as the kernel of Linux does it.
      let byte = 0;
      for (const x of d.toReversed()) byte = (((byte << 1) ^ (byte & 0x80 ? 0x1d : 0)) & 0xff) ^ x;
      expect(q![i]).toBe(byte);
    }
  });

  test("paper matrix for M <= 2 or K <= 3, cauchy elsewhere", () => {
    const id = (k: number, m: number) => parityMatrix({ data_shards: k, parity_shards: m }).id;
    expect([id(4, 2), id(200, 2), id(3, 9), id(4, 1), id(1, 255)]).toEqual(Array(5).fill("paper"));
    expect([id(4, 3), id(10, 4), id(128, 128)]).toEqual(Array(3).fill("cauchy"));
    for (const [k, m] of [
      [4, 2],
      [3, 5],
      [4, 3],
      [10, 4],
      [16, 4],
    ] as const)
      expect(parityMatrix({ data_shards: k, parity_shards: m }).rows.map((r) => [...r])).toEqual(
        parityRows(k, m),
      );
  });

  test("the paper's matrix fails for 4+3 and 10+3; ours restores the same losses", async () => {
    for (const [k, failing] of [
      [4, 1],
      [10, 17],
    ] as const) {
      const data = shardsOf(k, 8);
      const rows = paperRows(k, 3);
      const all = [...data, ...apply(rows, data)];
      const impossible = [...subsets(k + 3, 3)].filter((lost) => {
        const left = all.map((s, i) => [i, s] as [number, Uint8Array]);
        return (
          decode(
            k,
            rows,
            left.filter(([i]) => !lost.includes(i)),
          ) === null
        );
      });
      expect(impossible.length).toBe(failing);
      if (k === 4) expect(impossible).toEqual([[0, 1, 3]]);
      const ours = [...data, ...(await rsEncode(data, { data_shards: k, parity_shards: 3 }))];
      for (const lost of impossible) await expectRestored(ours, lost, k);
    }
  });
});

describe("every loss pattern", () => {
  test.each([1, 2, 3, 4])("K = 1..16, M = %d: all patterns", async (m) => {
    for (let k = 1; k <= 16; k++) {
      const data = shardsOf(k, 37);
      const parity = await rsEncode(data, { data_shards: k, parity_shards: m });
      const expected = apply(parityRows(k, m), data);
      expect(parity.map((p) => Buffer.from(p))).toEqual(expected.map((p) => Buffer.from(p)));
      for (const lost of subsets(k + m, m)) await expectRestored([...data, ...parity], lost, k);
    }
  });

  test("4+2 and 10+4: all patterns, fewer losses too, agree with the reference", async () => {
    for (const [k, m] of [
      [4, 2],
      [10, 4],
    ] as const) {
      const data = shardsOf(k, 5);
      const all = [...data, ...(await rsEncode(data, { data_shards: k, parity_shards: m }))];
      for (let losses = 0; losses <= m; losses++)
        for (const lost of subsets(k + m, losses)) await expectRestored(all, lost, k);
      const left = all.map((s, i) => [i, s] as [number, Uint8Array]).slice(m);
      expect(decode(k, parityRows(k, m), left)!.map((s) => [...s])).toEqual(
        data.map((s) => [...s]),
      );
    }
  });
});

describe("sizes and buffers", () => {
  test("any length, any alignment, any thread count: the reference's bytes", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 0, max: 700 }),
        fc.integer({ min: 0, max: 31 }),
        fc.integer({ min: 0, max: 4 }),
        async (k, m, length, offset, threads) => {
          const data = shardsOf(k, length + offset).map((s) => s.subarray(offset));
          const parity = await rsEncode(data, { data_shards: k, parity_shards: m }, { threads });
          const expected = apply(parityRows(k, m), data);
          expect(parity.map((p) => [...p])).toEqual(expected.map((p) => [...p]));
        },
      ),
      { seed: 20, numRuns: 60 },
    );
  });

  test("several blocks, on a worker, into given arrays: nothing around them is touched", async () => {
    const length = 3 * 16384 + 77;
    const code = { data_shards: 5, parity_shards: 3 };
    const data = shardsOf(5, length);
    const arena = new Uint8Array(3 * (length + 64)).fill(0xee);
    const into = [0, 1, 2].map((m) =>
      arena.subarray(m * (length + 64), m * (length + 64) + length),
    );
    await rsEncode(data, code, { into, threads: 2 });
    const expected = apply(parityRows(5, 3), data);
    into.forEach((p, m) => {
      expect(Buffer.compare(p, expected[m]!)).toBe(0);
      const gap = arena.subarray(m * (length + 64) + length, (m + 1) * (length + 64));
      expect(gap.every((b) => b === 0xee)).toBe(true);
    });
    await expectRestored([...data, ...into], [0, 4, 6], 5);
  });

  test("256 shards", async () => {
    const data = shardsOf(200, 3);
    const parity = await rsEncode(data, { data_shards: 200, parity_shards: 56 });
    const lost = Array.from({ length: 56 }, (_, i) => i * 3);
    await expectRestored([...data, ...parity], lost, 200);
  });
});

describe("refusals", () => {
  test("codes outside the limits, too few shards, unequal lengths, cancelled", async () => {
    for (const [k, m] of [
      [0, 2],
      [4, 0],
      [200, 57],
      [1.5, 2],
    ] as const)
      expect(() => parityMatrix({ data_shards: k, parity_shards: m })).toThrow(
        expect.objectContaining({ code: "BAD_CODE" }),
      );
    const code = { data_shards: 4, parity_shards: 2 };
    const data = shardsOf(4, 10);
    const parity = await rsEncode(data, code);
    const three = [null, null, null, data[3]!, ...parity];
    expect(await rejection(rsReconstruct(three, [0], code))).toMatchObject({
      code: "TOO_FEW_SHARDS",
    });
    expect(await rejection(rsEncode([...shardsOf(3, 10), new Uint8Array(9)], code))).toMatchObject({
      code: "SHARD_SIZE_MISMATCH",
    });
    const signal = AbortSignal.abort();
    const large = data.map(() => new Uint8Array(1 << 20));
    expect(await rejection(rsEncode(large, code, { signal }))).toMatchObject({
      code: "CANCELLED",
    });
  });
});
