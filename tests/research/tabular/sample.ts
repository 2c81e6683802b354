/** Generated classification data for the tests of the tabular domain: seeded, no files. */
import { seededRandom } from "../../../src/core/random.ts";
import * as learners from "../../../src/native/learners.ts";
import type { Table } from "../../../src/research/table/types.ts";
import { TabularDomain } from "../../../src/research/tabular/domain.ts";
import { toTaskData } from "../../../src/research/task/data.ts";
import { parseTask } from "../../../src/research/task/load.ts";

export interface SampleOptions {
  readonly rows?: number;
  readonly seed?: number;
  readonly classes?: number;
  /** Share of the second class of two. */
  readonly share?: number;
  /** Labels without any relation to the features. */
  readonly shuffled?: boolean;
  /** Log-odds by context are moved by up to this much. */
  readonly context_shift?: number;
  readonly task?: object;
}

/**
 * Two informative numbers, two noisy ones, one category, a context that moves the log-odds, and a
 * rule pipeline that is right in most rows.
 */
export function sampleTable(options: SampleOptions = {}): Table {
  const { rows = 600, seed = 1, classes = 2, share = 0.5, shuffled, context_shift = 0 } = options;
  const random = seededRandom(seed);
  const normal = () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += random.next();
    return sum;
  };
  const numbers = ["a", "b", "c", "d"].map(() => Float64Array.from({ length: rows }, normal));
  const [a, b] = numbers as [Float64Array, Float64Array];
  const colour = Int32Array.from({ length: rows }, () => random.below(3));
  const context = Int32Array.from({ length: rows }, () => random.below(6));
  const score = Float64Array.from(a, (x, i) => {
    const moved = context_shift * (context[i]! / 2.5 - 1);
    return 1.5 * x - b[i]! + (colour[i] === 2 ? 1 : 0) + moved + 0.7 * normal();
  });
  const sorted = score.slice().sort();
  const cuts = Array.from({ length: classes - 1 }, (_, c) => {
    const at = classes === 2 ? 1 - share : (c + 1) / classes;
    return sorted[Math.floor(at * rows)]!;
  });
  const label = Int32Array.from(score, (s) => cuts.filter((cut) => s >= cut).length);
  if (shuffled)
    for (let i = rows - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [label[i], label[j]] = [label[j]!, label[i]!];
    }
  const rule = label.map((y) => (random.next() < 0.8 ? y : random.below(classes)));
  const category = (name: string, codes: Int32Array, levels: string[]) =>
    ({ kind: "category", name, codes, levels }) as const;
  const names = Array.from({ length: classes }, (_, c) => `class ${c}`);
  return {
    rows,
    columns: [
      ...numbers.map((values, i) => ({ kind: "number", name: "abcd"[i]!, values }) as const),
      category("colour", colour, ["blue", "green", "red"]),
      category("place", context, ["p0", "p1", "p2", "p3", "p4", "p5"]),
      category("rule", rule, names),
      category("label", label, names),
    ],
  };
}

/** A domain over the sample; the context and the pipeline are features unless the task names them. */
export function sampleDomain(options: SampleOptions = {}): TabularDomain {
  const task = parseTask(
    {
      schema: "magnet.research_task/1",
      name: "sample",
      domain: "tabular",
      data: "none.csv",
      label: "label",
      drop: ["rule", "place"],
      ...options.task,
    },
    "/tmp/task.json",
  );
  return new TabularDomain(task, toTaskData(task, sampleTable(options)), learners);
}

export const specOf = (domain: TabularDomain, configuration: unknown, seed = 1) => ({
  task_hash: domain.task_hash,
  configuration: domain.parse(configuration),
  seed,
  fidelity: 1,
});
