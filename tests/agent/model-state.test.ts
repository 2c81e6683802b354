/**
 * The state blob: equal states are equal bytes, and no bytes from a peer do more than be refused.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodeState, encodeState, stateBytesMax } from "../../src/agent/model-state.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import { MagnetError } from "../../src/core/errors.ts";
import type { Hash } from "../../src/core/types.ts";

const job_id = sha256Hex("job") as Hash;
const SEED = 20_260;
const bytesOf = (n: number, rounds_done = 2): Uint8Array => {
  const params = Float32Array.from({ length: n }, (_, i) => i / 3);
  const momentum = Float32Array.from({ length: n }, (_, i) => -i);
  return Buffer.concat(encodeState({ job_id, rounds_done, params, momentum }));
};
const codeOf = (bytes: Uint8Array, n: number): string => {
  try {
    decodeState(bytes, n);
    return "ok";
  } catch (error) {
    if (error instanceof MagnetError) return error.code;
    throw error;
  }
};

test("a state comes back bit by bit, from any place in memory", () => {
  fc.assert(
    fc.property(
      fc.float32Array({ minLength: 1, maxLength: 50 }),
      fc.nat(1_000_000),
      fc.nat(7),
      (params, rounds_done, shift) => {
        const momentum = params.slice().reverse();
        const parts = encodeState({ job_id, rounds_done, params, momentum });
        const joined = Buffer.concat([new Uint8Array(shift), ...parts]).subarray(shift);
        const state = decodeState(joined, params.length);
        expect(state.job_id).toBe(job_id);
        expect(state.rounds_done).toBe(rounds_done);
        const raw = (floats: Float32Array) =>
          Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength).toString("hex");
        expect(raw(state.params)).toBe(raw(params));
        expect(raw(state.momentum)).toBe(raw(momentum));
        expect(joined.length).toBeLessThanOrEqual(stateBytesMax(params.length));
      },
    ),
    { seed: SEED, numRuns: 200 },
  );
});

test("the arrays start at a multiple of 64 and equal states are equal bytes", () => {
  const bytes = bytesOf(5);
  expect((bytes.length - 8 * 5) % 64).toBe(0);
  expect(sha256Hex(bytes)).toBe(sha256Hex(bytesOf(5)));
  expect(sha256Hex(bytesOf(5, 3))).not.toBe(sha256Hex(bytes));
});

test("every cut and every longer blob is refused", () => {
  const bytes = bytesOf(8);
  for (let length = 0; length < bytes.length; length++)
    expect(codeOf(bytes.subarray(0, length), 8)).toBe("STATE_CORRUPT");
  expect(codeOf(Buffer.concat([bytes, new Uint8Array(1)]), 8)).toBe("STATE_CORRUPT");
  expect(codeOf(bytes, 9)).toBe("STATE_CORRUPT");
  expect(codeOf(bytes, 8)).toBe("ok");
});

test("damaged headers and arbitrary bytes are refused or decode; nothing else happens", () => {
  const good = bytesOf(8);
  const header_end = good.length - 64;
  fc.assert(
    fc.property(fc.nat(header_end - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bad = new Uint8Array(good);
      bad[at] = bad[at]! ^ flip;
      expect(["STATE_CORRUPT", "ok"]).toContain(codeOf(bad, 8));
    }),
    { seed: SEED, numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(100), (tail, n) => {
      const bytes = Buffer.concat([new TextEncoder().encode("MGSTATE1"), tail]);
      expect(codeOf(bytes, n)).toBe("STATE_CORRUPT");
    }),
    { seed: SEED, numRuns: 500 },
  );
});
