/**
 * A research run from its folder's beginning to its report: opens the task and its domain, the
 * store and the workers, runs the loop, and leaves the model and the report in the folder. The same
 * call begins a run and goes on with one that was interrupted.
 */
import path from "node:path";
import { MagnetError } from "../core/errors.ts";
import type { BudgetLimits } from "./loop/budget.ts";
import type { ResearchEvent } from "./loop/events.ts";
import type { KnowledgeSource, Spent } from "./loop/faces.ts";
import { runResearch } from "./loop/run.ts";
import { openDomain } from "./open-domain.ts";
import { MODEL_FOLDER, makeReport, type ReportDocument } from "./report/report.ts";
import { type ReportFiles, writeReport, writeWhole } from "./report/write-report.ts";
import { parseTask, type Task } from "./task/load.ts";
import { teacherSource } from "./teacher/propose.ts";
import { parseTeacher } from "./teacher/settings.ts";
import { openTeacher, type TeacherUse } from "./teacher/teacher.ts";
import { openRun, type RunTask } from "./trials/open-run.ts";
import { ownCpuSeconds } from "./trials/process-cpu.ts";
import { trialOf } from "./trials/trial-rows.ts";
import type { WorkerSource } from "./trials/trial-worker.ts";
import type { Json, ResearchDomain } from "./types.ts";

/** What decides a run's result beside its task; kept in its folder. */
export interface RunSettings {
  readonly budget: BudgetLimits;
  readonly batch: number;
  readonly patience: number | null;
  readonly epsilon: number | null;
}

export interface SessionOptions {
  readonly folder: string;
  readonly task: RunTask;
  readonly settings: RunSettings;
  readonly workers: number;
  readonly threads: number;
  /** Memory of a worker at most; absent: its share of what is free. */
  readonly memory_bytes?: number | undefined;
  /** Further workers, of the network. */
  readonly sources?: readonly WorkerSource[];
  readonly knowledge?: KnowledgeSource;
  /** False: the task's teacher is not asked. */
  readonly teach: boolean;
  /** Hosts that the teacher's key may go to, beside its provider's own and this machine. */
  readonly teacher_hosts?: readonly string[];
  /** How this program starts itself as a worker. */
  readonly self: readonly string[];
  readonly magnet_version: string;
  readonly env: Record<string, string | undefined>;
  readonly onEvent?: (event: ResearchEvent) => void;
  /** What is odd about the data, before anything is trained. */
  readonly onNotes?: (notes: ResearchDomain["notes"]) => void;
  readonly signal?: AbortSignal;
}

export interface SessionResult {
  readonly report: ReportDocument;
  /** `model_folder`: of a language run, the model as chat, serve and export open it. */
  readonly files: ReportFiles & { readonly model: string; readonly model_folder?: string };
  readonly resumed: boolean;
  readonly spent: Spent;
  readonly teacher: TeacherUse | null;
}

export const MODEL_FILE = "model.bin";
/**
 * Of a model that is read whole: a thousand trees over fifty columns have some megabytes, a
 * language model of a billion ternary weights fits.
 */
export const MODEL_BYTES_MAX = 2 ** 31;

/** The final model as other commands open it; null where `research predict` is what uses it. */
async function usableModel(task: Task, folder: string, bytes: Uint8Array): Promise<string | null> {
  if (task.domain !== "language") return null;
  const model_folder = path.join(folder, MODEL_FOLDER);
  const { writeModelFolder } = await import("./language/final-model.ts");
  await writeModelFolder(bytes, model_folder);
  return model_folder;
}

async function teacherOf(task: Task, options: SessionOptions) {
  if (task.teacher === null || !options.teach) return null;
  const { record, replay, ...settings } = parseTeacher(task.teacher);
  if (record !== undefined && path.basename(record) !== record)
    throw new MagnetError("BAD_TEACHER", `teacher.record is a path: ${record}`, {
      hint: "give a file name: the recording lies in the run's folder",
      exit: "config",
    });
  const given = {
    ...settings,
    ...(record === undefined ? {} : { record: path.join(options.folder, record) }),
    ...(replay === undefined ? {} : { replay: path.resolve(path.dirname(task.file), replay) }),
  };
  return openTeacher(given, { env: options.env, trusted_hosts: options.teacher_hosts ?? [] });
}

/**
 * Runs to the end. Rejects with the signal's reason where it is aborted: the folder then holds all
 * that was done, and the same call goes on.
 */
export async function research(options: SessionOptions): Promise<SessionResult> {
  const start_s = ownCpuSeconds(); // opening the task is part of what the run costs
  const { file, document, seed } = options.task;
  const task = parseTask(document, file, seed === null ? {} : { seed });
  const teacher = await teacherOf(task, options);
  const domain = await openDomain(task);
  try {
    if (domain.notes.length > 0) options.onNotes?.(domain.notes);
    return await runIn(domain, task, teacher, options, start_s);
  } finally {
    await domain.close();
  }
}

async function runIn(
  domain: ResearchDomain,
  task: Task,
  teacher: Awaited<ReturnType<typeof teacherOf>>,
  options: SessionOptions,
  start_s: number,
): Promise<SessionResult> {
  const { settings, folder, knowledge, onEvent, signal } = options;
  const run = openRun({
    folder,
    task: options.task,
    task_hash: domain.task_hash,
    settings: { ...settings, taught: teacher !== null } as unknown as Json,
    code_version: options.magnet_version,
    self: options.self,
    workers: options.workers,
    threads: options.threads,
    memory_bytes: options.memory_bytes,
    ownCpu: () => ownCpuSeconds() - start_s,
    ...(options.sources ? { sources: options.sources } : {}),
  });
  try {
    const { result, model } = await runResearch({
      domain,
      budget: settings.budget,
      seed: task.seed,
      batch: settings.batch,
      ...(settings.patience === null ? {} : { patience: settings.patience }),
      ...(settings.epsilon === null ? {} : { epsilon: settings.epsilon }),
      runner: run.runner,
      ...(knowledge ? { knowledge } : {}),
      ...(teacher ? { teacher: teacherSource(teacher, task.seed, settings.budget.wall_s) } : {}),
      ...(onEvent ? { onEvent } : {}),
      ...(signal ? { signal } : {}),
    });
    const model_file = path.join(folder, MODEL_FILE);
    await writeWhole(model_file, model.bytes);
    const model_folder = await usableModel(task, folder, model.bytes);
    const report = makeReport({
      task: {
        name: task.name,
        domain: task.domain,
        task_hash: domain.task_hash,
        notes: domain.notes.map(({ text }) => text),
      },
      magnet_version: options.magnet_version,
      result,
      // Without outputs: a report needs none, and together they may be larger than the memory.
      trials: run.store.trials().map((stored) => trialOf(stored, new Float32Array())),
      importance: model.importance,
      reads: run.store.reads(),
    });
    const files = await writeReport(folder, report);
    return {
      report,
      files: { ...files, model: model_file, ...(model_folder ? { model_folder } : {}) },
      resumed: run.resumed,
      spent: run.runner.spent(),
      teacher: teacher?.use ?? null,
    };
  } finally {
    await run.close();
  }
}
