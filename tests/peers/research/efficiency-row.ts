/**
 * The row of search efficiency: trials that the loop needs to what random search ends with, as a
 * part of random search's trials; the median of the sets, each with the median of its seeds. Larger
 * sets are cut to some rows, the same for both.
 */
import path from "node:path";
import { runToEnd } from "./cells.ts";
import type { Race } from "./efficiency.ts";
import { inParallel, type RowResult, stored, type TableOptions } from "./places.ts";

const TRIALS = 40;
const ROWS_MAX = 1000;
const GOAL = 0.5;

export async function efficiencyRow(options: TableOptions): Promise<RowResult> {
  const { sets, seeds, scale, places } = options;
  const trials = Math.max(10, Math.round(TRIALS * Math.min(1, scale)));
  const script = path.join(import.meta.dir, "efficiency.ts");
  const raceOf = (set: string, seed: number, pin: readonly string[]) =>
    stored<Race>(places, `efficiency-${set}-${seed}-${trials}-${ROWS_MAX}`, async () => {
      const log = path.join(places.results, "logs", `efficiency-${set}-${seed}.log`);
      const file = path.join(places.data, `${set}.csv`);
      const flags = [file, String(seed), String(trials), String(ROWS_MAX)];
      const { stdout } = await runToEnd([...pin, process.execPath, script, ...flags], log);
      return JSON.parse(stdout) as Race;
    });
  const cells = sets.flatMap((set) => seeds.map((seed) => [set, seed] as const));
  await inParallel(
    options,
    cells.map(
      ([set, seed]) =>
        ({ pin }) =>
          raceOf(set, seed, pin),
    ),
  );
  const lines = [
    "| set | random's best (found at) | loop reaches it at | part of its trials | CPU s |",
    "|---|---|---|---|---|",
  ];
  const parts: number[] = [];
  for (const set of sets) {
    const races: Race[] = [];
    for (const seed of seeds) races.push(await raceOf(set, seed, places.pin));
    const part = medianOf(races.map(partOf));
    parts.push(part);
    const each = (tell: (race: Race) => string) => races.map(tell).join(" / ");
    const cpu_s = races.reduce((sum, r) => sum + r.random_cpu_s + r.loop_cpu_s, 0);
    lines.push(
      `| ${set} | ${each((r) => `${r.target.toFixed(4)} (${r.random_at})`)} | ` +
        `${each((r) => (r.loop_at === null ? `- (${r.loop_best.toFixed(4)})` : r.loop_at.toFixed(0)))} | ` +
        `${part === Infinity ? "not reached" : part.toFixed(2)} | ${cpu_s.toFixed(0)} |`,
    );
  }
  const figure = medianOf(parts);
  const told = figure === Infinity ? "not reached" : Number(figure.toFixed(3));
  const name = `trials of the loop to the best of ${trials} random trials (median of sets)`;
  return {
    markdown: lines.join("\n"),
    figures: [{ name, figure: told, peer: 1, goal: `<= ${GOAL} of them`, reached: figure <= GOAL }],
  };
}

const partOf = ({ loop_at, trials }: Race): number => (loop_at ?? Infinity) / trials;

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
