/**
 * `magnet research study stockclaw`: directions of price histories (paper 7). The same command goes
 * on with what was interrupted.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import packageJson from "../../../package.json" with { type: "json" };
import { MagnetError } from "../../core/errors.ts";
import { writeWhole } from "../../research/report/write-report.ts";
import { runStockclaw, type SeriesFinding } from "../../research/study/stockclaw.ts";
import {
  describeSeries,
  type StudySeries,
  writeControl,
} from "../../research/study/stockclaw-series.ts";
import { defineCommand } from "../frame/command.ts";
import { table } from "../frame/output.ts";
import { selfCommand } from "../self-command.ts";
import { outFolder } from "./place.ts";
import { ResearchView } from "./view.ts";

const HORIZON = 8;
const digits = (value: number) => value.toFixed(4);

/** FILE or FILE:ROWS. */
function parseData(text: string): { file: string; horizon: number } {
  const match = /^(.+):(\d+)$/.exec(text);
  if (match === null) return { file: text, horizon: HORIZON };
  return { file: match[1]!, horizon: Number(match[2]) };
}

function textOf(findings: readonly SeriesFinding[]): string {
  const rows = findings.map((f) => [
    f.name,
    f.horizon,
    `${digits(f.sealed.score)} [${digits(f.sealed.low)}, ${digits(f.sealed.high)}]`,
    digits(f.trivial.score),
    f.no_edge ? "no edge" : "an edge",
    f.window === 0 ? "all" : f.window,
    f.learners.join(" + "),
    f.trials,
    f.cpu_s.toFixed(0),
  ]);
  const titles = [
    ...["series", "rows ahead", "sealed hit rate, 95%", "without a model", "answer", "window"],
    ...["learners", "trials", "CPU s"],
  ];
  const about = findings.flatMap((f) => [
    "",
    `${f.name}: ${f.curve.map((p) => `${p.rows} rows ${digits(p.score)}`).join(", ")}`,
    ...f.notes,
  ]);
  return [table(titles, rows), ...about].join("\n");
}

export const stockclaw = defineCommand({
  summary:
    "Directions of price histories: data scale, walk-forward, and no edge where there is none",
  details:
    "Each DATA is a table with a price (close), a time and perhaps a volume, one instrument a file; :ROWS\nis how far ahead to look (default 8). The first one is run again with its moves in another order.\nUSDCHF comes with R's timeSeries, the S&P 500 with the npm package vega-datasets.",
  examples: [
    {
      command: "magnet research study stockclaw usdchf.csv sp500-2000.csv:5",
      does: "two series and the control, 120 CPU seconds each",
    },
  ],
  args: { data: { value: "DATA", summary: "FILE or FILE:ROWS", many: true } },
  flags: {
    out: { type: "string", value: "DIR", summary: "folder of the study (default study-stockclaw)" },
    cpu: {
      type: "number",
      min: 1,
      default: 120,
      value: "SECONDS",
      summary: "of each series, all processes",
    },
    trials: { type: "integer", min: 1, max: 1_000_000, summary: "of each series, instead" },
    cost: {
      type: "number",
      min: 0,
      max: 1,
      default: 0.0002,
      summary: "of a trade there and back, as a share of the price",
    },
    seed: { type: "integer", min: 0, max: 2 ** 31, default: 1, summary: "of models and control" },
    workers: { type: "integer", min: 1, max: 256, summary: "processes (default: one a core)" },
  },
  graceful: true,
  async run(context, { args, flags }) {
    const { out, signal } = context;
    const folder = outFolder(await context.config(), flags.out, "study-stockclaw");
    fs.mkdirSync(folder, { recursive: true });
    const series: StudySeries[] = [];
    for (const text of args.data) {
      const { file, horizon } = parseData(text);
      series.push(await describeSeries(file, horizon));
    }
    requireNames(series);
    series.push(await writeControl(series[0]!, folder, flags.seed));
    const view = new ResearchView(out, process.env);
    try {
      const result = await runStockclaw({
        series,
        folder,
        budget: flags.trials === undefined ? { cpu_s: flags.cpu } : { trials: flags.trials },
        cost: flags.cost,
        seed: flags.seed,
        session: {
          workers: flags.workers ?? Math.min(4, os.availableParallelism()),
          threads: 1,
          self: selfCommand(),
          magnet_version: packageJson.version,
          env: process.env,
          signal,
        },
        onSeries: ({ name, horizon }) => out.note(`${name}, ${horizon} rows ahead`),
        onEvent: (event) => view.show(event),
        onFinding: () => view.end(),
      });
      await writeWhole(path.join(folder, "study.json"), `${JSON.stringify(result, null, 1)}\n`);
      const { schema: _, ...document } = result;
      out.result("study_stockclaw", { folder, ...document }, () => textOf(result.series));
      return "ok";
    } catch (error) {
      view.end();
      if (!signal.aborted) throw error;
      out.result("study_stockclaw", { folder, ended: "interrupted" }, `stopped; ${folder}`);
      return "interrupted";
    }
  },
});

function requireNames(series: readonly StudySeries[]): void {
  const seen = new Set<string>();
  for (const { name } of series) {
    if (seen.has(name))
      throw new MagnetError("DUPLICATE_NAME", `two files are called ${name}`, {
        hint: "each series has a folder by its file's name: rename one",
        exit: "usage",
      });
    seen.add(name);
  }
}
