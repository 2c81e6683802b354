/** What the demo's research chooses becomes a job that takes as long as the demo's own. */
import { expect, test } from "bun:test";
import type { JobSpec } from "../../src/agent/job.ts";
import { DEMO_JOB, DEMO_MODEL } from "../../src/cli/demo/recipe.ts";
import { baselineOf, jobWith, usable } from "../../src/cli/demo/research-steps.ts";
import { parseConfiguration } from "../../src/research/language/configuration.ts";
import type { Configuration } from "../../src/research/types.ts";

const hash = (digit: string) => digit.repeat(64);
const JOB: JobSpec = {
  schema: "magnet.job/1",
  ...DEMO_JOB,
  model: DEMO_MODEL,
  ...{ tokenizer_hash: hash("1"), train_hash: hash("2"), heldout_hash: hash("3") },
};
const base = parseConfiguration(baselineOf(), []);
const configurationWith = (change: Configuration) => parseConfiguration({ ...base, ...change }, []);

test("the recipe in the research's terms is the demo's own job", () => {
  expect(jobWith(JOB, base)).toEqual(JOB);
});

test("a dearer configuration gets fewer steps, and all of it reaches the job", () => {
  const job = jobWith(JOB, configurationWith({ lr: 4e-3, batch: 4, schedule: "cosine", ffn: 2 }));
  expect(job.inner).toMatchObject({ lr: 4e-3, schedule: "cosine" });
  expect(job.batch).toBe(4);
  expect(job.model.d_ff).toBe(512);
  expect(job.inner_steps).toBeLessThan(DEMO_JOB.inner_steps / 1.9);
  expect(job.inner_steps).toBeGreaterThan(DEMO_JOB.inner_steps / 4);
});

test("what a job or a model file cannot say is not tried; rates stay near", () => {
  expect(usable(configurationWith({ optimizer: "muon" }))).toBeNull();
  expect(usable(configurationWith({ context: 256 }))).toBeNull();
  expect(usable(configurationWith({ decay: 0.5 }))).toBeNull();
  expect(usable(configurationWith({ ffn: 1.5 }))).toBeNull();
  const near = usable(configurationWith({ lr: 1 }))!;
  expect(near.lr).toBeCloseTo(1.5 * base.lr, 10);
  expect(usable(configurationWith({ batch: 4 }))).toMatchObject({ batch: 4, lr: base.lr });
});
