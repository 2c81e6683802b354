/** Spelling help: near names are found, far ones are not suggested. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { didYouMean, editDistance, nearest } from "../../src/core/did-you-mean.ts";

test.each([
  ["", "", 0],
  ["kitten", "sitting", 3],
  ["verison", "version", 1],
  ["abc", "", 3],
])("distance of %j and %j", (a, b, expected) => expect(editDistance(a, b)).toBe(expected));

test("distance is symmetric, zero only for equal texts, and bounded by the longer one", () =>
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      const distance = editDistance(a, b);
      expect(distance).toBe(editDistance(b, a));
      expect(distance === 0).toBe(a === b);
      expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
    }),
    { seed: 3 },
  ));

test("nearest", () => {
  const names = ["train", "tokenizer", "version", "eval"];
  expect(nearest("tarin", names)).toBe("train");
  expect(nearest("token", names)).toBe("tokenizer");
  expect(nearest("frobnicate", names)).toBeUndefined();
  expect(nearest("x".repeat(100_000), names)).toBeUndefined();
  expect(didYouMean("evla", names, "see --help")).toBe("did you mean eval?");
  expect(didYouMean("qqqqqq", names, "see --help")).toBe("see --help");
});
