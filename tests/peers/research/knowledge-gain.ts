/**
 * What the knowledge base is worth: every task is run cold, its insights are kept, then every task
 * is run again with what the others taught (never itself). Reported is how many trials the warm run
 * needs for the best score that both reach, over those of the cold run. Usage:
 *   bun tests/peers/research/knowledge-gain.ts DATA_FOLDER [--sets a,b] [--trials 40] [--seeds 1]
 */
import path from "node:path";
import { systemClock } from "../../../src/core/clock.ts";
import * as learners from "../../../src/native/learners.ts";
import { priorsFrom } from "../../../src/research/knowledge/prior.ts";
import type { Insight, KnowledgeSource } from "../../../src/research/loop/faces.ts";
import { localRunner } from "../../../src/research/loop/local-runner.ts";
import { runResearch } from "../../../src/research/loop/run.ts";
import { openTabular } from "../../../src/research/tabular/domain.ts";
import { parseTask } from "../../../src/research/task/load.ts";

const flag = (name: string, otherwise: string) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1]!;
};
const folder = process.argv[2]!;
const sets = flag("sets", "sonar,two_class,glass,scat,breast_cancer,titanic,attrition").split(",");
const trials = Number(flag("trials", "40"));
const seeds = Number(flag("seeds", "1"));
const say = (line: string) => process.stdout.write(`${line}\n`);

/** Best search score after each trial. */
async function curve(set: string, seed: number, knowledge: KnowledgeSource): Promise<number[]> {
  const file = path.join(folder, `${set}.csv`);
  const task = { schema: "magnet.research_task/1", name: set, domain: "tabular", label: "label" };
  const domain = await openTabular(parseTask({ ...task, data: file, seed }, file), learners);
  const { result } = await runResearch({
    domain,
    budget: { trials },
    patience: trials,
    seed,
    knowledge,
    runner: localRunner({ domain, clock: systemClock }),
  });
  await domain.close();
  return result.best_so_far.map((best) => best ?? -Infinity);
}

const insights: Insight[] = [];
const cold = new Map<string, number[]>();
for (const set of sets)
  for (let seed = 1; seed <= seeds; seed++)
    cold.set(
      `${set} ${seed}`,
      await curve(set, seed, { prior: () => ({}), record: (i) => void insights.push(i) }),
    );
say(`${insights.length} insights of ${sets.length} tasks`);
const ratios: number[] = [];
for (const set of sets)
  for (let seed = 1; seed <= seeds; seed++) {
    const knowledge: KnowledgeSource = {
      // Of this task's own data nothing is told: priorsFrom leaves it out.
      prior: (signature, version) => priorsFrom(insights, signature, version),
      record: () => undefined,
    };
    const before = cold.get(`${set} ${seed}`)!;
    const after = await curve(set, seed, knowledge);
    const both = Math.min(before.at(-1)!, after.at(-1)!);
    const at = (scores: number[]) => scores.findIndex((score) => score >= both) + 1;
    ratios.push(at(after) / at(before));
    say(
      `${set} ${seed}: ${both.toFixed(4)} cold at ${at(before)}, warm at ${at(after)}; ` +
        `ends with ${before.at(-1)!.toFixed(4)} cold, ${after.at(-1)!.toFixed(4)} warm`,
    );
  }
ratios.sort((a, b) => a - b);
const mean = ratios.reduce((sum, r) => sum + Math.log(r), 0) / ratios.length;
say(
  `trials warm / cold to the same score: median ${ratios[ratios.length >> 1]!.toFixed(2)}, ` +
    `geometric mean ${Math.exp(mean).toFixed(2)} over ${ratios.length} runs`,
);
