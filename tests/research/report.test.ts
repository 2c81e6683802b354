/** The four views of a report: what they say, and that texts of the data cannot break them. */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parse } from "csv-parse/sync";
import { systemClock } from "../../src/core/clock.ts";
import type { ResearchEvent, ResearchResult } from "../../src/research/loop/events.ts";
import { runResearch } from "../../src/research/loop/run.ts";
import { csvReport } from "../../src/research/report/csv.ts";
import { figureRows, headline } from "../../src/research/report/facts.ts";
import { markdownReport } from "../../src/research/report/markdown.ts";
import { reportPage } from "../../src/research/report/page.ts";
import {
  makeReport,
  type ReportDocument,
  type ReportInput,
} from "../../src/research/report/report.ts";
import { writeReport } from "../../src/research/report/write-report.ts";
import type { Trial } from "../../src/research/types.ts";
import { localRunner } from "./local-runner.ts";
import { syntheticDomain } from "./synthetic.ts";

const HOSTILE = '<script>alert("x")</script>|=1+1';

/** A real run of the loop over the synthetic domain. */
async function ranReport(): Promise<{
  report: ReportDocument;
  input: ReportInput;
  events: ResearchEvent[];
}> {
  const domain = syntheticDomain();
  const events: ResearchEvent[] = [];
  const local = localRunner({ domain, clock: systemClock });
  const trials: Trial[] = [];
  const { result } = await runResearch({
    domain,
    budget: { trials: 60 },
    seed: 1,
    runner: {
      run: async (batch, options) => {
        const done = await local.run(batch, options);
        trials.push(...done);
        return done;
      },
      spent: () => local.spent(),
      once: (key, step) => local.once(key, step),
    },
    onEvent: (event) => void events.push(event),
  });
  const confusion = {
    classes: ["no", HOSTILE],
    counts: [
      [5, 1],
      [2, 7],
    ],
  };
  const withConfusion = trials.map((trial) =>
    trial.outcome
      ? { ...trial, outcome: { ...trial.outcome, figures: { confusion, loco_score: 0.5 } } }
      : trial,
  );
  const input: ReportInput = {
    task: { name: "synthetic", domain: "tabular", task_hash: domain.task_hash, notes: [HOSTILE] },
    magnet_version: "0.0.0",
    result,
    trials: withConfusion,
    importance: [{ feature: HOSTILE, share: 1 }],
    reads: [{ part: "sealed", key: "sealed" }],
  };
  return { report: makeReport(input), input, events };
}
const ran = ranReport();

describe("a report", () => {
  test("says the sealed score with its interval, every version and why the final model is it", async () => {
    const { report } = await ran;
    const { sealed, versions } = report.result;
    const text = markdownReport(report);
    expect(text).toContain(sealed.model.score.toFixed(4));
    expect(text).toContain(`[${sealed.model.low.toFixed(4)}, ${sealed.model.high.toFixed(4)}]`);
    for (const version of versions) {
      expect(text).toContain(`### Version ${version.version}`);
      if (version.verdict) expect(text).toContain(version.verdict.reason);
      for (const { strategy } of version.strategies) expect(text).toContain(strategy);
    }
    expect(text).toContain("reads of gate / sealed");
    expect(headline(report)).toContain("over the baseline");
  });

  test("a run that tried nothing does not claim that nothing is better", async () => {
    const { report } = await ran;
    const { result } = report;
    const final = { ...result.final, reason: "baseline" as const };
    const alone = { ...report, result: { ...result, versions: [], final } };
    expect(headline(alone)).toContain("the budget was too small to try anything else");
    const tried = { ...report, result: { ...result, final } };
    expect(headline(tried)).toContain("the baseline could not be improved");
    const noise_floor = { ...result.noise_floor, seeds: 1, deviation: 0, floor: 0 };
    const single = { ...report, result: { ...result, noise_floor } };
    expect(Object.fromEntries(figureRows(single))["noise floor"]).toStartWith("not measured");
  });

  test("no edge is the headline where there is none", async () => {
    const { report } = await ran;
    const { sealed } = report.result;
    const none: ResearchResult = { ...report.result, sealed: { ...sealed, no_edge: true } };
    expect(headline({ ...report, result: none })).toStartWith("No edge");
  });

  test("the gap to contexts and the confusion come from the trials' figures", async () => {
    const { report } = await ran;
    const { final } = report.result;
    expect(report.context_gap!.final).toBeCloseTo(
      report.trials[final.candidate.trial]!.score! - 0.5,
      10,
    );
    expect(report.confusion!.final.counts).toEqual([
      [5, 1],
      [2, 7],
    ]);
  });

  test("the curve of a series is what its trials show, not what one analysis saw", async () => {
    const { report, input } = await ran;
    expect(report.learning_curve).toEqual([]);
    const trials = input.trials.map((trial, i) => {
      const { outcome } = trial;
      const figures = { window_rows: i % 2 === 0 ? 500 : 1600 };
      return outcome ? { ...trial, outcome: { ...outcome, figures } } : trial;
    });
    // Those at other seeds confirm what is good already: they would make its window look better.
    const { seed } = report.result;
    expect(trials.some((t) => t.spec.seed !== seed)).toBe(true);
    const point = (rows: number, parity: number) => {
      const scores = trials.flatMap(({ outcome, spec }, i) =>
        outcome && spec.fidelity === 1 && spec.seed === seed && i % 2 === parity
          ? [outcome.score]
          : [],
      );
      return { rows, score: Math.max(...scores), trials: scores.length };
    };
    expect(makeReport({ ...input, trials }).learning_curve).toEqual([
      point(500, 0),
      point(1600, 1),
    ]);
  });

  test("texts of the data stay texts on the page, in Markdown's tables and in CSV", async () => {
    const { report } = await ran;
    const page = reportPage(report);
    const found = ["<script", "&lt;script", "<svg"].map((text) => page.includes(text));
    expect(found).toEqual([false, true, true]);
    expect(markdownReport(report)).toContain('alert("x")</script>\\|=1+1');
    const hostile = { ...report.trials[0]!, error: '=cmd|"x"\n1' };
    const csv = csvReport({ ...report, trials: [hostile] });
    const [row] = parse(csv, { columns: true }) as Record<string, string>[];
    expect(row!.error).toBe(`'=cmd|"x"\n1`);
    expect(JSON.parse(row!.configuration!)).toEqual(hostile.configuration);
  });

  test("its files are whole, and the JSON is the document", async () => {
    const { report } = await ran;
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-report-"));
    try {
      const files = await writeReport(folder, report);
      const document = JSON.parse(fs.readFileSync(files.json, "utf8"));
      expect(document).toEqual(
        JSON.parse(JSON.stringify({ schema: "magnet.research_report/1", ...report })),
      );
      expect(fs.readFileSync(files.page, "utf8")).toEndWith("</html>\n");
      const rows = parse(fs.readFileSync(files.csv, "utf8"), { columns: true });
      expect(rows).toHaveLength(report.trials.length);
      expect(fs.readdirSync(folder).sort()).toEqual(
        ["report.html", "report.json", "report.md", "trials.csv"].sort(),
      );
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });
});
