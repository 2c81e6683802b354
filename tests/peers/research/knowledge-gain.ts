/**
 * What the knowledge base is worth: every task is run cold, then again with what the cold runs of
 * the other families of tasks taught (nothing of its own family), with the same budget and seed.
 * Counted are the trials, the baseline's and the noise floor's among them, to the best score that
 * both runs reach. The table's row is of language tasks; those on tables, whose cold runs open with
 * a shipped portfolio, by itself:
 *   bun tests/peers/research/knowledge-gain.ts tabular DATA_FOLDER RESULTS_FOLDER SEED[,SEED...]
 */
import path from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import { seededRandom } from "../../../src/core/random.ts";
import * as learners from "../../../src/native/learners.ts";
import { priorsFrom } from "../../../src/research/knowledge/prior.ts";
import type { Insight, KnowledgeSource } from "../../../src/research/loop/faces.ts";
import { runResearch } from "../../../src/research/loop/run.ts";
import { openTabular } from "../../../src/research/tabular/domain.ts";
import { parseTask } from "../../../src/research/task/load.ts";
import type { ResearchDomain } from "../../../src/research/types.ts";
import { localRunner } from "../../research/local-runner.ts";
import { type RowResult, stored, type TableOptions } from "./places.ts";
import { openText, TEXTS } from "./text-tasks.ts";

const TRIALS = 30;
/** Fewest in which a run has left its openings behind. */
const TRIALS_MIN = 12;
const GOAL = 0.8;
/** Part of what the cold run gained over the baseline, and resamples of the interval. */
const GAIN = 0.95;
const DRAWS = 10_000;
const KINDS = ["language", "tabular"] as const;
type Kind = (typeof KINDS)[number];
type Options = Pick<TableOptions, "places" | "seeds" | "scale">;

/** Sets outside of the comparison, by what their rows are. */
const TABLES: { readonly [set: string]: string } = {
  ...{ attrition: "people", titanic: "people", scat: "nature", two_class: "chemistry" },
  ...{ glass: "chemistry", sonar: "signals", vehicle: "signals", breast_cancer: "medicine" },
};

interface Cell {
  readonly kind: Kind;
  readonly name: string;
  readonly family: string;
  readonly seed: number;
}

interface Run {
  /** Best search score after each trial. */
  readonly best: readonly number[];
  readonly insights: readonly Insight[];
}

const cellsOf = (kind: Kind, seeds: readonly number[]): Cell[] =>
  Object.entries(kind === "language" ? TEXTS : TABLES).flatMap(([name, given]) =>
    seeds.map((seed) => {
      const family = typeof given === "string" ? given : given.family;
      return { kind, name, family, seed };
    }),
  );

function open({ kind, name, seed }: Cell, data: string): Promise<ResearchDomain> | ResearchDomain {
  if (kind === "language") return openText(name, seed);
  const file = path.join(data, `${name}.csv`);
  const task = { schema: "magnet.research_task/1", name, domain: "tabular", label: "label" };
  return openTabular(parseTask({ ...task, data: file, seed }, file), learners);
}

async function runWith(
  cell: Cell,
  data: string,
  trials: number,
  prior: KnowledgeSource["prior"],
): Promise<Run> {
  const domain = await open(cell, data);
  const insights: Insight[] = [];
  const { result } = await runResearch({
    domain,
    budget: { trials },
    // Both runs use the whole budget.
    patience: trials,
    seed: cell.seed,
    knowledge: { prior, record: (insight) => void insights.push(insight) },
    runner: localRunner({ domain, clock: systemClock }),
  });
  await domain.close();
  return { best: result.best_so_far.map((best) => best ?? -1e9), insights };
}

interface Pair {
  readonly cell: Cell;
  /** Trials to the best score that both reach. */
  readonly cold: number;
  readonly warm: number;
  /** Trials to nearly all that the cold run gained over the baseline: GAIN of it. */
  readonly cold_most: number;
  readonly warm_most: number;
  readonly ends: readonly [cold: number, warm: number];
}

function pairOf(cell: Cell, cold: Run, warm: Run): Pair {
  const ends = [cold.best.at(-1)!, warm.best.at(-1)!] as const;
  // What a run never reaches counts as one trial more than it had.
  const at = ({ best }: Run, level: number) => {
    const reached = best.findIndex((score) => score >= level);
    return reached < 0 ? best.length + 1 : reached + 1;
  };
  const both = Math.min(...ends);
  const [baseline] = cold.best;
  const most = baseline! + GAIN * (ends[0] - baseline!);
  return {
    ...{ cell, ends, cold: at(cold, both), warm: at(warm, both) },
    ...{ cold_most: at(cold, most), warm_most: at(warm, most) },
  };
}

