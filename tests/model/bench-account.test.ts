/** The account of a GPU's step: its sums against formulas of their own, and what each size changes. */
import { expect, test } from "bun:test";
import { accountOf, accountReport } from "../../src/model/bench-account.ts";
import { benchShape, flopsPerToken } from "../../src/model/bench-shapes.ts";
import { paramCount } from "../../src/model/config.ts";

const shape = { ...benchShape("618m"), batch: 16 };
const tokens = 16 * 1024;

test("operations are those of the model, and of scores that are made twice", () => {
  const { total } = accountReport(shape);
  const { n_layers, n_heads, head_dim } = shape.model;
  // Two products forward, of three parts each, and seven backward; six count as the model's.
  const scores = n_layers * tokens * 1024 * n_heads * head_dim;
  const again = (2 * 3 + 7 - 6) * scores;
  expect(total.operations).toBe(flopsPerToken(shape) * tokens + again);
});

test("each part takes the longer of arithmetic and memory; int8 products are twice as fast", () => {
  const rates = { tflops: 100, gbps: 1000 };
  const parts = new Map(accountOf(shape, rates).map((p) => [`${p.kernel}/${p.site}`, p]));
  const [up, dx] = [parts.get("ternary_product/gate_up")!, parts.get("gemm_dx/gate_up")!];
  expect(up.operations).toBe(2 * 17 * tokens * 1536 * 8192);
  expect(dx.operations).toBe(up.operations);
  expect(up.ms).toBeCloseTo(up.operations / 200e9, 6);
  expect(dx.ms).toBeCloseTo(dx.operations / 100e9, 6);
  const optimizer = parts.get("optimizer/")!;
  expect(optimizer.bytes).toBe(28 * paramCount(shape.model));
  expect([optimizer.bound_by, optimizer.ms]).toEqual(["memory", optimizer.bytes / 1e9]);
  const slow_memory = accountOf(shape, { tflops: 1e6, gbps: 1000 });
  expect(slow_memory.every(({ bound_by }) => bound_by === "memory")).toBe(true);
});

test("twice the sequences: twice the work of passes, the same of the update", () => {
  const of = (batch: number) =>
    new Map(accountOf({ ...shape, batch }).map((p) => [`${p.kernel}/${p.site}`, p.bytes]));
  const [once, twice] = [of(4), of(8)];
  for (const part of ["norm_quantise/ffn_input", "attention_forward/", "cross_entropy/"])
    expect(twice.get(part)).toBe(2 * once.get(part)!);
  for (const part of ["optimizer/", "ternarise/", "gradient_norm/"])
    expect(twice.get(part)).toBe(once.get(part)!);
});

test("a model whose steps are others is refused", () => {
  const plain = benchShape("618m", { variant: "llama" });
  expect(() => accountOf(plain)).toThrow("only of ternary models with sub-norms");
});
