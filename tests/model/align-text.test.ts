/**
 * ORPO on real text, scaled down: a small base model learns to prefer how a text goes on, on
 * documents it has not seen, and stays a language model. Every machine computes the same bits, so
 * these figures do not vary. In full: tests/peers/align-text.ts.
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
    base: { steps: 500, batch: 16, lr: 3e-3, checkpoint_interval: 500 },
    pairs: { prompt: 32, response: 24, count: 3000, heldout_count: 800 },
    align: { steps: 180, batch: 16, lr: 1.5e-3, beta: 2 },
  });
  const { win_rate_rise, margin_rise, language_change } = goals(result);
  process.stderr.write(`${JSON.stringify(goals(result))}\n`);
  expect(result.heldout_pairs).toBe(800);
  expect(win_rate_rise).toBeGreaterThan(0.015);
  expect(margin_rise).toBeGreaterThan(0.015);
  expect(language_change).toBeLessThan(LANGUAGE_CHANGE_MAX);
}, 300_000);
