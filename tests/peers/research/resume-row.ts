/**
 * The row of interruptions: runs killed with SIGKILL at random moments and resumed each time end
 * with the result of a run that nobody disturbed (tests/stress/research-kills.ts).
 */
import path from "node:path";
import { runToEnd } from "./cells.ts";
import { type RowResult, stored, type TableOptions } from "./places.ts";

interface Kills {
  readonly seed: number;
  readonly undisturbed: string;
  readonly resumed: string;
  readonly killed: number;
}

/** "toy": many short trials, killed anywhere in the store; "tabular": whole runs on a table. */
const KINDS = [
  { kind: "toy", kills: 60, what: "search with short trials, two workers" },
  { kind: "tabular", kills: 10, what: "whole run on a table, two workers" },
] as const;

export async function resumeRow({ places, seeds, scale }: TableOptions): Promise<RowResult> {
  const script = path.resolve(import.meta.dir, "../../stress/research-kills.ts");
  const lines = ["| run | seed | kills | result |", "|---|---|---|---|"];
  let [runs, same, killed] = [0, 0, 0];
  for (const { kind, kills, what } of KINDS)
    for (const seed of seeds) {
      const count = Math.max(2, Math.round(kills * scale));
      const found = await stored(places, `resume-${kind}-${seed}-${count}`, async () => {
        const log = path.join(places.results, "logs", `resume-${kind}-${seed}.log`);
        const flags = [String(count), String(seed), kind];
        const { stdout } = await runToEnd([process.execPath, script, ...flags], log, [0, 1]);
        return JSON.parse(stdout) as Kills;
      });
      const identical = found.resumed === found.undisturbed;
      runs++;
      killed += found.killed;
      if (identical) same++;
      const told = identical ? `identical (${found.resumed.slice(0, 12)})` : "DIFFERS";
      lines.push(`| ${what} | ${seed} | ${found.killed} | ${told} |`);
    }
  const figure = {
    name: `resumed runs with the result of an undisturbed one (${killed} kills)`,
    ...{ figure: `${same} of ${runs}`, peer: null, goal: "identical" },
    reached: same === runs && killed >= runs,
  };
  return { markdown: lines.join("\n"), figures: [figure] };
}
