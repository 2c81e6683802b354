/**
 * The command line of solc, as far as forge uses it, over the solc of npm: `--version`, and
 * `--standard-json` from stdin to stdout. All sources are in the request (forge resolves imports), so
 * nothing is read from disk. `--version` answers without loading the compiler, which takes a second.
 */
import { createRequire } from "node:module";
import { writeToDescriptor } from "../../src/core/stdio.ts";

const require = createRequire(import.meta.url);
const args = process.argv.slice(2);

if (args.includes("--standard-json")) {
  const solc = require("solc") as { compile(input: string): string };
  await writeToDescriptor(1, solc.compile(await Bun.stdin.text()));
} else if (args.includes("--version")) {
  // The commit is part of what forge wants to read; solc's package holds only the release.
  const { version } = require("solc/package.json") as { version: string };
  const text = "solc, the solidity compiler commandline interface\nVersion: ";
  await writeToDescriptor(1, `${text}${version}+commit.00000000.Emscripten.clang\n`);
} else {
  await writeToDescriptor(2, `solc: only --version and --standard-json are known: ${args}\n`);
  process.exit(1);
}
