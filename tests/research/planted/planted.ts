/**
 * For each failure of tables a data set with only that flaw, and its clean twin: equal in size and
 * kind, without the flaw. Generated from a seed; nothing here knows how the flaw is looked for.
 */
import { type Random, seededRandom } from "../../../src/core/random.ts";
import type { FailureKind } from "../../../src/research/types.ts";

export interface PlantedTable {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (number | string)[])[];
  /** Further keys of the task file: context, pipeline, time, metric... */
  readonly task: { readonly [key: string]: unknown };
  /** The baseline is made to train on so many rows only. */
  readonly rows_max?: number;
}

export type Plant = (seed: number, flawed: boolean) => PlantedTable;

/** Standard normal from two uniforms (Box and Muller). */
const normal = (random: Random) =>
  Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());

const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
const round = (value: number) => Math.round(value * 1e4) / 1e4;

interface Row {
  readonly x: number[];
  /** Position in the file, 0 to 1. */
  readonly at: number;
  readonly random: Random;
}

/** `count` rows of `width` normal features; `make` gives the label and further cells. */
function table(
  seed: number,
  count: number,
  width: number,
  make: (row: Row) => { label: boolean; more?: (number | string)[] },
  more: readonly string[] = [],
  task: PlantedTable["task"] = {},
): PlantedTable {
  const random = seededRandom(seed);
  const names = Array.from({ length: width }, (_, j) => `x${j}`);
  const rows = Array.from({ length: count }, (_, i) => {
    const x = Array.from({ length: width }, () => round(normal(random)));
    const { label, more: cells = [] } = make({ x, at: i / count, random });
    return [...x, ...cells, label ? "yes" : "no"];
  });
  return { columns: [...names, ...more, "label"], rows, task };
}

const chance = (random: Random, logit: number) => random.next() < sigmoid(logit);
const sum = (x: number[], to: number) => x.slice(0, to).reduce((a, b) => a + b, 0);

/** 8% "yes" under an overlap: the most probable class is nearly always "no". */
const classImbalance: Plant = (seed, flawed) =>
  table(seed, 1600, 6, ({ x, random }) => ({
    label: chance(random, (flawed ? -3.2 : 0) + 1.3 * x[0]! + 0.9 * x[1]!),
  }));

/** A weak signal makes boosting surer than it may be; many rows of a stronger one bear it out. */
const miscalibration: Plant = (seed, flawed) =>
  table(
    seed,
    flawed ? 1200 : 5000,
    flawed ? 8 : 2,
    ({ x, random }) => ({ label: chance(random, (flawed ? 0.5 : 1.5) * (x[0]! + x[1]!)) }),
    [],
    { metric: "log_loss" },
  );

/** The base rate of each of six contexts moves by up to three units of log-odds. */
const contextGap: Plant = (seed, flawed) =>
  table(
    seed,
    1500,
    6,
    ({ x, random }) => {
      const group = random.below(6);
      const shift = flawed ? [-3, 3, -2, 2, -3, 3][group]! : 0;
      return { label: chance(random, shift + 1.2 * x[0]! + x[1]!), more: [`site${group}`] };
    },
    ["site"],
    { context: "site" },
  );

/** A faint signal among ten features, or a clear step in one. */
const overfit: Plant = (seed, flawed) =>
  table(seed, 1200, 10, ({ x, random }) => ({
    label: flawed ? chance(random, 0.8 * x[0]! + 0.6 * x[1]!) : x[0]! > 0.2,
  }));

/** A checkerboard whose fields are smaller than the baseline's leaves, or one step. */
const underfit: Plant = (seed, flawed) =>
  table(seed, 1600, 2, ({ x }) => {
    const field = (value: number) => Math.floor(sigmoid(1.7 * value) * 7);
    return { label: flawed ? (field(x[0]!) + field(x[1]!)) % 2 === 0 : x[0]! > 0.2 };
  });

