/** The comparison of logits, on distributions whose divergence is known. */
import { expect, test } from "bun:test";
import { fidelity } from "../../src/model/bench-fidelity.ts";

const logits = (...rows: number[][]) => Float32Array.from(rows.flat());

test("equal distributions do not diverge, however their logits are shifted", () => {
  const shifted = logits([101, 102, 103], [-5, -5, -6]);
  expect(fidelity(logits([1, 2, 3], [0, 0, -1]), shifted, 3).kl).toBeCloseTo(0, 6);
  expect(fidelity(logits([1, 2, 3]), logits([101, 102, 103]), 3).top1).toBe(1);
});

test("the divergence of two coins, and a mean over positions", () => {
  // p = (1/2, 1/2), q = (1/4, 3/4): KL = ln 2 - ln(3) / 2.
  const p = logits([0, 0], [0, 1]);
  const q = logits([0, Math.log(3)], [0, 1]);
  const { kl, top1 } = fidelity(p, q, 2);
  expect(kl).toBeCloseTo((Math.log(2) - Math.log(3) / 2) / 2, 6);
  expect(top1).toBe(0.5); // of equals the first
});
