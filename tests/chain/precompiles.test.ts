/** The point evaluation precompile: a proof by hand, and everything that must not pass. */
import { expect, test } from "bun:test";
import { verifyPoint } from "../../src/chain/embedded/point-evaluation.ts";
import { POINT_EVALUATION } from "./differential/random-transactions.ts";

const part = (from: number, to: number) => `0x${POINT_EVALUATION.slice(2).slice(from, to)}`;
const [commitment, proof] = [part(192, 288), part(288, 384)];
const number = (n: bigint) => `0x${n.toString(16).padStart(64, "0")}`;
const INFINITY = `0xc0${"00".repeat(47)}`;
const ORDER = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001n;

test("the polynomial x has the value z at z, and no other", () => {
  expect(verifyPoint(commitment, number(5n), number(5n), proof)).toBe(true);
  expect(verifyPoint(commitment, number(0n), number(0n), proof)).toBe(true);
  expect(verifyPoint(commitment, number(5n), number(6n), proof)).toBe(false);
  expect(verifyPoint(commitment, number(6n), number(5n), proof)).toBe(false);
});

test("the polynomial 0 is 0 everywhere, with a proof at infinity", () => {
  expect(verifyPoint(INFINITY, number(3n), number(0n), INFINITY)).toBe(true);
  expect(verifyPoint(INFINITY, number(3n), number(1n), INFINITY)).toBe(false);
});

test("what is no field element or no point of the group is refused", () => {
  expect(() => verifyPoint(commitment, number(ORDER), number(5n), proof)).toThrow("BADARGS");
  expect(() => verifyPoint(commitment, number(5n), number(ORDER), proof)).toThrow("BADARGS");
  expect(() => verifyPoint(`0x${"00".repeat(48)}`, number(5n), number(5n), proof)).toThrow(
    "BADARGS",
  );
  expect(() => verifyPoint(commitment, number(5n), number(5n), `0x${"ff".repeat(48)}`)).toThrow(
    "BADARGS",
  );
});
