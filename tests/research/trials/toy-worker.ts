/** A worker process of the toy domain: `bun toy-worker.ts [refuse | changed | never | node ...]`. */
import { MagnetError } from "../../../src/core/errors.ts";
import { serveTrials } from "../../../src/research/trials/worker.ts";
import { toyDomain } from "./toy-domain.ts";

const [mode] = process.argv.slice(2);
// "node": as a node starts it, with the command line of `magnet research worker` behind it.
if (mode === "never") {
  process.stderr.write("cannot allocate memory\n");
  process.exit(1);
}
const served = await serveTrials({
  async open() {
    if (mode === "refuse")
      throw new MagnetError("NO_SUCH_COLUMN", "data.csv has no column labl", { hint: "label?" });
    return mode === "changed"
      ? { ...toyDomain(), task_hash: "8".repeat(64) as never }
      : toyDomain();
  },
  threads: 1,
  input: Bun.stdin.stream(),
});
process.exit(served ? 0 : 1);
