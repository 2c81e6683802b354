/** `kill -9` at random points of a run; tests/stress/research-kills.ts does it for longer. */
import { expect, test } from "bun:test";
import path from "node:path";
import { killRuns } from "./kill-runs.ts";

test("a run killed again and again ends with the result of an undisturbed one", async () => {
  const seed = Date.now() % 1_000_000;
  const script = path.join(import.meta.dir, "toy-run.ts");
  const { undisturbed, resumed, killed } = await killRuns({
    command: (folder) => [process.execPath, script, folder, "6", "2"],
    ...{ kills: 5, seed, lines_max: 6 },
  });
  expect(`${seed}: ${resumed}`).toBe(`${seed}: ${undisturbed}`);
  expect(undisturbed).toMatch(/^[0-9a-f]{64}$/);
  expect(killed).toBeGreaterThan(0);
}, 60_000);
