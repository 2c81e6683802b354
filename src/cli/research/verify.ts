/** `magnet research verify`: whether a run's results are what its task, data and program give. */
import fs from "node:fs";
import path from "node:path";
import packageJson from "../../../package.json" with { type: "json" };
import { MagnetError } from "../../core/errors.ts";
import { systemRandom } from "../../core/random.ts";
import { counted } from "../../research/report/facts.ts";
import type { ReportDocument } from "../../research/report/report.ts";
import { type Check, verifyRun } from "../../research/verify-run.ts";
import { defineCommand } from "../frame/command.ts";
import { table } from "../frame/output.ts";
import { runFolder } from "./place.ts";
import { reportOf } from "./runs.ts";

const SAMPLE = 8;
const SEED_MAX = 2 ** 31;

/** The task file of a run whose data lie elsewhere now: a file, or the folder that it would be in. */
function taskFile(given: string): string {
  const place = path.resolve(given);
  if (!fs.existsSync(place))
    throw new MagnetError("NOT_FOUND", `${place} does not exist`, {
      hint: "--task takes the run's task file, or the folder that its data paths start from",
      exit: "usage",
    });
  return fs.statSync(place).isDirectory() ? path.join(place, "task.json") : place;
}

/** What the run claims and nothing here has looked at. */
function uncheckedOf(report: ReportDocument, checks: readonly Check[]): string[] {
  const done = report.trials.filter(({ state }) => state === "done").length;
  const others = done - checks.filter(({ what }) => what.startsWith("trial ")).length;
  const trials = others > 0 ? [counted(others, "other trial")] : [];
  return [...trials, "the gate's answers", "the differences between trials", "CPU seconds"];
}

export const verify = defineCommand({
  summary: "Computes parts of an ended run again and compares bit for bit",
  details:
    "The baseline, the final trial and sampled others are run again from their stored configurations,\nthen the final model and its sealed score. Exits with 6 where anything differs. Nothing in the\nfolder is changed; the run's data must be here.",
  examples: [
    { command: "magnet research verify churn", does: "ten trials, the model, the sealed score" },
    {
      command: "magnet research verify received/ --task churn.json --sample 100",
      does: "a run from elsewhere, its data beside churn.json",
    },
  ],
  args: { run: { value: "RUN", summary: "name or folder of the run" } },
  flags: {
    sample: {
      type: "integer",
      min: 0,
      max: 1_000_000,
      default: SAMPLE,
      summary: "further trials to run again",
    },
    seed: {
      ...{ type: "integer", min: 0, max: SEED_MAX },
      summary: "draws them (default: another one each time)",
    },
    task: { type: "string", value: "FILE", summary: "the task file, where the data moved" },
    threads: { type: "integer", min: 1, max: 64, default: 1, summary: "never changes a result" },
  },
  graceful: true,
  async run(context, { args, flags }) {
    const { out, signal } = context;
    const folder = runFolder(await context.config(), args.run);
    const report = reportOf(folder);
    if (report.magnet_version !== packageJson.version)
      out.warn(
        `the run was made by magnet ${report.magnet_version}, this is ${packageJson.version}: they may differ`,
      );
    // One that is known before would tell a forger which trials to leave honest.
    const seed = flags.seed ?? systemRandom.below(SEED_MAX);
    const checks = await verifyRun({
      ...{ folder, report, signal },
      task_file: flags.task === undefined ? null : taskFile(flags.task),
      ...{ sample: flags.sample, seed, threads: flags.threads },
      onCheck: ({ what, same }) => out.note(`${what}: ${same ? "the same" : "differs"}`),
    });
    const different = checks.filter(({ same }) => !same).length;
    const same = different === 0;
    const unchecked = uncheckedOf(report, checks);
    out.result("research_verify", { folder, same, seed, unchecked, checks }, () =>
      [
        table(
          ["part", "result"],
          checks.map((check) => [check.what, check.detail ?? "the same, bit for bit"]),
        ),
        same
          ? `verified: ${checks.length} parts of ${folder} are the same`
          : `${different} of ${checks.length} parts of ${folder} differ`,
        `not computed again: ${unchecked.join(", ")}; the trials were drawn with --seed ${seed}`,
      ].join("\n"),
    );
    return same ? "ok" : "verification";
  },
});