/** Runs what is not stored yet: all tasks cold, then warm. */
async function pairsOf({ places, seeds, scale }: Options, kind: Kind): Promise<Pair[]> {
  const trials = Math.max(TRIALS_MIN, Math.round(TRIALS * scale));
  const run = (cell: Cell, how: string, prior: KnowledgeSource["prior"]) =>
    stored(places, `knowledge-${kind}-${cell.name}-${cell.seed}-${trials}-${how}`, () =>
      runWith(cell, places.data, trials, prior),
    );
  const cold: { cell: Cell; run: Run }[] = [];
  for (const cell of cellsOf(kind, seeds))
    cold.push({ cell, run: await run(cell, "cold", () => ({})) });
  const pairs: Pair[] = [];
  for (const { cell, run: before } of cold) {
    const known = cold
      .filter((other) => other.cell.family !== cell.family)
      .flatMap((other) => other.run.insights);
    const after = await run(cell, "warm", (signature, version) =>
      priorsFrom(known, signature, version),
    );
    pairs.push(pairOf(cell, before, after));
  }
  return pairs;
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Geometric mean, and its 95% bootstrap interval over the tasks, their seeds with them. */
function geometric(pairs: readonly Pair[], ratio: (pair: Pair) => number) {
  const tasks = [...Map.groupBy(pairs, ({ cell }) => cell.name).values()].map((same) =>
    mean(same.map((pair) => Math.log(ratio(pair)))),
  );
  const random = seededRandom(1);
  const draw = () => mean(tasks.map(() => tasks[random.below(tasks.length)]!));
  const drawn = Array.from({ length: DRAWS }, draw).sort((a, b) => a - b);
  const at = (share: number) => Math.exp(drawn[Math.floor(share * DRAWS)]!).toFixed(2);
  const value = Math.exp(mean(tasks));
  return { value, text: `${value.toFixed(2)} [${at(0.025)}, ${at(0.975)}]` };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
}

export async function knowledgeRow(options: Options, kind: Kind = "language"): Promise<RowResult> {
  const pairs = await pairsOf(options, kind);
  const same = geometric(pairs, ({ cold, warm }) => warm / cold);
  const most = geometric(pairs, ({ cold_most, warm_most }) => warm_most / cold_most);
  const middle = median(pairs.map(({ cold, warm }) => warm / cold)).toFixed(2);
  const percent = `${100 * GAIN}%`;
  const lines = pairs.map(({ cell, ends, ...at }) => {
    const scores = ends.map((score) => score.toFixed(4));
    const trials = [at.cold, at.warm, at.cold_most, at.warm_most];
    return `| ${[cell.name, cell.family, cell.seed, ...trials, ...scores].join(" | ")} |`;
  });
  return {
    markdown: [
      `| task | family | seed | cold | warm | cold, ${percent} | warm | ends cold | ends warm |`,
      "|---|---|---|---|---|---|---|---|---|",
      ...lines,
      "",
      `Trials to the best score that both reach, warm over cold: ${same.text} (geometric mean, 95% ` +
        `over tasks), median ${middle}; to ${percent} of what the cold run gained: ${most.text}. Of ${kind} ` +
        "tasks alone: each kind has its own knowledge, and a gain in one says nothing of another.",
    ].join("\n"),
    figures: [
      {
        name: `trials to the same score on a held-out family (${kind}), warm over cold`,
        ...{ figure: same.text, peer: "cold run", goal: `<= ${GOAL}` },
        reached: same.value <= GOAL,
      },
    ],
  };
}

if (import.meta.main) {
  const [kind, data, results, seeds] = process.argv.slice(2);
  if (!KINDS.some((known) => known === kind) || !data || !results || !seeds)
    throw new Error(`give a kind (${KINDS.join(", ")}), two folders and seeds`);
  const places = { data, results, python: "", magnet: [], pin: [] };
  const options = { places, seeds: seeds.split(",").map(Number), scale: 1 };
  process.stdout.write(`${(await knowledgeRow(options, kind as Kind)).markdown}\n`);
}
