/**
 * A whole research run on a small table, begun or resumed in a folder: `bun tabular-run.ts FOLDER
 * TRIALS WORKERS` prints a line for each event and the digest of the result at the end. Measured
 * times are not part of the digest: nothing of a trial budget's result may depend on them.
 */
import fs from "node:fs";
import path from "node:path";
import { canonicalJson, sha256Hex } from "../../../src/core/bytes.ts";
import { seededRandom } from "../../../src/core/random.ts";
import { writeToDescriptor } from "../../../src/core/stdio.ts";
import { research } from "../../../src/research/session.ts";
import { RunReader } from "../../../src/research/trials/run-reader.ts";

/** Two numbers that matter together, one alone, one not at all. */
function writeTable(file: string): void {
  const random = seededRandom(11);
  const normal = () => Array.from({ length: 12 }, () => random.next()).reduce((a, b) => a + b) - 6;
  const rows = Array.from({ length: 300 }, () => {
    const x = [normal(), normal(), normal(), normal()];
    const label = x[0]! + x[1]! * x[2]! + normal() > 0.9 ? "yes" : "no";
    return [...x.map((value) => value.toFixed(3)), label].join(",");
  });
  fs.writeFileSync(file, `a,b,c,d,label\n${rows.join("\n")}\n`);
}

const MEASURED = new Set(["cpu_s", "wall_s", "spent", "cost_so_far"]);
const unmeasured = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(unmeasured);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(([key]) => !MEASURED.has(key));
  return Object.fromEntries(kept.map(([key, inner]) => [key, unmeasured(inner)]));
};

const [folder, trials, workers] = process.argv.slice(2) as [string, string, string];
fs.mkdirSync(folder, { recursive: true });
const file = path.join(folder, "task.json");
if (!fs.existsSync(path.join(folder, "table.csv"))) writeTable(path.join(folder, "table.csv"));
const document = {
  ...{ schema: "magnet.research_task/1", name: "killed", domain: "tabular", label: "label" },
  data: "table.csv",
};
const { report } = await research({
  folder,
  task: { file, document, seed: null },
  settings: { budget: { trials: Number(trials) }, batch: 4, patience: null, epsilon: null },
  workers: Number(workers),
  threads: 1,
  teach: false,
  self: [process.execPath, path.join(import.meta.dir, "../../../src/main.ts")],
  magnet_version: "1",
  env: {},
  onEvent: ({ kind }) => writeToDescriptor(1, `${kind}\n`),
});
const reader = RunReader.open(folder);
const addresses = reader.trials().map(({ outcome_address }) => outcome_address);
reader.close();
const digest = sha256Hex(canonicalJson([unmeasured(report.result), addresses]));
writeToDescriptor(1, `result ${digest}\n`);
process.exit(0);
