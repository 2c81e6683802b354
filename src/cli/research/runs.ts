/** `magnet research list` and `stop`: the runs of this machine. */
import fs from "node:fs";
import path from "node:path";
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";
import { folderHolder } from "../../core/folder-lock.ts";
import { counted } from "../../research/report/facts.ts";
import type { ReportDocument } from "../../research/report/report.ts";
import { RUN_FILE, RUN_LOCK, RunReader } from "../../research/trials/run-reader.ts";
import { defineCommand } from "../frame/command.ts";
import { table } from "../frame/output.ts";
import { runFolder, runsFolder } from "./place.ts";

const REPORT_FILE = "report.json";

export interface RunSummary {
  readonly name: string;
  readonly folder: string;
  readonly task: string;
  readonly state: "running" | "interrupted" | "done" | "unreadable";
  readonly trials: number;
  readonly best: number | null;
  readonly created: string | null;
}

/** The process that works on a run; null without one. */
const processOf = (folder: string): number | null => folderHolder({ folder, name: RUN_LOCK });

function summaryOf(folder: string): RunSummary {
  const name = path.basename(folder);
  const bad = { name, folder, task: "", trials: 0, best: null, created: null };
  try {
    const reader = RunReader.open(folder);
    try {
      const header = reader.header();
      if (!header) return { ...bad, state: "unreadable" };
      const trials = reader.trials();
      const scores = trials.flatMap((t) => (t.record ? [t.record.score] : []));
      const document = (header.task as { document?: { name?: string } }).document;
      const done = fs.existsSync(path.join(folder, REPORT_FILE));
      return {
        ...{ name, folder, task: document?.name ?? "" },
        state: processOf(folder) !== null ? "running" : done ? "done" : "interrupted",
        trials: trials.length,
        best: scores.length > 0 ? Math.max(...scores) : null,
        created: new Date(header.created_ms).toISOString(),
      };
    } finally {
      reader.close();
    }
  } catch {
    return { ...bad, state: "unreadable" };
  }
}

export const list = defineCommand({
  summary: "Shows the research runs of this machine",
  examples: [{ command: "magnet research list", does: "newest first" }],
  args: {},
  flags: {},
  async run(context) {
    const config = await context.config();
    const folder = runsFolder(config);
    const names = fs.existsSync(folder) ? fs.readdirSync(folder) : [];
    const runs = names
      .map((name) => path.join(folder, name))
      .filter((run) => fs.existsSync(path.join(run, RUN_FILE)))
      .map(summaryOf)
      .sort((a, b) => (b.created ?? "").localeCompare(a.created ?? ""));
    context.out.result("research_list", { runs }, () =>
      runs.length === 0
        ? `no runs in ${folder}; start one: magnet research run TASK.json`
        : table(
            ["run", "task", "state", "trials", "best", "begun"],
            runs.map((r) => [
              ...[r.name, r.task, r.state, r.trials],
              r.best === null ? "-" : r.best.toFixed(4),
              r.created ?? "-",
            ]),
          ),
    );
    return undefined;
  },
});

export const stop = defineCommand({
  summary: "Ends a running run; resume goes on with it",
  examples: [{ command: "magnet research stop churn", does: "as Ctrl-C would" }],
  args: { run: { value: "RUN", summary: "name or folder of the run" } },
  flags: {},
  async run(context, { args }) {
    const folder = runFolder(await context.config(), args.run);
    RunReader.open(folder).close();
    const pid = processOf(folder);
    if (pid === null)
      throw new MagnetError("RUN_NOT_RUNNING", `nothing works on ${folder}`, {
        hint: `magnet research resume ${args.run} goes on with it`,
      });
    process.kill(pid, "SIGTERM");
    context.out.result("research_stop", { folder, process: pid }, `told process ${pid} to stop`);
    return undefined;
  },
});

/** Throws RUN_NOT_FOUND, RUN_NOT_BEGUN, and RUN_NOT_DONE with how far it is. */
export function requireDone(folder: string): void {
  const reader = RunReader.open(folder);
  try {
    reader.begun();
    if (fs.existsSync(path.join(folder, REPORT_FILE))) return;
    const pid = processOf(folder);
    const trials = reader.trials().filter(({ record }) => record !== null).length;
    const state = pid === null ? "was interrupted" : `still runs (process ${pid})`;
    throw new MagnetError("RUN_NOT_DONE", `${folder} ${state}, after ${counted(trials, "trial")}`, {
      hint: pid === null ? `go on with it: magnet research resume ${folder}` : "wait for its end",
      retryable: true,
    });
  } finally {
    reader.close();
  }
}

const badReport = (file: string, why: string) =>
  new MagnetError("RUN_CORRUPT", `${file} is no report of a run: ${why}`, {
    hint: `magnet research resume ${path.dirname(file)} writes it again`,
    exit: "verification",
  });

/** What every view of a report begins with. */
const reportSchema = z.looseObject({
  schema: z.literal("magnet.research_report/1"),
  task: z.looseObject({ name: z.string(), domain: z.enum(["tabular", "series", "language"]) }),
  result: z.looseObject({
    baseline: z.looseObject({ trial: z.int() }),
    final: z.looseObject({ candidate: z.looseObject({ trial: z.int() }) }),
    sealed: z.looseObject({}),
    versions: z.array(z.looseObject({})),
  }),
  trials: z.array(z.looseObject({ index: z.int() })),
});

/** Reads the report that an ended run has left. Throws RUN_NOT_DONE, RUN_CORRUPT. */
export function reportOf(folder: string): ReportDocument {
  requireDone(folder);
  const file = path.join(folder, REPORT_FILE);
  let value: unknown;
  try {
    value = JSON.parse(fs.readFileSync(file, "utf8"));
  } catch (error) {
    throw badReport(file, (error as Error).message);
  }
  const parsed = reportSchema.safeParse(value);
  if (parsed.success) return value as ReportDocument;
  const { path: where, message } = parsed.error.issues[0]!;
  throw badReport(file, `${where.join(".") || "its top"}: ${message}`);
}
