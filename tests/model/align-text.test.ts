/**
 * ORPO on real text, scaled down: a small base model learns to prefer how a text goes on, on
 * documents it has not seen, and stays a language model. Every machine computes the same bits, so
 * these figures do not vary (22 s of CPU time). In full: tests/peers/align-text.ts.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { alignOnText, goals, LANGUAGE_CHANGE_MAX } from "../peers/align-text.ts";

let folder = "";
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-align-text-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

test("held-out win rate rises, the language loss stays within 2%", async () => {
  const result = await alignOnText({
    folder,
    model: "tiny",
    vocab_size: 1024,
    base: { steps: 500, batch: 16, lr: 3e-3, eval_tokens: 8192 },
    pairs: { prompt: 32, response: 24, count: 4000, heldout_count: 1000 },
    align: { steps: 250, batch: 16, lr: 1.5e-3, beta: 2.5, eval_tokens: 32_768 },
  });
  const { win_rate_rise, margin_rise, language_change } = goals(result);
  expect(result.heldout_pairs).toBe(1000);
  // 54.2% to 57.9% and 0.018 when this was written; a change of the arithmetic moves them a little.
  expect(win_rate_rise).toBeGreaterThan(0.01);
  expect(margin_rise).toBeGreaterThan(0.005);
  expect(language_change).toBeLessThan(LANGUAGE_CHANGE_MAX);
}, 600_000);
