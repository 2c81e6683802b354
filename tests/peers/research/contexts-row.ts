/**
 * The contexts row of the table. Where contexts behave differently: is the gap between contexts seen
 * and never seen smaller than the plain model's? And elsewhere, on rows of contexts that are known,
 * is a run that was told the context column no worse than one that was not, at equal CPU seconds on
 * the same rows? That also on a set without such a gap. Runs on new contexts take a search's CPU
 * seconds; those on known ones, three times as many, a third of that.
 */
import fs from "node:fs";
import path from "node:path";
import * as learners from "../../../src/native/learners.ts";
import { pairedClusterBootstrap } from "../../../src/research/evaluation/cluster-bootstrap.ts";
import { unitValues } from "../../../src/research/evaluation/metrics.ts";
import { openTabular } from "../../../src/research/tabular/domain.ts";
import { freeModel, loadModel } from "../../../src/research/tabular/final-model.ts";
import { takeRows } from "../../../src/research/tabular/part.ts";
import { predictPart } from "../../../src/research/tabular/predict.ts";
import { loadTask } from "../../../src/research/task/load.ts";
import { type Cell, magnetCell, type Places, writeRows, writeTask } from "./cells.ts";
import { fixed, one, type Report, runTask } from "./other-rows.ts";
import { type Figure, inParallel, type RowResult, stored, type TableOptions } from "./places.ts";
import { tallySet } from "./tally.ts";

const GAPS = { hpc_data: "protocol", males: "industry" } as const;
/** Tenants, owners, those who live with their parents... differ little in what tells of them. */
const KNOWN = { ...GAPS, credit_data: "Home" } as const;

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const signed = (x: number) => `${x >= 0 ? "+" : ""}${fixed(x)}`;

type Side = "baseline" | "final";

interface NewContexts {
  /** Search scores of the plain and the final model on contexts seen and never seen. */
  readonly seen: { readonly [side in Side]: number };
  readonly unseen: { readonly [side in Side]: number };
  readonly sealed: Report["result"]["sealed"];
  readonly rows: SealedRows;
}

/** By sealed row: its class and context, and what both models decide. */
interface SealedRows {
  readonly classes: number;
  readonly label: readonly number[];
  readonly context: readonly number[];
  readonly decided: { readonly [side in Side]: readonly number[] };
}

/** Largest fall of the sealed score on unseen contexts that is not called one. */
const TOLERANCE = 0.01;

/** What a run's model and the plain one, fitted again, say of the sealed rows. */
async function sealedRows(task_file: string, folder: string, seed: number): Promise<SealedRows> {
  const domain = await openTabular(loadTask(task_file), learners);
  try {
    const { data, parts, task_hash } = domain;
    const part = takeRows(data, parts.sealed);
    const plain = { task_hash, configuration: domain.baseline(), seed, fidelity: 1 };
    const decide = async (bytes: Uint8Array) => {
      const model = loadModel(bytes, learners);
      try {
        return [...(await predictPart(model, part)).decided];
      } finally {
        freeModel(model);
      }
    };
    const final = await decide(fs.readFileSync(path.join(folder, "model.bin")));
    const baseline = await decide((await domain.fitFinal(plain)).bytes);
    const [label, context] = [[...part.label], [...part.context!]];
    return { classes: part.classes, label, context, decided: { baseline, final } };
  } finally {
    await domain.close();
  }
}

/** final - plain on the sealed rows of all seeds together, resampled by context. */
function pooled(runs: readonly NewContexts[]) {
  const all = <T>(of: (rows: SealedRows) => readonly T[]) => runs.flatMap(({ rows }) => of(rows));
  const label = Int32Array.from(all(({ label }) => label));
  const probabilities = new Float32Array(0);
  const valuesOf = (side: Side) => {
    const decisions = Int32Array.from(all(({ decided }) => decided[side]));
    const { classes } = runs[0]!.rows;
    return unitValues("balanced_accuracy", label, { probabilities, decisions }, classes);
  };
  const contexts = Int32Array.from(all(({ context }) => context));
  const [baseline, final] = [valuesOf("baseline"), valuesOf("final")];
  return pairedClusterBootstrap(baseline, final, contexts, [0, 1], { seed: 1 });
}

/** A run that is judged on contexts held out whole. */
function newContexts(places: Places, set: string, context: string, seed: number, cpu_s: number) {
  return stored<NewContexts>(places, `contexts-unseen-${set}-${seed}-${cpu_s}`, async () => {
    const name = `${set}-new`;
    const data = path.join(places.data, `${set}.csv`);
    const task = writeTask(places, name, seed, { data, context, split: { by_context: true } });
    const flags = [...one, "--cpu", String(cpu_s)];
    const { report, folder } = await runTask(places, task, `${name}-${seed}`, flags);
    const { result, trials, context_gap } = report;
    const scoreOf = (trial: number) => trials.find(({ index }) => index === trial)!.score!;
    const unseen = {
      baseline: scoreOf(result.baseline.trial),
      final: scoreOf(result.final.candidate.trial),
    };
    const gap = (side: Side) => context_gap?.[side] ?? Number.NaN;
    const seen = {
      baseline: unseen.baseline + gap("baseline"),
      final: unseen.final + gap("final"),
    };
    const rows = await sealedRows(task, folder, seed);
    return { seen, unseen, sealed: result.sealed, rows };
  });
}

/** The task on known contexts, with the key or with the column as a plain feature. */
function knownTask(places: Places, set: keyof typeof KNOWN, seed: number, key: boolean): string {
  const more = key ? { context: KNOWN[set] } : {};
  const data = path.join(places.data, `${set}.csv`);
  return writeTask(places, `${set}-${key ? "key" : "plain"}`, seed, { data, ...more });
}

