import { expect, test } from "bun:test";
import { compareRecipes, meanError, type StoredRow } from "./report.ts";

const row = (recipe: string, seed: number, bits_per_byte: number) => {
  const figures = { loss: 1, bits_per_byte, tokens: 1, text_bytes: 1 };
  const heldout = { en: figures, ko: figures, ja: figures, all: figures };
  return { name: `recipe-${recipe}-${seed}`, kind: "train", heldout } as unknown as StoredRow;
};

test("the standard error is that of the mean", () => {
  expect(meanError([1, 2, 3])).toEqual({ mean: 2, error: 1 / Math.sqrt(3) });
  expect(meanError([1]).error).toBeNaN();
});

test("a recipe is compared with the base seed by seed", () => {
  const rows = [row("base", 1, 2), row("base", 2, 3), row("adamw", 1, 1.5), row("adamw", 2, 2.5)];
  const [base, adamw, ...others] = compareRecipes([...rows, row("adamw", 3, 9)]);
  expect(others).toEqual([]);
  expect(base).toMatchObject({ recipe: "base", seeds: 2, difference: null });
  // The third seed has no base: it counts in the mean and not in the difference.
  expect(adamw).toMatchObject({ recipe: "adamw", seeds: 3, difference: { mean: -0.5, error: 0 } });
});
