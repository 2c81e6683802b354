/**
 * How many trials the loop needs to reach what random search ends with: the same data, folds, seed
 * and first configuration, the same number of trials. Random search draws from most of what the
 * loop's strategies choose from: one to three learners, their settings, class weights, blend weights
 * and the decision rule; chosen features, interactions, bags and calibration are the loop's alone,
 * so the ratio is that of the whole loop, not of its optimiser. A trial at a lower fidelity or at another seed counts for the loop as well.
 *
 *   bun tests/peers/research/efficiency.ts FILE.csv SEED TRIALS [ROWS]     one JSON line
 *
 * The table's row runs it on its sets (efficiency-row.ts); what was tuned with it are other sets.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import { type Random, seededRandom } from "../../../src/core/random.ts";
import * as learners from "../../../src/native/learners.ts";
import { runResearch } from "../../../src/research/loop/run.ts";
import {
  applySettings,
  axesOf,
  samplePoint,
  settingsOf,
} from "../../../src/research/search/space.ts";
import {
  guessOf,
  learnerAxes,
  memberSpace,
} from "../../../src/research/strategies/learner-spaces.ts";
import { openTabular } from "../../../src/research/tabular/domain.ts";
import { parseTask } from "../../../src/research/task/load.ts";
import type { Configuration, Json, ResearchDomain, Space } from "../../../src/research/types.ts";
import { localRunner } from "../../research/local-runner.ts";

/** What both searches did with one set and seed. */
export interface Race {
  readonly trials: number;
  /** Random search's final best, and the trial that found it. */
  readonly target: number;
  readonly random_at: number;
  /** Trials until the loop reached it; null where it did not. */
  readonly loop_at: number | null;
  readonly loop_best: number;
  readonly random_cpu_s: number;
  readonly loop_cpu_s: number;
}

const LEARNERS = ["boosting", "extra_trees", "forest", "logistic"] as const;
const NO_FEATURES = {
  top_k: 0,
  interactions: 0,
  pipeline: false,
  context: false,
  context_blind: 0,
};

/** A copy of the table with some of its rows, drawn by the seed; lines are rows in these files. */
function withRows(file: string, rows_max: number, seed: number): string {
  const lines = fs.readFileSync(file, "utf8").trimEnd().split("\n");
  if (lines.length - 1 <= rows_max) return file;
  const random = seededRandom(seed * 104_729 + 7);
  const rows = lines.slice(1);
  for (let i = 0; i < rows_max; i++) {
    const j = i + random.below(rows.length - i);
    [rows[i], rows[j]] = [rows[j]!, rows[i]!];
  }
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "efficiency-"));
  const out = path.join(folder, path.basename(file));
  fs.writeFileSync(out, `${[lines[0], ...rows.slice(0, rows_max)].join("\n")}\n`);
  return out;
}

function open(file: string, seed: number): Promise<ResearchDomain> {
  const task = { schema: "magnet.research_task/1", name: "efficiency", domain: "tabular" };
  return openTabular(parseTask({ ...task, data: file, label: "label", seed }, file), learners);
}

/** One to three different learners with settings of their own; each choice is as likely. */
function drawn(domain: ResearchDomain, random: Random): Configuration {
  const left: (typeof LEARNERS)[number][] = [...LEARNERS];
  const chosen = Array.from(
    { length: 1 + random.below(3) },
    () => left.splice(random.below(left.length), 1)[0]!,
  );
  const rest = { balance: 0, features: NO_FEATURES, bags: 1, weight: 1 };
  const members = chosen.map((learner) => guessOf(learner, domain.facts, rest));
  const spaces = chosen.map((learner, m) =>
    memberSpace(m, {
      ...learnerAxes(learner, domain.facts),
      balance: { kind: "real", min: 0, max: 1.2 },
      ...(chosen.length > 1 ? { weight: { kind: "real", min: 0.1, max: 1 } } : {}),
    }),
  );
  const rule: Space = { "decision.rule": { kind: "choice", options: ["argmax", "tuned"] } };
  const axes = axesOf(Object.assign(rule, ...spaces) as Space);
  const base = { ...domain.baseline(), members: members as unknown as Json };
  return domain.parse(applySettings(base, settingsOf(axes, samplePoint(axes, random))));
}

async function byChance(domain: ResearchDomain, seed: number, trials: number) {
  const random = seededRandom(seed * 7919 + 13);
  let [target, at, cpu_s] = [-Infinity, 0, 0];
  for (let trial = 1; trial <= trials; trial++) {
    const configuration = trial === 1 ? domain.baseline() : drawn(domain, random);
    const spec = { task_hash: domain.task_hash, configuration, seed, fidelity: 1 };
    const outcome = await domain.evaluate(spec, { threads: 1 });
    cpu_s += outcome.cpu_s;
    if (outcome.score > target) [target, at] = [outcome.score, trial];
  }
  return { target, at, cpu_s };
}

/** The loop, ended as soon as it has reached the target. */
async function byLoop(domain: ResearchDomain, seed: number, trials: number, target: number) {
  const stop = new AbortController();
  let [best, at, cpu_s] = [-Infinity, 0, 0];
  let reached: number | null = null;
  const run = runResearch({
    domain,
    budget: { trials },
    patience: trials,
    seed,
    runner: localRunner({ domain, clock: systemClock }),
    signal: stop.signal,
    onEvent(event) {
      if (event.kind !== "trial" || reached !== null) return;
      at += event.fidelity;
      cpu_s += event.cpu_s;
      if (event.score === null || event.fidelity < 1 || event.seed !== seed) return;
      best = Math.max(best, event.score);
      if (best < target) return;
      reached = at;
      stop.abort();
    },
  });
  await run.catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  return { best, reached, cpu_s };
}

export async function race(
  file: string,
  seed: number,
  trials: number,
  rows_max: number,
): Promise<Race> {
  const data = withRows(file, rows_max, seed);
  // Each has a domain of its own: neither finds models in the other's cache.
  const first = await open(data, seed);
  const random = await byChance(first, seed, trials);
  await first.close();
  const second = await open(data, seed);
  const loop = await byLoop(second, seed, trials, random.target);
  await second.close();
  if (data !== file) fs.rmSync(path.dirname(data), { recursive: true });
  return {
    trials,
    ...{ target: random.target, random_at: random.at, random_cpu_s: random.cpu_s },
    ...{ loop_at: loop.reached, loop_best: loop.best, loop_cpu_s: loop.cpu_s },
  };
}

if (import.meta.main) {
  const [file, seed, trials, rows = "Infinity"] = process.argv.slice(2) as [string, string, string];
  const found = await race(file, Number(seed), Number(trials), Number(rows));
  process.stdout.write(`${JSON.stringify(found)}\n`);
}
