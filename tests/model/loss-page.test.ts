/** The page of a run's curves: made from metrics.jsonl, whole at every moment, of bounded size. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { LossHistory, ThinnedSeries } from "../../src/model/loss-history.ts";
import { LossPlot, lossPage, plotRuns } from "../../src/model/loss-page.ts";
import { errorOf } from "./error-of.ts";
import { tinyConfig, train } from "./training-fixture.ts";

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-plot-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const write = (name: string, text: string) => {
  const file = path.join(folder, name);
  fs.writeFileSync(file, text);
  return file;
};

test("a long series is thinned to means and keeps its ends", () => {
  const series = new ThinnedSeries();
  const count = 300_001;
  for (let i = 0; i < count; i++) series.add(i, 2 * i);
  const { values } = series;
  expect(values.length).toBeLessThanOrEqual(1024);
  expect(values.length).toBeGreaterThan(500);
  for (const [x, y] of values) expect(y).toBeCloseTo(2 * x, 6);
  expect(values[0]![0]).toBeLessThan(count / 500);
  expect(values.at(-1)![0]).toBeGreaterThan(count * 0.998);
});

test("a run leaves its page, which can be made anew from its metrics; resumed, it goes on", async () => {
  const out = path.join(folder, "run");
  const half = await train(out, tinyConfig({ steps: 12, eval_interval: 6 }));
  expect(half.loss_plot).toBe(path.join(out, "loss.html"));
  const page = fs.readFileSync(half.loss_plot, "utf8");
  expect(page).toContain("<!doctype html>");
  expect(page).toContain("Training of run");
  expect(page).toContain(half.heldout!.loss.toFixed(4));
  expect(page.match(/<svg /g)).toHaveLength(3);
  expect(page).not.toMatch(/<script|https?:\/\/(?!www\.w3\.org\/2000\/svg)/);
  expect(fs.readdirSync(out).filter((name) => name.includes("tmp"))).toEqual([]);

  fs.rmSync(half.loss_plot);
  expect(await plotRuns([out], undefined)).toEqual({ file: half.loss_plot, runs: ["run"] });
  expect(fs.readFileSync(half.loss_plot, "utf8")).toBe(page);
  // A page of a resumed run begins with the steps before.
  const resumed = await LossPlot.open(out, true);
  await resumed.write();
  expect(fs.readFileSync(half.loss_plot, "utf8")).toBe(page);
});

test("several runs in one picture; names are escaped", async () => {
  const history = new LossHistory();
  for (let step = 1; step <= 50; step++) history.add({ step, loss: 5 - step / 50, lr: 0.1 });
  history.add({ step: 50, heldout_loss: 4.25 });
  const page = lossPage([
    { name: "<a>", history },
    { name: "b", history },
  ]);
  expect(page).toContain("&lt;a> held out");
  expect(page).toContain("b training");
  expect(page).not.toContain("<a>");
  expect(page).toContain("4.2500 (step 50)");
});

test("a cut-off last line is left out; other damage and absent files are named", async () => {
  const good = '{"step":1,"loss":5}\n{"step":2,"loss":4}\n';
  const torn = await LossHistory.read(write("torn.jsonl", `${good}{"step":3,"lo`));
  expect([torn.step, torn.last_loss]).toEqual([2, 4]);
  const bad = write("bad.jsonl", `${good}no line\n{"step":3,"loss":3}\n`);
  const error = await errorOf(LossHistory.read(bad));
  expect(error).toMatchObject({ code: "BAD_METRICS" });
  expect(error.message).toContain("line 3");
  expect((await errorOf(plotRuns([path.join(folder, "absent")], undefined))).code).toBe(
    "NOT_FOUND",
  );
});
