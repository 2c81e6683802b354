/**
 * The document of every benchmark (`magnet.bench/1`): what was measured, on which machine, how far
 * it is from the limit that was measured in the same run, and how it compares with an earlier
 * document.
 */
import fs from "node:fs";
import os from "node:os";
import { z } from "zod";
import { MagnetError, toMagnetError } from "./errors.ts";

/** Units in which less is better; in all others more is. */
const LESS_IS_BETTER = new Set(["s", "ms", "us", "MiB", "nats"]);

const resultSchema = z.looseObject({
  name: z.string().min(1),
  unit: z.string(),
  /** The best repeat: others on the machine only ever slow one down. */
  value: z.number(),
  /** Over the repeats. */
  min: z.number(),
  max: z.number(),
  /** Repeats. */
  n: z.int().min(1),
  /** What the machine allows at most, in the same unit; null where no limit applies. */
  limit: z.number().nullable(),
  limit_name: z.string().nullable(),
  /** value / limit. */
  ratio: z.number().nullable(),
});
export type BenchResult = z.infer<typeof resultSchema>;

export const benchReportSchema = z.looseObject({
  schema: z.literal("magnet.bench/1"),
  suite: z.string().min(1),
  machine: z.looseObject({}),
  results: z.array(resultSchema),
});

/** This computer, as far as it decides figures. */
export function machineOf(): Record<string, unknown> {
  const cpus = os.cpus();
  return {
    cpu: cpus[0]?.model.trim() || "unknown",
    arch: process.arch,
    cpus_online: os.availableParallelism(),
    memory_bytes: os.totalmem(),
    /** Other work on the machine lowers every figure: well below 1 when the run began is quiet. */
    load_average: Math.round(os.loadavg()[0]! * 100) / 100,
  };
}

/** Sums repeats up. `limit` bounds the value from above, or from below where less is better. */
export function benchResult(
  name: string,
  unit: string,
  values: readonly number[],
  limit: { value: number; name: string } | null = null,
): BenchResult {
  const [min, max] = [Math.min(...values), Math.max(...values)];
  const value = LESS_IS_BETTER.has(unit) ? min : max;
  const known = limit !== null && limit.value > 0;
  return {
    ...{ name, unit, value, min, max },
    n: values.length,
    limit: known ? limit.value : null,
    limit_name: known ? limit.name : null,
    ratio: known ? value / limit.value : null,
  };
}

/** An earlier report. Throws NOT_FOUND or BAD_BENCH_FILE. */
export function readBenchFile(file: string): BenchResult[] {
  let text: string;
  try {
    text = fs.readFileSync(file, "utf8");
  } catch (error) {
    throw toMagnetError(error);
  }
  const bad = (why: string) =>
    new MagnetError("BAD_BENCH_FILE", `${file}: ${why}`, {
      hint: "give a document that magnet bench --json has written",
      exit: "usage",
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw bad("not JSON");
  }
  const report = benchReportSchema.safeParse(value);
  if (!report.success) throw bad("not a document magnet.bench/1");
  return report.data.results;
}

export interface Comparison {
  name: string;
  unit: string;
  before: number;
  now: number;
  /** How much slower (or larger, where less is better) it is now; negative: better. */
  slower_percent: number;
}

/** Results that both reports have, in the order of the new one. */
export function compareResults(
  before: readonly BenchResult[],
  now: readonly BenchResult[],
): Comparison[] {
  const old = new Map(before.map((result) => [result.name, result]));
  return now.flatMap(({ name, unit, value }) => {
    const earlier = old.get(name);
    if (earlier === undefined || earlier.unit !== unit) return [];
    const better = LESS_IS_BETTER.has(unit) ? earlier.value / value : value / earlier.value;
    const slower_percent = Number.isFinite(better) ? (1 - better) * 100 : 0;
    return [{ name, unit, before: earlier.value, now: value, slower_percent }];
  });
}
