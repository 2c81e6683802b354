/**
 * A short random run against anvil under the same rules: blocks, roots, receipts, logs, refusals and
 * the whole state must be equal. tests/stress/anvil.ts does 2,000 transactions and more.
 */
import { expect, test } from "bun:test";
import { compareWithAnvil } from "./differential/compare.ts";

test("the embedded chain and anvil agree on random transactions", async () => {
  const seed = Date.now() % 1_000_000;
  process.stderr.write(`seed ${seed} (bun tests/stress/anvil.ts 100 ${seed})\n`);
  const sum = await compareWithAnvil({ seed, transactions: 100 });
  expect(sum.transactions).toBeGreaterThanOrEqual(100);
  expect(Object.keys(sum.kinds).length).toBeGreaterThan(10);
}, 110_000);
