/** The reference run of data sets: the same numbers everywhere, and a set is judged as it deserves. */
import { describe, expect, test } from "bun:test";
import { embeddedCorpus } from "../../src/cli/demo/corpus.ts";
import type { MagnetError } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import {
  measureDataQuality,
  REFERENCE_BYTES,
  SET_BYTES_MIN,
} from "../../src/model/data-quality.ts";
import { SHARED_RUN, sharedShare } from "../../src/model/shared-text.ts";
import { rejection } from "../native/rejection.ts";

const text = Buffer.concat((await embeddedCorpus()).map(({ bytes }) => bytes));
const reference = text.subarray(0, REFERENCE_BYTES);
const more = text.subarray(300_000, 400_000);
const noise = new Uint8Array(seededRandom(4).bytes(50_000));
const measure = (set: Uint8Array, steps: number, threads = 0) =>
  measureDataQuality({ set, reference, steps, threads });

describe("the reference run", () => {
  test("gives the same numbers for any number of threads, and others for other bytes", async () => {
    const one = await measure(more, 3, 1);
    expect(await measure(more, 3, 2)).toEqual(one);
    expect(one.recipe).toBe("magnet.data_quality/1 in 3 steps");
    expect(one.runs.map(({ seed }) => seed)).toEqual([1, 2, 3]);
    const changed = Uint8Array.from(more);
    changed[10] = changed[10]! ^ 1;
    const other = await measure(changed, 3);
    expect(other.content_hash).not.toBe(one.content_hash);
    expect(other.runs.map(({ loss_without }) => loss_without)).toEqual(
      one.runs.map(({ loss_without }) => loss_without),
    );
  });

  test("tells more of the same text from noise, for every seed", async () => {
    const good = await measure(more, 25);
    const bad = await measure(noise, 25);
    for (const [i, drop] of good.loss_drops_micronats.entries())
      expect(drop).toBeGreaterThan(bad.loss_drops_micronats[i]! + 20_000);
    expect(Math.max(...bad.loss_drops_micronats)).toBeLessThan(0);
  });

  test("refuses a set that holds the test, and one that is too small", async () => {
    const cheat = Buffer.concat([noise, reference.subarray(REFERENCE_BYTES - 1000)]);
    const code = async (work: Promise<unknown>) => ((await rejection(work)) as MagnetError).code;
    expect(await code(measure(cheat, 1))).toBe("DATA_SHARED");
    expect(await code(measure(noise.subarray(0, SET_BYTES_MIN - 1), 1))).toBe("DATA_TOO_SMALL");
    expect(await code(measureDataQuality({ set: more, reference: noise.subarray(0, 99) }))).toBe(
      "DATA_TOO_SMALL",
    );
  });
});

describe("shared text", () => {
  /** By its definition, in quadratic time. */
  function slow(a: Uint8Array, b: Uint8Array): number {
    const covered = new Set<number>();
    const there = Buffer.from(b);
    for (let i = 0; i + SHARED_RUN <= a.length; i++)
      if (there.includes(Buffer.from(a.subarray(i, i + SHARED_RUN))))
        for (let k = 0; k < SHARED_RUN; k++) covered.add(i + k);
    return covered.size / a.length;
  }

  test("is what its definition says, for texts that overlap anywhere", () => {
    const seed = 12;
    const random = seededRandom(seed);
    for (let round = 0; round < 40; round++) {
      // Few letters: many near misses, and runs that overlap each other.
      const letters = (n: number) => Uint8Array.from({ length: n }, () => 97 + random.below(2));
      const a = letters(60 + random.below(200));
      const start = random.below(a.length);
      const b = Buffer.concat([
        letters(random.below(100)),
        a.subarray(start, start + random.below(120)),
        letters(random.below(100)),
        a.subarray(0, random.below(80)),
      ]);
      expect([seed, round, sharedShare(a, b)]).toEqual([seed, round, slow(a, b)]);
    }
    expect(sharedShare(reference, reference)).toBe(1);
    expect(sharedShare(new Uint8Array(3), new Uint8Array(3))).toBe(0);
  });
});
