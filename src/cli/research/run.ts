/**
 * `magnet research run` and `resume`: from a task file to the best model, the knowledge and the
 * report. Ctrl-C or SIGTERM ends after what is running; `resume` goes on to the same result.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import packageJson from "../../../package.json" with { type: "json" };
import { systemClock } from "../../core/clock.ts";
import type { Config } from "../../core/config.ts";
import { MagnetError } from "../../core/errors.ts";
import { readSmallText } from "../../core/read-file.ts";
import { connectControl } from "../../http/control-client.ts";
import { KnowledgeBase } from "../../research/knowledge/knowledge-base.ts";
import { Budget } from "../../research/loop/budget.ts";
import { figureRows, headline, useCommands } from "../../research/report/facts.ts";
import { MODEL_FOLDER } from "../../research/report/report.ts";
import { type RunSettings, research, type SessionResult } from "../../research/session.ts";
import { loadTask } from "../../research/task/load.ts";
import type { RunTask } from "../../research/trials/open-run.ts";
import { RUN_FILE, RunReader } from "../../research/trials/run-reader.ts";
import type { DomainName } from "../../research/types.ts";
import { type Context, defineCommand } from "../frame/command.ts";
import { type Output, table } from "../frame/output.ts";
import { stopOnFailure } from "../run-guards.ts";
import { selfCommand } from "../self-command.ts";
import { type NetworkPlace, networkSources } from "./network-workers.ts";
import { knowledgeFile, runFolder, runsFolder } from "./place.ts";
import { ResearchView } from "./view.ts";

const MIB = 1 << 20;
const TASK_BYTES_MAX = MIB;
/** More trials at once than this are worth it only with as many workers. */
const BATCH_MIN = 4;

const LOCAL_FLAGS = {
  workers: {
    type: "integer",
    min: 0,
    max: 256,
    summary: "processes that evaluate trials (default: one a core)",
  },
  nodes: {
    type: "integer",
    min: 1,
    max: 1024,
    value: "PLACES",
    summary: "trials at once on nodes of the network, through the node on this data folder",
  },
  threads: {
    type: "integer",
    min: 1,
    max: 64,
    default: 1,
    summary: "of each worker; never changes a result",
  },
  memory: {
    type: "integer",
    min: 64,
    value: "MIB",
    summary:
      "that a worker may use before its trial ends (default: its share of what is free as the run begins)",
  },
  knowledge: { type: "string", value: "FILE", summary: "knowledge base (default: this machine's)" },
  "teacher-host": {
    type: "list",
    value: "HOST",
    summary: "host named by the task that may get the teacher's key",
  },
  "no-knowledge": { type: "boolean", summary: "neither use nor add to the knowledge base" },
} as const;

interface LocalFlags {
  teacher_host: string[];
  workers: number | undefined;
  nodes: number | undefined;
  threads: number;
  memory: number | undefined;
  knowledge: string | undefined;
  no_knowledge: boolean;
}

/** What a run was begun with, as far as its folder says. */
function begunSettings(folder: string): { task: RunTask; settings: RunSettings; taught: boolean } {
  const reader = RunReader.open(folder);
  try {
    const { task, settings } = reader.begun();
    const { taught, ...rest } = settings as unknown as RunSettings & { taught: boolean };
    return { task: task as unknown as RunTask, settings: rest, taught };
  } finally {
    reader.close();
  }
}

function openKnowledge(config: Config, flags: LocalFlags): KnowledgeBase | null {
  if (flags.no_knowledge) return null;
  const file = flags.knowledge ?? knowledgeFile(config);
  fs.mkdirSync(path.dirname(path.resolve(file)), { recursive: true });
  return KnowledgeBase.open(file, systemClock);
}

/** Places on nodes of the network, where they are asked for. Throws NO_RESEARCH_NODES. */
async function placesOf(
  out: Output,
  config: Config,
  task: RunTask,
  { nodes, workers }: LocalFlags,
): Promise<NetworkPlace[]> {
  if (nodes === undefined && workers === 0)
    throw new MagnetError("NO_WORKERS", "--workers 0 leaves nobody to evaluate trials", {
      hint: "give --nodes PLACES as well, or at least one worker",
      exit: "usage",
    });
  if (nodes === undefined) return [];
  const found = await networkSources({
    control: connectControl(config.values.node.data_dir),
    ...{ task, version: packageJson.version, workers_max: nodes },
  });
  out.note(`trials go to ${found.nodes.join(", ")} too`);
  return found.sources;
}

/** Runs a folder to its end and shows the result. */
async function runFolderToEnd(
  { out, signal }: Context,
  config: Config,
  options: {
    folder: string;
    task: RunTask;
    settings: RunSettings;
    teach: boolean;
    flags: LocalFlags;
  },
) {
  const { folder, flags } = options;
  const sources = await placesOf(out, config, options.task, flags);
  const knowledge = openKnowledge(config, flags);
  const view = new ResearchView(out, process.env);
  const reports = stopOnFailure({
    onEvent: (event: Parameters<typeof view.show>[0]) => view.show(event),
  });
  try {
    const result = await research({
      folder,
      task: options.task,
      settings: options.settings,
      teach: options.teach,
      teacher_hosts: flags.teacher_host,
      workers: flags.workers ?? Math.min(os.availableParallelism(), options.settings.batch),
      threads: flags.threads,
      memory_bytes: flags.memory === undefined ? undefined : flags.memory * MIB,
      sources,
      ...(knowledge ? { knowledge } : {}),
      self: selfCommand(),
      magnet_version: packageJson.version,
      env: process.env,
      onEvent: reports.onEvent,
      onNotes: (notes) => {
        for (const { code, text, hint } of notes) out.note(`${code}: ${text}. Hint: ${hint}`);
      },
      signal: AbortSignal.any([signal, reports.stop.signal]),
    });
    view.end();
    showResult(out, folder, result);
    return "ok" as const;
  } catch (error) {
    view.end();
    if (reports.stop.signal.aborted && !signal.aborted) throw reports.stop.signal.reason;
    if (!signal.aborted) throw error;
    const command = `magnet research resume ${folder}`;
    out.result(
      "research",
      { folder, ended: "interrupted", resume: command },
      `stopped; ${command}`,
    );
    return "interrupted" as const;
  } finally {
    knowledge?.close();
  }
}

