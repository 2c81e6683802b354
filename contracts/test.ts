/**
 * The tests of the contracts, by hand and in full:
 *
 *   bun contracts/test.ts                      every test, 256 fuzz runs
 *   bun contracts/test.ts --match NAME         tests whose name matches (regular expression)
 *   bun contracts/test.ts --contract NAME      test contracts whose name matches
 *   bun contracts/test.ts --fuzz-runs 10000    as many runs for each fuzzed test
 *   bun contracts/test.ts --invariant-runs 64 --depth 500
 *   bun contracts/test.ts --verbose            traces of failed tests
 */
import { parseArgs } from "node:util";
import { writeToDescriptor } from "../src/core/stdio.ts";
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

// The invariants' limits have no flags.
const environment = {
  FOUNDRY_INVARIANT_RUNS: values["invariant-runs"],
  FOUNDRY_INVARIANT_DEPTH: values.depth,
};
const { code } = await forge(testArguments(), { show: true, environment });
if (code !== 0) writeToDescriptor(2, `contracts/test.ts: forge ended with code ${code}\n`);
process.exit(code);
