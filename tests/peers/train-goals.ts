/** The goals of training speed, computed from the rows of compare-train.ts. */
import type { Row } from "./compare-train.ts";

export interface Goal {
  goal: string;
  path: string;
  /** null where a row that it needs was not measured. */
  value: number | null;
  wanted: string;
  reached: boolean;
}

/** Every goal once for each CPU path that was measured. */
export function goalRows(rows: readonly Row[]): Goal[] {
  return [...new Set(rows.map(({ path }) => path))].flatMap((path) => {
    const at = (engine: string, shape: string, threads: number) =>
      rows.find(
        (r) => r.path === path && r.engine === engine && r.shape === shape && r.threads === threads,
      );
    const speed = (engine: string, shape: string, threads: number) =>
      at(engine, shape, threads)?.tokens_per_s;
    const best = (shape: string) => {
      const both = [speed("torch", shape, 1), speed("torch", shape, 2)];
      return both.includes(undefined) ? undefined : Math.max(...(both as number[]));
    };
    const goal = (
      name: string,
      a: number | null | undefined,
      b: number | undefined,
      limit: string,
    ) => {
      const value = typeof a !== "number" || b === undefined ? null : a / b;
      const bound = Number(limit.slice(2));
      const reached = value !== null && (limit.startsWith(">=") ? value >= bound : value <= bound);
      return { goal: name, path, value, wanted: limit, reached };
    };
    const magnet = (shape: string, threads: number) => speed("magnet", shape, threads);
    return [
      goal("a, 1 thread, over PyTorch's 1", magnet("a", 1), speed("torch", "a", 1), ">=1.6"),
      goal("a, 2 threads, over PyTorch's best", magnet("a", 2), best("a"), ">=3.0"),
      goal("b, 2 threads, over PyTorch's best", magnet("b", 2), best("b"), ">=2.5"),
      goal("b, 1 thread, model FLOPs over peak", at("magnet", "b", 1)?.fma_ratio, 1, ">=0.80"),
      goal("b, 2 threads, model FLOPs over peak", at("magnet", "b", 2)?.fma_ratio, 1, ">=0.80"),
      goal("a, 2 threads over 1", magnet("a", 2), magnet("a", 1), ">=1.85"),
      goal("b, 2 threads over 1", magnet("b", 2), magnet("b", 1), ">=1.85"),
      goal(
        "b, peak memory over PyTorch's",
        at("magnet", "b", 2)?.peak_bytes,
        at("torch", "b", 2)?.peak_bytes,
        "<=0.6",
      ),
    ];
  });
}
