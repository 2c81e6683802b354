/**
 * A research run killed with SIGKILL at random moments and resumed: `bun
 * tests/stress/research-kills.ts [KILLS] [SEED] [toy | tabular]`, 100 kills of toy trials unless told
 * otherwise; "tabular" is a whole run on a table. Ends with exit code 1 where the result is not that
 * of an undisturbed run.
 */
import path from "node:path";
import { killRuns } from "../research/trials/kill-runs.ts";

const kills = Number(process.argv[2] ?? 100);
const seed = Number(process.argv[3] ?? Date.now() % 1_000_000);
const kind = process.argv[4] === "tabular" ? "tabular" : "toy";
process.stderr.write(`seed ${seed}\n`);
const script = path.join(import.meta.dir, `../research/trials/${kind}-run.ts`);
const size = kind === "toy" ? kills : 4 * kills;
const result = await killRuns({
  command: (folder) => [process.execPath, script, folder, String(size), "2"],
  // A whole run tells its past again first: it is killed anywhere, past or present.
  ...{ kills, seed, lines_max: kind === "toy" ? 5 : 6 * kills },
  onKill: (done) => process.stderr.write(`kill ${done} of ${kills}\n`),
});
process.stdout.write(`${JSON.stringify({ seed, ...result })}\n`);
process.exit(result.resumed === result.undisturbed ? 0 : 1);
