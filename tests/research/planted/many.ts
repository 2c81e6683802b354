/**
 * The planted failures over many seeds: how often each is found and mended, and how often each
 * check reports something on the clean twins. Minutes; run it by hand:
 *   bun tests/research/planted/many.ts [seeds] [kinds, comma-separated]
 */
import { writeToDescriptor } from "../../../src/core/stdio.ts";
import type { FailureKind } from "../../../src/research/types.ts";
import { researched, started, trialOf, withDomain } from "./lab.ts";
import { pickOf } from "./matching.ts";
import { PLANTED } from "./planted.ts";

const say = (text: string) => void writeToDescriptor(1, `${text}\n`);
const seeds = Number(process.argv[2] ?? 5);
const only = (process.argv[3] ?? "").split(",").filter((kind) => kind !== "");

for (const [name, plant] of Object.entries(PLANTED)) {
  if (only.length > 0 && !only.includes(name)) continue;
  const kind = name as FailureKind;
  let [found, picked, falsely] = [0, 0, 0];
  for (let seed = 1; seed <= seeds; seed++) {
    await withDomain(plant(seed, true), async (domain) => {
      const result = await researched(await started(domain, kind), 24);
      if (result.versions[0]?.failures.some((f) => f.kind === kind)) found++;
      const pick = pickOf(result, kind);
      if (pick !== null) picked++;
      say(`${kind} seed ${seed}: ${pick ?? "not picked"}`);
    });
    await withDomain(plant(seed, false), async (given) => {
      const domain = await started(given, kind);
      const baseline = await trialOf(domain, domain.baseline());
      const failures = await domain.analyse(baseline, [baseline]);
      if (failures.some((f) => f.kind === kind)) falsely++;
    });
  }
  say(`${kind}: found ${found}, picked ${picked}, on the clean twin ${falsely}, of ${seeds}`);
}
