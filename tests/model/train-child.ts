/** Trains as `train` of the fixture does, in a process of its own that a test may kill. */
import { resolveCheckpoint } from "../../src/model/checkpoint-store.ts";
import { tinyConfig, train } from "./training-fixture.ts";

const [out_dir, steps, resume] = process.argv.slice(2) as [string, string, string | undefined];
const result = await train(out_dir, tinyConfig({ steps: Number(steps) }), {
  resume: resume === "resume" ? await resolveCheckpoint(out_dir) : null,
  onEvent: (event) => process.stdout.write(`${event.type} ${event.step}\n`),
});
process.stdout.write(`${result.checkpoint_hash}\n`);
