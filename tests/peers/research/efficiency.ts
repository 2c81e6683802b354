/**
 * Search efficiency: how many trials the loop needs to reach what a random search over the same
 * domain's whole space ends with, on real tables and the same folds. Usage:
 *   bun tests/peers/research/efficiency.ts DATA_FOLDER CACHE_FOLDER [--sets a,b] [--trials 60]
 *     [--seeds 3]
 * Random's trials are kept in the cache folder: they do not depend on the loop. A trial at a lower
 * fidelity counts as that part of a trial. Score: balanced accuracy on the search part.
 */
import fs from "node:fs";
import path from "node:path";
import { canonicalJson, sha256Hex } from "../../../src/core/bytes.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { seededRandom } from "../../../src/core/random.ts";
import * as learners from "../../../src/native/learners.ts";
import { localRunner } from "../../../src/research/loop/local-runner.ts";
import { runResearch } from "../../../src/research/loop/run.ts";
import {
  applySettings,
  axesOf,
  samplePoint,
  settingsOf,
} from "../../../src/research/search/space.ts";
import { openTabular } from "../../../src/research/tabular/domain.ts";
import { parseTask } from "../../../src/research/task/load.ts";
import type { ResearchDomain } from "../../../src/research/types.ts";

const flag = (name: string, otherwise: string) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1]!;
};
const [folder, cache] = process.argv.slice(2) as [string, string];
const SETS = flag("sets", "attrition,ad_data,scat,two_class,breast_cancer,sonar,vehicle,glass");
const trials = Number(flag("trials", "60"));
const seeds = Number(flag("seeds", "1"));

/** Score and own CPU seconds of each trial, and the best so far over trials of full effort. */
interface Curve {
  readonly best: readonly { readonly at: number; readonly score: number }[];
  readonly cpu_s: number;
}

async function open(set: string, seed: number): Promise<ResearchDomain> {
  const file = path.join(folder, `${set}.csv`);
  const task = { schema: "magnet.research_task/1", name: set, domain: "tabular", label: "label" };
  return openTabular(parseTask({ ...task, data: file, seed }, file), learners);
}

async function randomCurve(domain: ResearchDomain, seed: number): Promise<Curve> {
  const key = sha256Hex(canonicalJson([domain.task_hash, domain.randomSpace(), trials, seed]));
  const file = path.join(cache, `${key}.json`);
  if (fs.existsSync(file)) return JSON.parse(fs.readFileSync(file, "utf8")) as Curve;
  const { base, space } = domain.randomSpace();
  const axes = axesOf(space);
  const random = seededRandom(seed * 7919 + 13);
  const best: { at: number; score: number }[] = [];
  let cpu_s = 0;
  for (let at = 1; at <= trials; at++) {
    const settings = settingsOf(axes, samplePoint(axes, random));
    const configuration = domain.parse(applySettings(base, settings));
    const spec = { task_hash: domain.task_hash, configuration, seed, fidelity: 1 };
    const outcome = await domain.evaluate(spec, { threads: 1 });
    cpu_s += outcome.cpu_s;
    if (outcome.score > (best.at(-1)?.score ?? -Infinity)) best.push({ at, score: outcome.score });
  }
  fs.mkdirSync(cache, { recursive: true });
  fs.writeFileSync(`${file}.part`, JSON.stringify({ best, cpu_s }));
  fs.renameSync(`${file}.part`, file);
  return { best, cpu_s };
}

async function loopCurve(domain: ResearchDomain, seed: number) {
  const best: { at: number; score: number }[] = [];
  let [at, cpu_s] = [0, 0];
  const { result } = await runResearch({
    domain,
    budget: { trials },
    patience: trials,
    seed,
    runner: localRunner({ domain, clock: systemClock }),
    onEvent(event) {
      if (event.kind !== "trial") return;
      at += event.fidelity;
      cpu_s += event.cpu_s;
      const counts = event.score !== null && event.fidelity === 1 && event.seed === seed;
      if (counts && event.score! > (best.at(-1)?.score ?? -Infinity))
        best.push({ at, score: event.score! });
    },
  });
  return { best, cpu_s, result };
}

const median = (values: number[]) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

const say = (line: string) => process.stdout.write(`${line}\n`);
const ratios: number[] = [];
say(
  `set seed | random best (at) | loop reaches it at, ends with | sealed baseline -> loop | CPU-s`,
);
for (const set of SETS.split(",")) {
  const own: number[] = [];
  for (let seed = 1; seed <= seeds; seed++) {
    const domain = await open(set, seed);
    const random = await randomCurve(domain, seed);
    const loop = await loopCurve(domain, seed);
    const target = random.best.at(-1)!;
    const reached = loop.best.find((b) => b.score >= target.score)?.at ?? Infinity;
    own.push(reached / trials);
    const { sealed, final, versions } = loop.result;
    say(
      `${set} ${seed} | ${target.score.toFixed(4)} (${target.at}) | ` +
        `${reached.toFixed(0)}, ${loop.best.at(-1)!.score.toFixed(4)} | ` +
        `${sealed.baseline.score.toFixed(4)} -> ${sealed.model.score.toFixed(4)} ` +
        `(${final.reason} ${final.candidate.strategy}, ${versions.length} versions) | ` +
        `${random.cpu_s.toFixed(1)} / ${loop.cpu_s.toFixed(1)}`,
    );
    await domain.close();
  }
  ratios.push(median(own));
}
say(`median over tasks of trials to random's final best / ${trials}: ${median(ratios).toFixed(3)}`);
