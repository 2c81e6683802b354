/**
 * Trials a second of a research run with one and with two worker processes: the baseline of a
 * made-up table under many seeds, so that all trials cost the same. Opening the task is not counted.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import packageJson from "../../../package.json" with { type: "json" };
import { type BenchResult, benchResult } from "../../core/bench-report.ts";
import { MagnetError } from "../../core/errors.ts";
import { openDomain } from "../../research/open-domain.ts";
import { parseTask } from "../../research/task/load.ts";
import { openRun, type RunTask } from "../../research/trials/open-run.ts";
import { selfCommand } from "../self-command.ts";

function makeTask(folder: string, table: string): RunTask {
  fs.writeFileSync(path.join(folder, "table.csv"), table);
  const document = { schema: "magnet.research_task/1", name: "bench", domain: "tabular" };
  const file = path.join(folder, "task.json");
  return { file, document: { ...document, data: "table.csv", label: "label" }, seed: null };
}

export interface TrialsSize {
  /** Of one repeat; even, so that two workers have the same number. */
  trials: number;
  repeat: number;
}

/** Trials a second of each repeat. */
async function rates(
  folder: string,
  task: RunTask,
  workers: number,
  { trials, repeat }: TrialsSize,
): Promise<number[]> {
  const domain = await openDomain(parseTask(task.document, task.file));
  const { task_hash } = domain;
  const run = openRun({
    ...{ folder: path.join(folder, `run-${workers}`), task, task_hash, workers, threads: 1 },
    ...{ settings: {}, code_version: packageJson.version, self: selfCommand() },
  });
  const configuration = domain.baseline();
  const batch = async (first: number, count: number) => {
    const proposals = Array.from({ length: count }, (_, i) => ({
      place: { version: 0, strategy: "baseline", proposer: "baseline" } as const,
      spec: { task_hash, configuration, seed: first + i, fidelity: 1 },
    }));
    const ended = await run.runner.run(proposals, { cpu_limit_s: null });
    const failed = ended.find(({ state }) => state !== "done");
    if (failed) throw new MagnetError("BENCH_FAILED", `a trial failed: ${failed.error}`);
  };
  try {
    await batch(0, 2 * workers); // each worker has opened the task and its code is compiled
    const found: number[] = [];
    for (let i = 1; i <= repeat; i++) {
      const began_ms = performance.now();
      await batch(i * 1000, trials);
      found.push((trials * 1000) / (performance.now() - began_ms));
    }
    return found;
  } finally {
    await run.close();
    await domain.close();
  }
}

/** `table`: a CSV with a column "label". */
export async function benchTrials(table: string, size: TrialsSize): Promise<BenchResult[]> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-bench-"));
  try {
    const task = makeTask(folder, table);
    const one = await rates(folder, task, 1, size);
    const two = await rates(folder, task, 2, size);
    const limit = { value: 2 * Math.max(...one), name: "twice one worker" };
    return [
      benchResult("trials_per_s_1_worker", "trials/s", one),
      benchResult("trials_per_s", "trials/s", two, limit),
    ];
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
