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
import { runResearch } from "../../../src/research/loop/run.ts";
import { openTabular, type TabularDomain } from "../../../src/research/tabular/domain.ts";
import { parseTask } from "../../../src/research/task/load.ts";
import type {
  Configuration,
  FailureKind,
  StrategyState,
  Trial,
} from "../../../src/research/types.ts";
import { localRunner } from "../local-runner.ts";
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
      return await body(planted.rows_max ? limited(domain, planted.rows_max) : domain);
    } finally {
      await domain.close();
    }
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/** The domain with a baseline that trains on some of the rows; the shipped one takes them all. */
const limited = (domain: TabularDomain, rows_max: number): TabularDomain =>
  Object.assign(Object.create(domain) as TabularDomain, {
    baseline: () => domain.parse({ ...domain.baseline(), rows: { rows_max } }),
  });

/** The domain of a run that has tried these before its first version. */
const withTried = (domain: TabularDomain, tried: readonly Trial[]): TabularDomain =>
  Object.assign(Object.create(domain) as TabularDomain, {
    analyse: (best: Trial, trials: readonly Trial[]) => domain.analyse(best, [...tried, ...trials]),
    strategies: domain.strategies.map((strategy) => ({
      ...strategy,
      sweep: (state: StrategyState) =>
        strategy.sweep({ ...state, trials: [...tried, ...state.trials] }),
    })),
  });

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

/** Where a run on this failure starts: disagreement is with another family, tried before. */
export const started = async (domain: TabularDomain, kind: FailureKind): Promise<TabularDomain> =>
  kind === "disagreement"
    ? withTried(domain, [await trialOf(domain, { members: [{ learner: "logistic" }] })])
    : domain;