/** The sign of a product, seen through noise. */
const interactions: Plant = (seed, flawed) =>
  table(seed, 1200, 12, ({ x, random }) => {
    const [a, b] = [x[0]!, x[1]!];
    return { label: chance(random, flawed ? 12 * a * b : 2.5 * (a + b)) };
  });

/** Half of the signal is a plane in many features, half a ring that no plane tells; or the ring. */
const disagreement: Plant = (seed, flawed) =>
  table(seed, 900, 26, ({ x, random }) => {
    const ring = Math.abs(x[25]!) > 0.67 ? 3 : -3;
    return { label: chance(random, flawed ? 0.8 * sum(x, 24) + ring : ring) };
  });

/** A plane in ten features from 150 rows, of which there are more; or a coin that 150 rows know. */
const dataLimited: Plant = (seed, flawed) => ({
  ...(flawed
    ? table(seed, 1500, 10, ({ x, random }) => ({ label: chance(random, 1.2 * sum(x, 10)) }))
    : table(
        seed,
        1500,
        0,
        ({ random }) => {
          const [side, none] = [random.below(2), random.below(2)];
          return { label: chance(random, 3 * side - 1.5), more: [`s${side}`, `n${none}`] };
        },
        ["side", "none"],
      )),
  rows_max: 150,
});

/** The meaning of two features turns round at 40% of the time: in the middle of the search part. */
const drift: Plant = (seed, flawed) =>
  table(
    seed,
    1800,
    5,
    ({ x, at, random }) => {
      const turned = flawed && at > 0.4 ? -1 : 1;
      const day = Math.floor(at * 1800);
      return { label: chance(random, turned * (2 * x[0]! + x[1]!) + 0.5 * x[2]!), more: [day] };
    },
    ["day"],
    { time: "day" },
  );

/** A clear rule, and 15% of the labels turned round wherever they lie. */
const labelNoise: Plant = (seed, flawed) =>
  table(seed, 1800, 5, ({ x, random }) => {
    const truth = x[0]! + 0.5 * x[1]! > 0.2;
    const turned = random.next() < 0.15;
    return { label: flawed && turned ? !truth : truth };
  });

/** Four features that count among 150, or all of twenty count. */
const featureNoise: Plant = (seed, flawed) =>
  flawed
    ? table(seed, 400, 90, ({ x, random }) => ({ label: chance(random, 1.5 * sum(x, 4)) }))
    : table(seed, 500, 20, ({ x, random }) => ({ label: chance(random, 0.8 * sum(x, 20)) }));

/** Rules that are right in 93% and know what no feature tells; or that know nothing. */
const pipelineErrors: Plant = (seed, flawed) =>
  table(
    seed,
    1200,
    6,
    ({ x, random }) => {
      const label = chance(random, 0.8 * x[0]! + 0.5 * x[1]!);
      const right = random.next() < (x[2]! > 1 ? 0.5 : 0.96);
      const said = flawed ? (right ? label : !label) : random.next() < 0.5;
      return { label, more: [said ? "yes" : "no"] };
    },
    ["rules"],
    { pipeline: "rules" },
  );

/** Data sets by the failure planted in them. */
export const PLANTED: { readonly [K in FailureKind]?: Plant } = {
  class_imbalance: classImbalance,
  miscalibration,
  context_gap: contextGap,
  overfit,
  underfit,
  interactions,
  disagreement,
  data_limited: dataLimited,
  drift,
  label_noise: labelNoise,
  feature_noise: featureNoise,
  pipeline_errors: pipelineErrors,
};

/** Every so many rows of a table, evenly spread: the same flaw for less CPU. */
export const thinned = (planted: PlantedTable, share: number): PlantedTable => ({
  ...planted,
  rows: planted.rows.filter((_, i) => Math.floor((i + 1) * share) > Math.floor(i * share)),
});

export const toCsv = ({ columns, rows }: PlantedTable): string =>
  `${[columns, ...rows].map((row) => row.join(",")).join("\n")}\n`;
