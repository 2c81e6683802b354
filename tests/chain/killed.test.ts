/** Three kills at random moments; tests/stress/chain-kills.ts does fifty. */
import { expect, test } from "bun:test";
import { killRounds } from "./kill-rounds.ts";

test("no acknowledged transaction is lost to kill -9, and the log replays to the same roots", async () => {
  const seed = Date.now() % 1_000_000;
  process.stderr.write(`seed ${seed} (bun tests/stress/chain-kills.ts 3 ${seed})\n`);
  const report = await killRounds({ kills: 3, seed });
  expect(report.kills).toBe(3);
  expect(report.acknowledged).toBeGreaterThan(3);
}, 110_000);
