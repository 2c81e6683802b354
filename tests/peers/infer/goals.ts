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
    const goal = (name: string, value: number | null | undefined, wanted: string): Goal => {
      const bound = Number(wanted.slice(2));
      const known = value !== null && value !== undefined;
      const reached = known && (wanted.startsWith(">=") ? value >= bound : value <= bound);
      return { goal: `${name}, ${who}`, path, value: value ?? null, wanted, reached };
    };
    const over = (a: number | undefined, b: number | undefined) => (!a || !b ? undefined : a / b);
    return [
      ...RATIOS.filter(([, bounds]) => bounds[threads] !== undefined).map(([work, bounds]) =>
        goal(`${work} over llama.cpp`, over(magnet?.[work], llama?.[work]), `>=${bounds[threads]}`),
      ),
      goal("decode, share of read bandwidth", magnet?.read_share, ">=0.8"),
      goal("prefill 512 over 128", over(magnet?.prefill_512, magnet?.prefill_128), ">=0.9"),
      goal("parallel sequences over one", over(magnet?.parallel, magnet?.decode), ">=2"),
      goal("parallel over llama.cpp", over(magnet?.parallel, llama?.parallel), ">=1"),
      goal("first token over prefill", magnet?.first_token, "<=1.1"),
      goal("load, ms", magnet?.load_ms, "<=300"),
      goal("resident memory over the file", magnet?.resident_share, "<=1.1"),
    ];
  });
}
