/** The research run of seconds: it mends a planted flaw and says so, and leaves alone what is good. */
import { expect, test } from "bun:test";
import { systemClock } from "../../../src/core/clock.ts";
import { pickConfiguration } from "../../../src/research/language/pick.ts";
import type { Configuration } from "../../../src/research/types.ts";
import { localRunner } from "../local-runner.ts";
import { corpusFor, openDomain } from "./texts.ts";

const corpus = corpusFor([
  { name: "a", documents: 50 },
  { name: "b", documents: 50 },
]);

function pick(baseline: Configuration, usable: (c: Configuration) => Configuration | null) {
  const domain = openDomain(corpus, { baseline, equal: "compute" });
  const runner = localRunner({ domain, clock: systemClock });
  return pickConfiguration({ domain, runner, usable });
}

test("a rate far too low is found, mended and explained; the choice is reproducible", async () => {
  // Steps, shape and vocabulary stay, so that only the rate can mend it.
  const kept = { batch: 4, d_model: 32, n_layers: 2, ffn: 2, optimizer: "muon", vocab_size: 320 };
  const allowed = (c: Configuration) =>
    Object.entries(kept).every(([key, value]) => c[key] === value);
  const run = () => pick({ lr: 4e-4 }, (c) => (allowed(c) ? c : null));
  const picked = await run();
  expect(picked.failures.map(({ kind }) => kind)).toContain("slow_learning");
  expect(picked.change).not.toBe("");
  expect(picked.configuration.lr).toBeGreaterThan(4e-4);
  expect(picked.difference!.low).toBeGreaterThan(0);
  expect(picked.reason).toContain(picked.change);
  expect(picked.tried[0]!.change).toBe("");
  // The baseline and three finalists have run to the end; every other had its first look.
  expect(picked.tried.filter(({ full }) => full !== null).length).toBe(4);
  expect(picked.tried.every(({ first_look }) => first_look !== null)).toBe(true);
  const again = await run();
  expect(again).toEqual(picked);
}, 60_000);

test("what may not be chosen is not tried; without a sure gain the baseline stays", async () => {
  const same_rate = (c: Configuration) => (c.optimizer === "muon" && c.lr === 0.01 ? c : null);
  const near = (c: Configuration) => {
    const kept = same_rate({ ...c, lr: 0.01 });
    return kept && { ...kept, weight_decay: 0.1001, batch: 4, n_layers: 2, d_model: 32 };
  };
  const picked = await pick({}, near);
  for (const { change } of picked.tried) expect(change).not.toContain("optimizer");
  if (picked.difference!.low <= 0) expect(picked.change).toBe("");
  else expect(picked.change).not.toBe("");
  const none = await pick({}, () => null);
  expect(none.change).toBe("");
  expect(none.tried.length).toBe(1);
  expect(none.reason).toContain("the baseline stays");
}, 60_000);
