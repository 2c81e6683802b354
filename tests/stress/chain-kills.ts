/**
 * `magnet chain host` killed with SIGKILL at random moments: `bun tests/stress/chain-kills.ts [KILLS]
 * [SEED]`, 50 unless told otherwise. Ends with exit code 1 where an acknowledged transaction is lost.
 */
import { killRounds } from "../chain/kill-rounds.ts";

const kills = Number(process.argv[2] ?? 50);
const seed = Number(process.argv[3] ?? Date.now() % 1_000_000);
process.stderr.write(`seed ${seed}\n`);
const onKill = (done: number) => process.stderr.write(`kill ${done} of ${kills}\n`);
process.stdout.write(
  `${JSON.stringify({ seed, ...(await killRounds({ kills, seed, onKill })) })}\n`,
);
process.exit(0);
