/**
 * `magnet research worker`: a process that evaluates trials for the run that started it, as lines of
 * JSON on stdin and stdout. Not for people.
 */
import { openDomain } from "../../research/open-domain.ts";
import { taskOfRun } from "../../research/trials/open-run.ts";
import { serveTrials } from "../../research/trials/worker.ts";
import { defineCommand } from "../frame/command.ts";

export const worker = defineCommand({
  summary: "Evaluates trials for a run, which starts it by itself",
  examples: [{ command: "magnet research worker run/", does: "what research run starts" }],
  args: { folder: { value: "DIR", summary: "folder of the run" } },
  flags: {
    threads: { type: "integer", min: 1, max: 64, default: 1, summary: "never changes a result" },
  },
  async run(_, { args, flags }) {
    const served = await serveTrials({
      open: async () => openDomain(taskOfRun(args.folder)),
      threads: flags.threads,
      input: Bun.stdin.stream(),
    });
    return served ? "ok" : "failed";
  },
});
