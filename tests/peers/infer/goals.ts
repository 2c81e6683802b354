/** The goals of inference speed, computed from the rows of compare.ts. */
import type { Row, Work } from "./compare.ts";

export interface Goal {
  goal: string;
  path: string;
  /** null where a row that it needs was not measured. */
  value: number | null;
  wanted: string;
  reached: boolean;
}

/** Ratios to llama.cpp, by threads. */
const RATIOS: [Work, Record<number, number>][] = [
  ["decode", { 1: 1.43, 2: 1.4 }],
  ["prefill_128", { 1: 2.2, 2: 2.4 }],
  ["prefill_512", { 1: 2.2, 2: 2.2 }],
];

/** Every goal once for each CPU path that was measured. */
export function goalRows(rows: readonly Row[]): Goal[] {
  const pairs = new Map(rows.map((r) => [`${r.path} ${r.threads}`, r] as const));
  return [...pairs.values()].flatMap(({ path, threads }) => {
    const at = (engine: Row["engine"]) =>
      rows.find((r) => r.path === path && r.threads === threads && r.engine === engine);
    const magnet = at("magnet");
    const llama = at("llama.cpp");
    const who = `${threads} thread${threads === 1 ? "" : "s"}`;
    const goal = (name: string, value: number | undefined, bound: number): Goal => ({
      goal: `${name}, ${who}`,
      path,
      value: value ?? null,
      wanted: `>=${bound}`,
      reached: value !== undefined && value >= bound,
    });
    const over = (a: number | undefined, b: number | undefined) =>
      a === undefined || !b ? undefined : a / b;
    return [
      ...RATIOS.filter(([, bounds]) => bounds[threads] !== undefined).map(([work, bounds]) =>
        goal(`${work} over llama.cpp`, over(magnet?.[work], llama?.[work]), bounds[threads]!),
      ),
      goal("decode, share of read bandwidth", magnet?.read_share ?? undefined, 0.8),
      goal("prefill 512 over 128", over(magnet?.prefill_512, magnet?.prefill_128), 0.9),
      goal("parallel sequences over one", over(magnet?.parallel, magnet?.decode), 2),
    ];
  });
}
