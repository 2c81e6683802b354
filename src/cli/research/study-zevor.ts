/** `magnet research study zevor`: a model beside a rule pipeline, with contexts (paper 6, Table 3). */
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../../core/errors.ts";
import * as learners from "../../native/learners.ts";
import { writeWhole } from "../../research/report/write-report.ts";
import { runZevor, type ZevorResult } from "../../research/study/zevor.ts";
import { TITANIC_TASK, titanicTable } from "../../research/study/zevor-data.ts";
import { TabularDomain } from "../../research/tabular/domain.ts";
import { loadTaskData, toTaskData } from "../../research/task/data.ts";
import { loadTask, parseTask } from "../../research/task/load.ts";
import { defineCommand } from "../frame/command.ts";
import { table } from "../frame/output.ts";
import { outFolder } from "./place.ts";

const digits = (value: number | null) => value?.toFixed(4) ?? "-";

async function open(file: string | undefined, seed: number): Promise<TabularDomain> {
  if (file === undefined) {
    const task = parseTask(TITANIC_TASK, "titanic.json", { seed });
    return new TabularDomain(task, toTaskData(task, titanicTable()), learners);
  }
  const task = loadTask(file, { seed });
  if (task.domain !== "tabular" || task.context === null || task.pipeline === null)
    throw new MagnetError("BAD_TASK", `${file} is no tabular task with a context and a pipeline`, {
      hint: '"context" parts the rows, "pipeline" is the column with the answers of the rules',
      exit: "config",
    });
  return new TabularDomain(task, await loadTaskData(task), learners);
}

function textOf(result: ZevorResult): string {
  const errors = result.classes.length === 2 ? ["FP", "FN"] : ["errors"];
  const rows = result.versions.map((v) => [
    ...[v.version, digits(v.score)],
    ...(errors.length === 2 ? v.errors : [v.errors.reduce((a, b) => a + b, 0)]),
    ...[digits(v.loco_score), digits(v.loco_gap), v.configurations],
    v.difference === null ? "-" : `[${digits(v.difference.low)}, ${digits(v.difference.high)}]`,
    v.kept ? "best" : "",
    v.innovation,
  ]);
  const titles = [
    ...["version", result.metric, ...errors, "LOCO", "gap", "configurations"],
    ...["over the best, 95%", "", "innovation"],
  ];
  const { pipeline, end_to_end, final } = result.sealed;
  const sealed = (
    [
      ["the rules", pipeline],
      ["raw signals", end_to_end],
      ["final", final],
    ] as const
  ).map(([name, s]) => [name, digits(s.score), `[${digits(s.low)}, ${digits(s.high)}]`, s.units]);
  return [
    table(titles, rows),
    "",
    table(["sealed part", result.metric, "95%", "rows"], sealed),
    "",
    ...result.findings,
  ].join("\n");
}

export const zevor = defineCommand({
  summary:
    "A model beside a rule pipeline: pipeline_pred, class weights, ensembles, context offsets",
  details:
    "TASK is a tabular task file that names a context and a pipeline column. Without one: the passengers\nof the Titanic, class of travel as context, women and children first as the rule.",
  examples: [
    { command: "magnet research study zevor", does: "the built-in data, some seconds" },
    { command: "magnet research study zevor videos.json", does: "own signals and rules" },
  ],
  args: { task: { value: "TASK", summary: "task file (default: built-in data)", optional: true } },
  flags: {
    out: { type: "string", value: "DIR", summary: "folder of the study (default study-zevor)" },
    seed: { type: "integer", min: 0, max: 2 ** 31, default: 1, summary: "of splits and models" },
  },
  graceful: true,
  async run(context, { args, flags }) {
    const { out, signal } = context;
    const folder = outFolder(await context.config(), flags.out, "study-zevor");
    const domain = await open(args.task, flags.seed);
    try {
      const result = await runZevor({
        domain,
        seed: flags.seed,
        signal,
        onVersion: (v) => out.note(`${v.version} ${digits(v.score)} ${v.innovation}`),
      });
      fs.mkdirSync(folder, { recursive: true });
      await writeWhole(path.join(folder, "study.json"), `${JSON.stringify(result, null, 1)}\n`);
      const { schema: _, ...document } = result;
      out.result("study_zevor", { folder, ...document }, () => textOf(result));
      return "ok";
    } catch (error) {
      if (!signal.aborted) throw error;
      out.result("study_zevor", { folder, ended: "interrupted" }, "stopped; nothing was written");
      return "interrupted";
    } finally {
      await domain.close();
    }
  },
});
