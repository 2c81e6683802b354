/**
 * The task file: what is to be predicted from which data, by which metric and at what cost. Strict:
 * a key that nothing reads is an error with the nearest known one, since a misspelt limit that is
 * ignored costs more than the error does.
 */
import { z } from "zod";

export const TASK_SCHEMA = "magnet.research_task/1";

/** All scores are "higher is better"; log_loss and bits_per_byte are reported with a minus. */
export const METRICS = [
  "balanced_accuracy",
  "accuracy",
  "hit_rate",
  "log_loss",
  "auc",
  "bits_per_byte",
] as const;
export type Metric = (typeof METRICS)[number];

/** Of one path, one column name. */
const text = z.string().min(1).max(4096);
const column = z.string().min(1).max(1000);
const share = z.number().gt(0).lt(0.9);

const budget = z.strictObject({
  trials: z.int().min(1).max(1_000_000).optional(),
  cpu_s: z.number().gt(0).max(1e8).optional(),
  wall_s: z.number().gt(0).max(1e8).optional(),
  /** Versions in a row without a gain of `epsilon` before the run ends. */
  patience: z.int().min(1).max(1000).default(3),
  epsilon: z.number().min(0).max(1).default(0.001),
});

const split = z.strictObject({
  gate: share.default(0.15),
  sealed: share.default(0.2),
  /** Whole contexts go to one part: the score is then that of contexts never seen. */
  by_context: z.boolean().default(false),
  /** Newest rows sealed, gate before, folds walk forward; tabular tasks with a time: true. */
  by_time: z.boolean().optional(),
});

const series = z.strictObject({
  /** The column that is predicted: a price or another positive level. */
  price: column.default("close"),
  volume: column.optional(),
  /** Further numbers known at the row's time, for example a funding rate. */
  more: z.array(column).max(100).default([]),
  /** Rows ahead. */
  horizon: z.int().min(1).max(10_000).default(8),
  /** Changes smaller than this share of the price are "hold"; 0: up and down only. */
  hold: z.number().min(0).max(1).default(0),
  /** Of one trade there and back, as a share of the price. */
  cost: z.number().min(0).max(1).default(0.0002),
  /** Rows that the first, recent window has; the loop widens it. */
  window: z.int().min(50).optional(),
});

export const taskSchema = z.strictObject({
  schema: z.literal(TASK_SCHEMA),
  name: z
    .string()
    .regex(/^[\w][\w .()-]{0,99}$/, "must be 1 to 100 letters, digits, spaces, . _ -"),
  domain: z.enum(["tabular", "series", "language"]),
  data: z.union([text, z.array(text).min(1)]),
  label: column.optional(),
  context: column.optional(),
  pipeline: column.optional(),
  time: column.optional(),
  /** Columns that are no features. */
  drop: z.array(column).max(50_000).default([]),
  /** Columns that are features although a check would drop or refuse them. */
  keep: z.array(column).max(50_000).default([]),
  /** What happens to classes too small to be split: refuse the task, or leave their rows out. */
  rare_classes: z.enum(["refuse", "drop"]).default("refuse"),
  metric: z.enum(METRICS).optional(),
  seed: z
    .int()
    .min(0)
    .max(2 ** 31)
    .default(1),
  budget: budget.optional(),
  split: split.prefault({}),
  series: series.optional(),
  /** Checked by the language domain. */
  language: z.record(z.string(), z.json()).optional(),
  /** Checked by the teacher. */
  teacher: z.record(z.string(), z.json()).optional(),
});

export type TaskFile = z.infer<typeof taskSchema>;
export type SeriesOptions = z.infer<typeof series>;
export type TaskBudget = z.infer<typeof budget>;
export type SplitOptions = z.infer<typeof split>;
export const seriesOptionsSchema = series;
export const seriesDefaults = (): SeriesOptions => series.parse({});
export const budgetDefaults = (): TaskBudget => budget.parse({});

/** Keys of a part of the file, by the dotted path of that part, for "did you mean". */
export const KEYS: { readonly [path: string]: readonly string[] } = {
  "": Object.keys(taskSchema.shape),
  budget: Object.keys(budget.shape),
  split: Object.keys(split.shape),
  series: Object.keys(series.shape),
};