function knownCell(
  places: Places,
  set: keyof typeof KNOWN,
  seed: number,
  key: boolean,
  cpu_s: number,
): Promise<Cell> {
  const name = `contexts-${key ? "key" : "plain"}-${set}-${seed}-${cpu_s}`;
  return stored(places, name, async () => {
    const task = knownTask(places, set, seed, key);
    return magnetCell(places, task, (await writeRows(task)).rows, cpu_s);
  });
}

/** With the key against without it, on the same sealed rows. */
async function knownFigures(options: TableOptions, set: keyof typeof KNOWN) {
  const { places, seeds } = options;
  const cpu_s = knownSeconds(options);
  const rows = [];
  const cells: { magnet: Cell[]; plain: Cell[] } = { magnet: [], plain: [] };
  for (const seed of seeds) {
    const [own, other] = [
      await writeRows(knownTask(places, set, seed, true)),
      await writeRows(knownTask(places, set, seed, false)),
    ];
    if (own.rows.test.join() !== other.rows.test.join())
      throw new Error(`${set}: the runs with and without contexts have other sealed rows`);
    rows.push(own.rows);
    cells.magnet.push(await knownCell(places, set, seed, true, cpu_s));
    cells.plain.push(await knownCell(places, set, seed, false, cpu_s));
  }
  return tallySet(set, { rows, cells });
}

const knownSeconds = ({ cpu_s }: TableOptions) => cpu_s / 3;

async function makeAll(options: TableOptions): Promise<void> {
  const { seeds, cpu_s } = options;
  const jobs: ((places: Places) => Promise<unknown>)[] = [];
  for (const seed of seeds) {
    for (const [set, context] of Object.entries(GAPS))
      jobs.push((places) => newContexts(places, set, context, seed, cpu_s));
    for (const set of Object.keys(KNOWN) as (keyof typeof KNOWN)[])
      for (const key of [true, false])
        jobs.push((places) => knownCell(places, set, seed, key, knownSeconds(options)));
  }
  await inParallel(options, jobs);
}

function gapFigures(set: string, runs: readonly NewContexts[]): { line: string; own: Figure[] } {
  const of = (what: "seen" | "unseen", side: Side) => mean(runs.map((run) => run[what][side]));
  const gap = (side: Side) => of("seen", side) - of("unseen", side);
  const sealed = (side: "baseline" | "model") => mean(runs.map((run) => run.sealed[side].score));
  const pair = (f: (side: Side) => number) => `${fixed(f("baseline"))} -> ${fixed(f("final"))}`;
  const { difference, low, high } = pooled(runs);
  const interval = `${signed(difference)} [${signed(low)}, ${signed(high)}]`;
  const line = [
    set,
    pair((side) => of("seen", side)),
    pair((side) => of("unseen", side)),
    pair(gap),
    `${fixed(sealed("baseline"))} -> ${fixed(sealed("model"))}`,
    interval,
  ];
  const own: Figure[] = [
    {
      name: `${set}: gap between seen and unseen contexts, by the scores that chose the model`,
      ...{ figure: fixed(gap("final")), peer: `${fixed(gap("baseline"))} (plain model)` },
      goal: "smaller",
      reached: gap("final") < gap("baseline"),
    },
    {
      name: `${set}: sealed score on unseen contexts`,
      ...{ figure: fixed(sealed("model")), peer: `${fixed(sealed("baseline"))} (plain model)` },
      goal: `mean not below by more than ${TOLERANCE}; contexts of all seeds: ${interval}`,
      reached: sealed("model") - sealed("baseline") >= -TOLERANCE,
    },
  ];
  return { line: `| ${line.join(" | ")} |`, own };
}

export async function contextRow(options: TableOptions): Promise<RowResult> {
  const { places, seeds, cpu_s } = options;
  await makeAll(options);
  const lines = [
    "Plain model -> final model, means over the seeds; the search part's rows, then sealed ones:",
    "",
    "| set | seen contexts | unseen | gap | sealed, unseen | difference [95%] by context |",
    "|---|---|---|---|---|---|",
  ];
  const figures: Figure[] = [];
  for (const [set, context] of Object.entries(GAPS)) {
    const runs = seeds.map((seed) => newContexts(places, set, context, seed, cpu_s));
    const { line, own } = gapFigures(set, await Promise.all(runs));
    lines.push(line);
    figures.push(...own);
  }
  lines.push(
    "",
    "Sealed rows of known contexts, final models with and without the `context` key:",
    "",
    "| set | with | without | difference [95%] | CPU s | trials |",
    "|---|---|---|---|---|---|",
  );
  for (const set of Object.keys(KNOWN) as (keyof typeof KNOWN)[]) {
    const { scores, difference, ...rest } = await knownFigures(options, set);
    const each = (of: { readonly [system: string]: number }) =>
      `${of.magnet!.toFixed(1)} / ${of.plain!.toFixed(1)}`;
    const text = `${signed(difference.value)} [${signed(difference.low)}, ${signed(difference.high)}]`;
    const [own, other] = [fixed(scores.magnet!.value), fixed(scores.plain!.value)];
    lines.push(`| ${[set, own, other, text, each(rest.cpu_s), each(rest.trials)].join(" | ")} |`);
    figures.push({
      name: `${set}: known contexts, told the context column`,
      ...{ figure: `${own} (${text})`, peer: `${other} (not told)` },
      goal: "not worse, or within the noise of the rows",
      reached: difference.high >= 0,
    });
  }
  return { markdown: lines.join("\n"), figures };
}
