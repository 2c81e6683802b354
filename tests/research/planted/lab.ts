/**
 * Opens a planted data set as a task of the tabular domain, analyses its baseline, and runs the
 * real loop on it in this process.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import * as learners from "../../../src/native/learners.ts";
import type { ResearchResult } from "../../../src/research/loop/events.ts";
import { localRunner } from "../../../src/research/loop/local-runner.ts";
import { runResearch } from "../../../src/research/loop/run.ts";
import { openTabular, type TabularDomain } from "../../../src/research/tabular/domain.ts";
import { parseTask } from "../../../src/research/task/load.ts";
import type { Configuration, Trial } from "../../../src/research/types.ts";
import { type PlantedTable, toCsv } from "./planted.ts";

/** The domain on a table; the file lives as long as `body`. */
export async function withDomain<T>(
  planted: PlantedTable,
  body: (domain: TabularDomain) => Promise<T>,
): Promise<T> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-planted-"));
  try {
    fs.writeFileSync(path.join(folder, "data.csv"), toCsv(planted));
    const document = {
      schema: "magnet.research_task/1",
      name: "planted",
      domain: "tabular",
      data: "data.csv",
      label: "label",
      ...planted.task,
    };
    const task = parseTask(document, path.join(folder, "task.json"));
    const domain = await openTabular(task, learners);
    try {
      return await body(domain);
    } finally {
      await domain.close();
    }
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/** One trial of a configuration, as the loop would store it. */
export async function trialOf(
  domain: TabularDomain,
  configuration: Configuration,
  index = 0,
): Promise<Trial> {
  const spec = {
    task_hash: domain.task_hash,
    configuration: domain.parse(configuration),
    seed: 1,
    fidelity: 1,
  };
  return {
    index,
    place: { version: 0, strategy: "baseline", proposer: "baseline" },
    spec,
    state: "done",
    outcome: await domain.evaluate(spec, { threads: 1 }),
    error: null,
  };
}

/** The loop with a budget of trials. */
export async function researched(
  domain: TabularDomain,
  trials: number,
  seed = 1,
): Promise<ResearchResult> {
  const { result } = await runResearch({
    domain,
    budget: { trials },
    seed,
    runner: localRunner({ domain, clock: systemClock }),
  });
  return result;
}
