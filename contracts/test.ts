/**
 * The tests of the contracts, by hand and in full:
 *
 *   bun contracts/test.ts                      every test, 256 fuzz runs
 *   bun contracts/test.ts --match NAME         tests whose name matches (regular expression)
 *   bun contracts/test.ts --contract NAME      test contracts whose name matches
 *   bun contracts/test.ts --fuzz-runs 10000    as many runs for each fuzzed test
 *   bun contracts/test.ts --invariant-runs 64 --depth 500
 *   bun contracts/test.ts --seed 0x1234        as a failed fuzz run printed it
 *   bun contracts/test.ts --verbose            traces of failed tests
 *   bun contracts/test.ts --coverage           branches and lines of each contract; fails below 95%
 *   bun contracts/test.ts --snapshot           writes contracts/snapshots (gas); else it is compared
 *
 * Whether the attacks' tests can fail: contracts/mutate.ts.
 */
import { parseArgs } from "node:util";
import { writeToDescriptor } from "../src/core/stdio.ts";
import { judgeCoverage, measureCoverage } from "./coverage.ts";
import { forge } from "./forge.ts";

const { values } = parseArgs({
  options: {
    match: { type: "string" },
    contract: { type: "string" },
    "fuzz-runs": { type: "string", default: "256" },
    "invariant-runs": { type: "string", default: "2" },
    depth: { type: "string", default: "100" },
    seed: { type: "string" },
    verbose: { type: "boolean", default: false },
    coverage: { type: "boolean", default: false },
    snapshot: { type: "boolean", default: false },
  },
});

function testArguments(): string[] {
  const args = ["test", "--fuzz-runs", values["fuzz-runs"]];
  if (values.seed) args.push("--fuzz-seed", values.seed);
  if (values.contract) args.push("--match-contract", values.contract);
  if (values.match) args.push("--match-test", values.match);
  if (values.verbose) args.push("-vvv");
  return args;
}

async function main(): Promise<number> {
  if (values.coverage) {
    const { text, enough } = judgeCoverage(await measureCoverage());
    writeToDescriptor(1, text);
    return enough ? 0 : 1;
  }
  // What has no flag.
  const environment = {
    FOUNDRY_INVARIANT_RUNS: values["invariant-runs"],
    FOUNDRY_INVARIANT_DEPTH: values.depth,
    FORGE_SNAPSHOT_EMIT: String(values.snapshot),
    FORGE_SNAPSHOT_CHECK: String(!values.snapshot),
  };
  const args = values.snapshot ? ["test", "--match-contract", "GasSnapshotTest"] : testArguments();
  const { code } = await forge(args, { show: true, environment });
  if (code !== 0) writeToDescriptor(2, `contracts/test.ts: forge ended with code ${code}\n`);
  return code;
}

process.exit(await main());
