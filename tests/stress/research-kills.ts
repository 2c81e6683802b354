/**
 * A research run killed with SIGKILL at random moments and resumed: `bun
 * tests/stress/research-kills.ts [KILLS] [SEED]`, 100 unless told otherwise. Ends with exit code 1
 * where the result is not that of an undisturbed run.
 */
import path from "node:path";
import { killRuns } from "../research/trials/kill-runs.ts";

const kills = Number(process.argv[2] ?? 100);
const seed = Number(process.argv[3] ?? Date.now() % 1_000_000);
process.stderr.write(`seed ${seed}\n`);
const script = path.join(import.meta.dir, "../research/trials/toy-run.ts");
const result = await killRuns({
  command: (folder) => [process.execPath, script, folder, String(kills), "2"],
  ...{ kills, seed, lines_max: 5 },
  onKill: (done) => process.stderr.write(`kill ${done} of ${kills}\n`),
});
process.stdout.write(`${JSON.stringify({ seed, ...result })}\n`);
process.exit(result.resumed === result.undisturbed ? 0 : 1);