function showResult(out: Output, folder: string, { report, files, teacher }: SessionResult): void {
  const { result } = report;
  out.result(
    "research",
    { folder, ended: result.stop, task: report.task, result, files, teacher },
    () =>
      [
        headline(report),
        table(["figure", "value"], figureRows(report)),
        `report  ${files.page}`,
        `model   ${files.model_folder ?? files.model}`,
        `use it  ${useCommands(report.task.domain, folder)[0]}`,
      ].join("\n"),
  );
}

/** A folder that holds nothing yet, named after the task unless one is given. */
function newFolder(config: Config, given: string | undefined, name: string): string {
  if (given !== undefined) return path.resolve(given);
  const base = name.toLowerCase().replaceAll(/[^\w.-]+/g, "-");
  for (let n = 1; ; n++) {
    const folder = path.join(runsFolder(config), n === 1 ? base : `${base}-${n}`);
    if (!fs.existsSync(folder)) return folder;
  }
}

function requireNew(folder: string, domain: DomainName): void {
  const model = path.join(folder, MODEL_FOLDER);
  if (domain === "language" && fs.existsSync(model) && !fs.existsSync(path.join(folder, RUN_FILE)))
    throw new MagnetError("EXISTS", `${model} is there already, and the run's model would be`, {
      hint: "choose another --out",
      exit: "usage",
    });
  if (!fs.existsSync(path.join(folder, RUN_FILE))) return;
  throw new MagnetError("RUN_EXISTS", `${folder} holds a run already`, {
    hint: `magnet research resume ${folder}, or choose another --out`,
    exit: "usage",
  });
}

/** A run that could not begin leaves no folder that would take its name. */
function removeEmpty(folder: string): void {
  if (fs.existsSync(folder) && fs.readdirSync(folder).length === 0) fs.rmdirSync(folder);
}

export const run = defineCommand({
  summary: "Researches a task to its best model, with no human in between",
  details:
    "TASK is a JSON file that names domain, data, label and budget (docs/research.md). The run's folder\ngets the trials, the model and the report. Ctrl-C or SIGTERM ends early; resume goes on.",
  examples: [
    { command: "magnet research run churn.json", does: "with the budget of the task file" },
    {
      command: "magnet research run churn.json --cpu 60 --workers 1 --out run/",
      does: "60 CPU seconds in all processes together",
    },
  ],
  args: { task: { value: "TASK", summary: "the task file" } },
  flags: {
    out: { type: "string", value: "DIR", summary: "folder of the run" },
    trials: { type: "integer", min: 1, max: 1_000_000, summary: "budget: trials" },
    cpu: {
      type: "number",
      min: 0,
      value: "SECONDS",
      summary: "budget: CPU seconds, all processes",
    },
    wall: { type: "number", min: 0, value: "SECONDS", summary: "budget: seconds of the clock" },
    seed: { type: "integer", min: 0, max: 2 ** 31, summary: "instead of the task's" },
    batch: {
      type: "integer",
      min: 1,
      max: 256,
      summary: "trials proposed at once (default 4, or one a worker)",
    },
    "no-teacher": { type: "boolean", summary: "do not ask the task's teacher" },
    ...LOCAL_FLAGS,
  },
  graceful: true,
  async run(context, { args, flags }) {
    const config = await context.config();
    const { trials, cpu: cpu_s, wall: wall_s } = flags;
    const task = loadTask(args.task, { seed: flags.seed, budget: { trials, cpu_s, wall_s } });
    const folder = newFolder(config, flags.out, task.name);
    requireNew(folder, task.domain);
    const { budget } = task;
    new Budget(budget); // refuses zero before there is a folder
    const made = fs.mkdirSync(folder, { recursive: true });
    const given = JSON.parse(readSmallText(args.task, TASK_BYTES_MAX)) as {
      budget?: { patience?: number; epsilon?: number };
    };
    const ended = runFolderToEnd(context, config, {
      folder,
      task: {
        file: task.file,
        document: given as RunTask["document"],
        seed: flags.seed ?? null,
      },
      settings: {
        budget: { trials: budget.trials, cpu_s: budget.cpu_s, wall_s: budget.wall_s },
        batch: flags.batch ?? Math.max(BATCH_MIN, flags.workers ?? 0),
        patience: given.budget?.patience ?? null,
        epsilon: given.budget?.epsilon ?? null,
      },
      teach: !flags.no_teacher,
      flags,
    });
    return ended.finally(() => made !== undefined && removeEmpty(folder));
  },
});

export const resume = defineCommand({
  summary: "Goes on with an interrupted run, to the result it would have had",
  details: "Ended runs are shown again. What was used while it did not run is not charged.",
  examples: [{ command: "magnet research resume churn", does: "a run that research list shows" }],
  args: { run: { value: "RUN", summary: "name or folder of the run" } },
  flags: LOCAL_FLAGS,
  graceful: true,
  async run(context, { args, flags }) {
    const config = await context.config();
    const folder = runFolder(config, args.run);
    const { task, settings, taught } = begunSettings(folder);
    return runFolderToEnd(context, config, { folder, task, settings, teach: taught, flags });
  },
});
