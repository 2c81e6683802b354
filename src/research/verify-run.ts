/**
 * Computes a finished run again, in part, from what its folder says: sampled trials, the final model
 * and the sealed score. Equal specifications have equal outcomes, so each either gives the same bits
 * or is not what the run's task, data and program make of it.
 */
import path from "node:path";
import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { seededRandom } from "../core/random.ts";
import { readSmallFile } from "../core/read-file.ts";
import { sealedResult } from "./loop/run.ts";
import { openDomain } from "./open-domain.ts";
import type { ReportDocument } from "./report/report.ts";
import { MODEL_BYTES_MAX, MODEL_FILE } from "./session.ts";
import { taskOfHeader } from "./trials/open-run.ts";
import { outcomeAddress, recordOf } from "./trials/outcome-record.ts";
import { RunReader } from "./trials/run-reader.ts";
import type { StoredTrial } from "./trials/trial-rows.ts";
import type { ResearchDomain, TrialSpec } from "./types.ts";

export interface VerifyOptions {
  readonly folder: string;
  readonly report: ReportDocument;
  /** Where the task file and its data lie here; null: where the run found them. */
  readonly task_file: string | null;
  /** Trials beside the baseline's and the final one; which is drawn by `seed`. */
  readonly sample: number;
  readonly seed: number;
  readonly threads: number;
  readonly onCheck?: (check: Check) => void;
  readonly signal?: AbortSignal;
}

/** For data that are missing or others. */
const WHERE = "name the task file that lies beside the run's own data with --task";

export interface Check {
  /** "trial 12", "model", "sealed score". */
  readonly what: string;
  readonly same: boolean;
  /** What was found instead; null where it is the same. */
  readonly detail: string | null;
}

/** Of the done trials: the two that the report rests on, and as many others as are asked for. */
function chosen(trials: readonly StoredTrial[], options: VerifyOptions): StoredTrial[] {
  const { result } = options.report;
  const named = new Set([result.baseline.trial, result.final.candidate.trial]);
  const random = seededRandom(options.seed);
  const others = trials
    .filter(({ trial, state }) => state === "done" && !named.has(trial))
    .map((trial) => ({ trial, draw: random.next() }))
    .sort((a, b) => a.draw - b.draw)
    .slice(0, options.sample)
    .map(({ trial }) => trial);
  return [...trials.filter(({ trial }) => named.has(trial)), ...others];
}

async function checkTrial(
  domain: ResearchDomain,
  stored: StoredTrial,
  options: VerifyOptions,
): Promise<Check> {
  const what = `trial ${stored.trial}`;
  const { spec, outcome_address, record: told } = stored;
  const { threads, signal, report } = options;
  const reported = report.trials.find(({ index }) => index === stored.trial)?.score;
  try {
    const outcome = await domain.evaluate(spec, { threads, ...(signal ? { signal } : {}) });
    const record = recordOf(outcome);
    const address = outcomeAddress(spec, record);
    const differs = (score: number | null | undefined, where: string) =>
      score === record.score ? [] : [`its score is ${record.score} here, ${score} in ${where}`];
    const wrong = [...differs(told!.score, "the run"), ...differs(reported, "the report")];
    if (wrong.length === 0 && outcomeAddress(spec, told!) !== address)
      wrong.push("its outputs or figures are others here");
    if (wrong.length === 0 && outcome_address !== address)
      wrong.push(`its address is ${address} here, ${outcome_address} in the run`);
    return { what, same: wrong.length === 0, detail: wrong.length === 0 ? null : wrong.join("; ") };
  } catch (error) {
    signal?.throwIfAborted();
    return { what, same: false, detail: `it fails here: ${toMagnetError(error).message}` };
  }
}

const specOf = (reader: RunReader, index: number): TrialSpec => {
  const trial = reader.trial(index);
  if (trial?.state === "done") return trial.spec;
  throw new MagnetError(
    "RUN_CORRUPT",
    `the report names trial ${index}, which the run has not done`,
    {
      hint: "the folder's report.json is not that of its run.db",
      exit: "verification",
    },
  );
};

/** The final model's bytes, and what the sealed part says of it. */
async function checkEnd(
  domain: ResearchDomain,
  reader: RunReader,
  { folder, report }: VerifyOptions,
): Promise<Check[]> {
  const { result } = report;
  const { trial: baseline_trial } = result.baseline;
  const { trial } = result.final.candidate;
  const model = await domain.fitFinal(specOf(reader, trial));
  const baseline =
    trial === baseline_trial ? model : await domain.fitFinal(specOf(reader, baseline_trial));
  const kept = readSmallFile(path.join(folder, MODEL_FILE), MODEL_BYTES_MAX);
  const [here, there] = [sha256Hex(model.bytes), sha256Hex(kept)];
  const sealed = await sealedResult(domain, model, baseline);
  const text = canonicalJson(JSON.parse(JSON.stringify(sealed)));
  const same = (value: unknown) => value !== null && canonicalJson(value) === text;
  const stored = reader.stepResult("sealed");
  const wrong = [
    ...(same(stored) ? [] : ["what the run has stored"]),
    ...(same(result.sealed) ? [] : ["the report"]),
  ];
  const detail = `it is ${sealed.model.score} here, unlike ${wrong.join(" and ")}`;
  const models = `its SHA-256 is ${here} here, ${there} in the run`;
  return [
    { what: "model", same: here === there, detail: here === there ? null : models },
    { what: "sealed score", same: wrong.length === 0, detail: wrong.length === 0 ? null : detail },
  ];
}

/**
 * Throws RUN_NOT_FOUND, RUN_CORRUPT, TASK_CHANGED where the data here are others, what opening the
 * task finds, the signal's reason. Nothing is written.
 */
export async function verifyRun(options: VerifyOptions): Promise<Check[]> {
  const { folder, task_file, onCheck, signal } = options;
  const reader = RunReader.open(folder);
  try {
    const header = reader.begun();
    const moved = { ...(header.task as object), ...(task_file ? { file: task_file } : {}) };
    const task = taskOfHeader({ ...header, task: moved });
    const domain = await openDomain(task).catch((error) => {
      const { code, message } = toMagnetError(error);
      if (code !== "NOT_FOUND") throw error;
      throw new MagnetError(code, message, { hint: WHERE, exit: "config", cause: error });
    });
    try {
      if (domain.task_hash !== header.task_hash)
        throw new MagnetError("TASK_CHANGED", `the data of ${task.name} are not those of the run`, {
          hint: WHERE,
          exit: "verification",
        });
      const checks: Check[] = [];
      const note = (check: Check) => {
        checks.push(check);
        onCheck?.(check);
      };
      for (const trial of chosen(reader.trials(), options)) {
        signal?.throwIfAborted();
        note(await checkTrial(domain, trial, options));
      }
      signal?.throwIfAborted();
      for (const check of await checkEnd(domain, reader, options)) note(check);
      return checks;
    } finally {
      await domain.close();
    }
  } finally {
    reader.close();
  }
}
