/**
 * The genkidama study in a folder: begins it, or goes on with one that was interrupted, and leaves
 * study.json and study.md there.
 */
import path from "node:path";
import { openLanguageTask } from "../language/open.ts";
import { writeWhole } from "../report/write-report.ts";
import { parseTask } from "../task/load.ts";
import { openRun, type RunTask } from "../trials/open-run.ts";
import type { Configuration } from "../types.ts";
import { genkidamaTask, runGenkidama } from "./genkidama.ts";
import { studyMarkdown } from "./genkidama-table.ts";
import type { StudyEvent, StudyResult } from "./genkidama-types.ts";

export interface GenkidamaOptions {
  readonly folder: string;
  /** Absolute paths of texts: each is a domain, or each of its subfolders. */
  readonly data: readonly string[];
  readonly scale: number;
  readonly seed?: number;
  /** Fields of the recipe to start from that are others. */
  readonly baseline?: Configuration;
  readonly workers: number;
  /** How this program starts itself as a worker. */
  readonly self: readonly string[];
  readonly magnet_version: string;
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: StudyEvent) => void;
}

/** Throws what opening the texts finds, RUN_BUSY, RUN_DIFFERS, BASELINE_FAILED, the signal's reason. */
export async function studyGenkidama(
  options: GenkidamaOptions,
): Promise<{ result: StudyResult; files: { json: string; markdown: string }; resumed: boolean }> {
  const { folder, data, scale, seed, baseline, workers, self, signal, onEvent } = options;
  const document = genkidamaTask({
    ...{ data, scale },
    ...(seed === undefined ? {} : { seed }),
    ...(baseline ? { baseline } : {}),
  });
  const task: RunTask = { file: path.join(folder, "task.json"), document, seed: null };
  const opening = { threads: 1, ...(signal ? { signal } : {}) };
  const domain = await openLanguageTask(parseTask(document, task.file), opening);
  try {
    const run = openRun({
      ...{ folder, task, task_hash: domain.task_hash, workers, self, threads: 1 },
      settings: { study: "genkidama" },
      code_version: options.magnet_version,
    });
    try {
      const result = await runGenkidama({
        ...{ domain, runner: run.runner },
        ...(signal ? { signal } : {}),
        ...(onEvent ? { onEvent } : {}),
      });
      const files = {
        json: path.join(folder, "study.json"),
        markdown: path.join(folder, "study.md"),
      };
      await writeWhole(files.json, `${JSON.stringify(result, null, 2)}\n`);
      await writeWhole(files.markdown, `${studyMarkdown(result)}\n`);
      return { result, files, resumed: run.resumed };
    } finally {
      await run.close();
    }
  } finally {
    await domain.close();
  }
}
