/**
 * The long comparison of the embedded chain with anvil: `bun tests/stress/anvil.ts [TRANSACTIONS]
 * [SEED]`, 2,000 transactions unless told otherwise. Ends with exit code 1 at the first difference.
 */
import { compareWithAnvil } from "../chain/differential/compare.ts";

const transactions = Number(process.argv[2] ?? 2000);
const seed = Number(process.argv[3] ?? Date.now() % 1_000_000);
process.stderr.write(`seed ${seed}\n`);
const sum = await compareWithAnvil({ seed, transactions });
process.stdout.write(
  `${JSON.stringify({ seed, ...sum, gas_used: sum.gas_used.toString() }, null, 2)}\n`,
);
process.exit(0);
