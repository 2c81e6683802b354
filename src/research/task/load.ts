/**
 * Opens a task file: reads, checks, fills in defaults, resolves the data's paths against the file's
 * folder. What the command line gives replaces what the file says. Bad files end in BAD_TASK with
 * the key at fault.
 */
import path from "node:path";
import type { z } from "zod";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import { didYouMean } from "../../core/did-you-mean.ts";
import { MagnetError } from "../../core/errors.ts";
import { readSmallText } from "../../core/read-file.ts";
import type { Hash } from "../../core/types.ts";
import type { DomainName, Json } from "../types.ts";
import {
  budgetDefaults,
  KEYS,
  type Metric,
  type SeriesOptions,
  type SplitOptions,
  seriesDefaults,
  TASK_SCHEMA,
  type TaskBudget,
  type TaskFile,
  taskSchema,
} from "./schema.ts";

/** A task file has some hundred bytes; more is another file given by mistake. */
const TASK_BYTES_MAX = 1 << 20;
/** CPU seconds where neither the file nor the command line sets a budget. */
const CPU_S_DEFAULT = 300;

export interface Task {
  readonly name: string;
  readonly domain: DomainName;
  /** Where it was read from; relative paths in it start at its folder. */
  readonly file: string;
  /** Absolute. */
  readonly data: readonly string[];
  /** Null for domains that make their own label (series) or have none (language). */
  readonly label: string | null;
  readonly context: string | null;
  readonly pipeline: string | null;
  readonly time: string | null;
  readonly drop: readonly string[];
  readonly keep: readonly string[];
  readonly rare_classes: "refuse" | "drop";
  readonly metric: Metric;
  readonly seed: number;
  readonly budget: TaskBudget;
  readonly split: SplitOptions;
  /** Filled with defaults where the domain is series. */
  readonly series: SeriesOptions | null;
  readonly language: { readonly [key: string]: Json } | null;
  readonly teacher: { readonly [key: string]: Json } | null;
}

/** What the command line may replace. A budget replaces the file's whole limit. */
export interface TaskOverrides {
  readonly seed?: number | undefined;
  readonly budget?:
    | {
        readonly trials?: number | undefined;
        readonly cpu_s?: number | undefined;
        readonly wall_s?: number | undefined;
      }
    | undefined;
}

export const taskError = (message: string, hint: string, code = "BAD_TASK") =>
  new MagnetError(code, message, { hint, exit: "config" });

/** Throws BAD_TASK, and the system's own failures where the file cannot be read. */
export function loadTask(file: string, overrides: TaskOverrides = {}): Task {
  return parseTask(readTaskDocument(file), file, overrides);
}

/** What the file says, not checked yet: a run keeps it, so that it can be opened again. */
export function readTaskDocument(file: string): unknown {
  const text = readSmallText(file, TASK_BYTES_MAX);
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw taskError(
      `${file} is not JSON: ${why}`,
      `a task file starts with {"schema": "${TASK_SCHEMA}", "name": ...`,
    );
  }
}

/** The same from a value; `file` names it in errors and is where relative paths start. */
export function parseTask(value: unknown, file: string, overrides: TaskOverrides = {}): Task {
  const checked = taskSchema.safeParse(value);
  if (!checked.success) throw schemaError(file, value, checked.error);
  const t = checked.data;
  requireSense(file, t);
  const folder = path.dirname(path.resolve(file));
  const paths = typeof t.data === "string" ? [t.data] : t.data;
  return {
    name: t.name,
    domain: t.domain,
    file: path.resolve(file),
    data: paths.map((p) => path.resolve(folder, p)),
    label: t.label ?? null,
    context: t.context ?? null,
    pipeline: t.pipeline ?? null,
    time: t.time ?? null,
    drop: t.drop,
    keep: t.keep,
    rare_classes: t.rare_classes,
    metric: t.metric ?? METRIC_OF[t.domain],
    seed: overrides.seed ?? t.seed,
    budget: budgetOf(file, t, overrides),
    split: splitOf(t),
    series: t.domain === "series" ? (t.series ?? seriesDefaults()) : null,
    language: t.language ?? null,
    teacher: t.teacher ?? null,
  };
}

/** Where rows have a time they are split by it, unless the task says otherwise. */
function splitOf({ domain, time, split }: TaskFile): Task["split"] {
  const timed = domain === "tabular" && time !== undefined;
  return timed ? { ...split, by_time: split.by_time ?? !split.by_context } : split;
}

