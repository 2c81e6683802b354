/** The row of local workers: trials a second of two over one, by `magnet bench research`. */
import path from "node:path";
import type { BenchResult } from "../../../src/core/bench-report.ts";
import { runToEnd } from "./cells.ts";
import { ownCores, type RowResult, stored, type TableOptions } from "./places.ts";

/** One and two workers in turn, so often: something else on the machine then meets both. */
const ROUNDS = 3;
const GOAL = 1.8;

export async function workersRow({ places, scale }: TableOptions): Promise<RowResult> {
  if (ownCores().length < 2) throw new Error("two workers need two cores");
  const rounds = Math.max(1, Math.round(ROUNDS * scale));
  const pairs = await stored(places, `workers-${rounds}`, async () => {
    const found: { one: number; two: number }[] = [];
    // The learners' own times are another row's: as little of them as there can be.
    const size = ["--rows", "500", "--trees", "1", "--trials", "24", "--repeat", "1"];
    const command = [...places.magnet, "bench", "research", ...size, "--json"];
    for (let i = 0; i < rounds; i++) {
      const { stdout } = await runToEnd(command, path.join(places.results, "logs/workers.log"));
      const { results } = JSON.parse(stdout) as { results: BenchResult[] };
      const rate = (name: string) => results.find((one) => one.name === name)!.value;
      found.push({ one: rate("trials_per_s_1_worker"), two: rate("trials_per_s") });
    }
    return found;
  });
  const ratios = pairs.map(({ one, two }) => two / one).sort((a, b) => a - b);
  const middle = ratios.length >> 1;
  const ratio =
    ratios.length % 2 === 1 ? ratios[middle]! : (ratios[middle - 1]! + ratios[middle]!) / 2;
  const rows = pairs.map(
    ({ one, two }, i) =>
      `| ${i + 1} | ${one.toFixed(2)} | ${two.toFixed(2)} | ${(two / one).toFixed(2)}x |`,
  );
  const head = ["| round | one worker | two workers | two over one |", "|---|---|---|---|"];
  return {
    markdown: [...head, ...rows, "", "Trials a second, all trials the same."].join("\n"),
    figures: [
      {
        name: "trials a second, two workers over one (median)",
        ...{ figure: `${ratio.toFixed(2)}x`, peer: "1 worker", goal: `>= ${GOAL}x` },
        reached: ratio >= GOAL,
      },
    ],
  };
}
