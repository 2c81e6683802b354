/**
 * The native learners on the table that learners.py wrote into a folder: one thread, the same rows,
 * the same lines of JSON. `learners.ts FOLDER [--trees 100] [--repeat 3] [--only NAME]`.
 */
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import type { LearnerName } from "../../../src/native/learner-types.ts";
import { binData, fit } from "../../../src/native/learners.ts";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    trees: { type: "string", default: "100" },
    repeat: { type: "string", default: "3" },
    only: { type: "string" },
  },
});
const read = (name: string) => {
  const bytes = fs.readFileSync(path.join(positionals[0] ?? ".", name));
  return new Float32Array(new Uint8Array(bytes).buffer);
};

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

const all = read("features.f32");
const target = read("target.f32");
const rows = target.length;
const columns = all.length / rows;
const cut = Math.floor((rows * 4) / 5);
const levels = new Int32Array(columns);
const part = (from: number, to: number) => {
  const out = new Float32Array((to - from) * columns);
  for (let c = 0; c < columns; c++)
    out.set(all.subarray(c * rows + from, c * rows + to), c * (to - from));
  return { rows: to - from, columns, values: out, levels };
};
const train = part(0, cut);
const held_out = part(cut, rows);

function balancedAccuracy(p: Float32Array): number {
  const right = [0, 0];
  const count = [0, 0];
  for (let i = 0; i < rows - cut; i++) {
    const y = target[cut + i]!;
    count[y]!++;
    if ((p[2 * i + 1]! > 0.5 ? 1 : 0) === y) right[y]!++;
  }
  return (right[0]! / count[0]! + right[1]! / count[1]!) / 2;
}

const trees = Number(flags.trees);
const SETTINGS: Partial<Record<LearnerName, Record<string, number>>> = {
  boosting: { trees, max_depth: 6, learning_rate: 0.1 },
  extra_trees: { trees },
  forest: { trees },
};

// The worker of the pool starts before anything is measured.
await binData({
  ...train,
  rows: 1,
  columns: 1,
  values: new Float32Array(1),
  levels: new Int32Array(1),
});
for (const [learner, params] of Object.entries(SETTINGS) as [
  LearnerName,
  Record<string, number>,
][]) {
  if (flags.only && flags.only !== learner) continue;
  const times: number[] = [];
  let score = 0;
  for (let i = 0; i < Number(flags.repeat); i++) {
    const start = cpuSeconds();
    const data = await binData(train, { threads: 1 });
    const model = await fit(data, {
      ...{ learner, objective: "classification", classes: 2, target: target.subarray(0, cut) },
      ...{ weight: null, rows: null, params, seed: 1, threads: 1 },
    });
    times.push(cpuSeconds() - start);
    score = balancedAccuracy(await model.predict(held_out, null, { threads: 1 }));
    model.free();
    data.free();
  }
  const line = {
    system: "magnet",
    learner,
    cpu_s: Math.min(...times),
    score,
    rows: cut,
    columns,
    trees,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