const METRIC_OF: Record<DomainName, Metric> = {
  tabular: "balanced_accuracy",
  series: "hit_rate",
  language: "bits_per_byte",
};

function budgetOf(file: string, t: TaskFile, overrides: TaskOverrides): TaskBudget {
  const { trials, cpu_s, wall_s, ...rest } = t.budget ?? budgetDefaults();
  const given = Object.entries(overrides.budget ?? {}).filter(([, v]) => v !== undefined);
  const limits = given.length > 0 ? overrides.budget! : { trials, cpu_s, wall_s };
  const set = Object.entries(limits).filter(([, v]) => v !== undefined);
  if (set.length > 1)
    throw taskError(
      `${file}: budget has ${set.map(([k]) => k).join(" and ")}`,
      "a run ends by one limit: give trials, cpu_s or wall_s",
    );
  return set.length === 0
    ? { ...rest, cpu_s: CPU_S_DEFAULT }
    : { ...rest, [set[0]![0]]: set[0]![1] };
}

/** What the schema cannot say: which keys a domain needs and which parts cannot be. */
function requireSense(file: string, t: TaskFile): void {
  if (t.domain === "tabular" && t.label === undefined)
    throw taskError(`${file} names no label`, '"label": the column that is to be predicted');
  if (t.domain === "series" && t.label !== undefined)
    throw taskError(
      `${file}: a series task has no label`,
      'the direction is made of the price: "series": {"price": "close", "horizon": 8}',
    );
  for (const [key, domain] of [
    ["series", "series"],
    ["language", "language"],
  ] as const)
    if (t[key] !== undefined && t.domain !== domain)
      throw taskError(`${file}: "${key}" in a ${t.domain} task`, `set "domain": "${domain}"`);
  if (t.split.gate + t.split.sealed > 0.8)
    throw taskError(
      `${file}: split leaves ${Math.round(100 * (1 - t.split.gate - t.split.sealed))}% to search`,
      "gate and sealed together take at most 0.8",
    );
  if (t.split.by_context && t.context === undefined)
    throw taskError(
      `${file}: split.by_context without contexts`,
      '"context": the column that parts the rows into contexts',
    );
  if (t.split.by_time !== undefined && (t.domain !== "tabular" || t.time === undefined))
    throw taskError(
      `${file}: split.by_time without a time`,
      t.domain === "tabular"
        ? '"time": the column that the rows are ordered by'
        : `a ${t.domain} task has one way to split: leave it out`,
    );
  if (t.split.by_time && t.split.by_context)
    throw taskError(
      `${file}: split.by_time and split.by_context`,
      "rows are held out by their time or by their context: choose one",
    );
  const used = new Map<string, string>();
  for (const role of ["label", "context", "pipeline", "time"] as const) {
    const name = t[role];
    if (name === undefined) continue;
    if (used.has(name))
      throw taskError(
        `${file}: column "${name}" is both ${used.get(name)} and ${role}`,
        "each of them needs a column of its own",
      );
    used.set(name, role);
    if (t.drop.includes(name))
      throw taskError(
        `${file}: column "${name}" is dropped and is the ${role}`,
        "drop no such one",
      );
  }
}

function schemaError(file: string, value: unknown, error: z.ZodError): MagnetError {
  const issue = error.issues[0]!;
  const at = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0]!;
    const known = KEYS[at] ?? [];
    return taskError(
      `${file}: unknown key "${at === "" ? key : `${at}.${key}`}"`,
      didYouMean(key, known, `known are ${known.join(", ")}`),
    );
  }
  const missing = at !== "" && isMissing(value, issue.path);
  if (at === "")
    return taskError(`${file}: not a JSON object`, `start from {"schema": "${TASK_SCHEMA}"}`);
  return taskError(
    missing ? `${file}: "${at}" is missing` : `${file}: "${at}": ${issue.message}`,
    at === "schema" ? `write "schema": "${TASK_SCHEMA}"` : `change "${at}" in the task file`,
  );
}

function isMissing(value: unknown, keys: readonly PropertyKey[]): boolean {
  let at = value;
  for (const key of keys) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return true;
    at = (at as Record<PropertyKey, unknown>)[key];
  }
  return false;
}

/** Of everything that decides what a trial gives: the checked data and the settings of the task. */
export function taskHash(task: Task, data_hash: Hash): Hash {
  const { domain, metric, seed, split, series, language } = task;
  return sha256Hex(
    canonicalJson({
      schema: TASK_SCHEMA,
      data_hash,
      domain,
      metric,
      seed,
      split,
      series,
      language,
    }),
  ) as Hash;
}
