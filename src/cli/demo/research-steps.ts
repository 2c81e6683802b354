/**
 * The demo's own research: a run of the language domain of about twenty seconds that chooses how the
 * agents train. It sees the training text only; what the demo is judged by stays held out. Only what a
 * job of the network can say is tried, at equal cost, so the demo takes as long whatever is chosen.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import packageJson from "../../../package.json" with { type: "json" };
import { type JobSpec, jobSpecSchema } from "../../agent/job.ts";
import { MagnetError } from "../../core/errors.ts";
import { readParts } from "../../model/data.ts";
import { HeldoutSplit, sideOf } from "../../model/heldout-split.ts";
import { HELDOUT_FRACTION } from "../../model/tokenise.ts";
import {
  ffnWidth,
  type LanguageConfiguration,
  modelOf,
  parseConfiguration,
} from "../../research/language/configuration.ts";
import { costOf } from "../../research/language/cost.ts";
import { openLanguageTask } from "../../research/language/open.ts";
import { type Picked, pickConfiguration } from "../../research/language/pick.ts";
import { parseTask } from "../../research/task/load.ts";
import { openRun } from "../../research/trials/open-run.ts";
import type { Configuration } from "../../research/types.ts";
import type { Output } from "../frame/output.ts";
import { selfCommand } from "../self-command.ts";
import { DEMO_JOB, DEMO_MODEL } from "./recipe.ts";

/** Training text that the research reads; a trial sees a small part of it. */
const TEXT_BYTES = 3 << 20;
/** Tokens of a whole trial: a dozen trials make about twenty seconds of two cores. */
const TRIAL_TOKENS = 40_000;
const WORKERS_MAX = 2;
/** Rows of every ternary matrix are whole blocks of the GGUF formats. */
const BLOCK = 256;
/**
 * The learning rate may move by so much: a trial is a seventh of an agent's steps, and what is best
 * for a short run is too high for a long one.
 */
const RATE_FACTOR = 1.5;

/** The demo's recipe in the language domain's terms. */
export function baselineOf(): Configuration {
  const { d_model, n_layers, n_heads, n_kv_heads, d_ff, head_dim, context, vocab_size } =
    DEMO_MODEL;
  const { lr, schedule, beta1, beta2, weight_decay, clip } = DEMO_JOB.inner;
  return {
    ...{ vocab_size, d_model, n_layers, head_dim, context },
    ...{ group: n_heads / n_kv_heads, ffn: d_ff / d_model, batch: DEMO_JOB.batch },
    ...{ lr, schedule, beta1, beta2, weight_decay, clip },
    ...{ optimizer: "adamw", weight_decay_schedule: "constant" },
  };
}

/** The nearest configuration that a job and the model's file formats can express. */
export function usable(configuration: Configuration): Configuration | null {
  const base = parseConfiguration(baselineOf(), []);
  const c = parseConfiguration({ ...configuration, mixture: {} }, []);
  const fixed = ["vocab_size", "context", "accumulate", "optimizer", "momentum"] as const;
  const shares = ["warmup", "decay", "weight_decay_schedule"] as const;
  if ([...fixed, ...shares].some((key) => c[key] !== base[key])) return null;
  if (c.d_model % BLOCK !== 0 || ffnWidth(c) % BLOCK !== 0 || c.schedule === "two-stage")
    return null;
  const lr = Math.min(base.lr * RATE_FACTOR, Math.max(base.lr / RATE_FACTOR, c.lr));
  return { ...c, lr, mixture: {} };
}

/** A job that trains so; as many steps as cost what the demo's own would. */
export function jobWith(job: JobSpec, c: LanguageConfiguration): JobSpec {
  const base = parseConfiguration(baselineOf(), []);
  const step = (one: LanguageConfiguration) => costOf(one).us_per_token * one.batch;
  const inner_steps = Math.max(1, Math.round((DEMO_JOB.inner_steps * step(base)) / step(c)));
  const { lr, schedule, beta1, beta2, weight_decay, clip } = c;
  const model = { ...modelOf(c, c.context), vocab_size: job.model.vocab_size };
  const inner = { ...job.inner, lr, schedule, beta1, beta2, weight_decay, clip };
  return jobSpecSchema.parse({ ...job, model, inner, batch: c.batch, inner_steps });
}

/** Training documents of the demo, evenly chosen, as one JSONL file. */
async function writeTexts(inputs: readonly string[], folder: string, signal: AbortSignal) {
  const parts = await readParts(inputs, { signal });
  const split = new HeldoutSplit();
  for (const { bytes } of parts) split.add(bytes);
  const boundary = split.boundary(HELDOUT_FRACTION);
  const train = parts.filter(({ bytes }) => sideOf({ boundary }, bytes) === "train");
  const every = Math.max(1, Math.ceil(split.total_bytes / TEXT_BYTES));
  const decoder = new TextDecoder();
  const lines = train
    .filter((_, i) => i % every === 0)
    .map(({ bytes }) => JSON.stringify({ text: decoder.decode(bytes) }));
  fs.mkdirSync(folder, { recursive: true });
  const file = path.join(folder, "texts.jsonl");
  fs.writeFileSync(file, `${lines.join("\n")}\n`);
  return file;
}

async function pick(inputs: readonly string[], folder: string, signal: AbortSignal) {
  const data = await writeTexts(inputs, folder, signal);
  const document = {
    ...{ schema: "magnet.research_task/1", name: "demo", domain: "language", data },
    language: {
      ...{ tokens: TRIAL_TOKENS, equal: "compute", evaluation_bytes: 24_576 },
      ...{ evaluation_context: DEMO_MODEL.context, baseline: baselineOf() },
    },
  };
  const task_file = path.join(folder, "task.json");
  const domain = await openLanguageTask(parseTask(document, task_file), { signal });
  const run = openRun({
    ...{ folder, task_hash: domain.task_hash, settings: { study: "demo" }, threads: 1 },
    task: { file: task_file, document, seed: null },
    code_version: packageJson.version,
    self: selfCommand(),
    workers: Math.min(WORKERS_MAX, os.availableParallelism()),
  });
  try {
    return await pickConfiguration({ domain, runner: run.runner, usable, signal });
  } finally {
    await run.close();
    await domain.close();
  }
}

const bits = (value: number | null) => (value === null ? "-" : value.toFixed(3));

function tellTried({ tried, failures }: Picked, out: Output): void {
  for (const { text } of failures) out.note(`  found: ${text}`);
  out.note("  tried                              bits per byte: first look, longer");
  for (const { change, first_look, full } of tried)
    out.note(
      `    ${(change || "the recipe").padEnd(40)} ${bits(first_look).padStart(7)} ` +
        `${full === null ? "" : bits(full).padStart(7)}`,
    );
}

/** Reasons for which a search is impossible but a demo is not. */
const TOO_LITTLE = ["DATA_TOO_SMALL", "CORPUS_TOO_SMALL"];

/** Chooses the job's model and rates; with too little text for a search they stay. */
export async function chooseTraining(
  job: JobSpec,
  options: { inputs: readonly string[]; folder: string; signal: AbortSignal; out: Output },
): Promise<{ detail: string; value: { job: JobSpec; picked: Picked | null } }> {
  const { inputs, folder, signal, out } = options;
  try {
    const picked = await pick(inputs, path.join(folder, "research"), signal);
    tellTried(picked, out);
    const chosen = parseConfiguration(picked.configuration, []);
    const detail = `${picked.trials} trials of ${picked.tried.length} configurations: ${picked.reason}`;
    const same = picked.change === "";
    return { detail, value: { job: same ? job : jobWith(job, chosen), picked } };
  } catch (error) {
    if (!(error instanceof MagnetError && TOO_LITTLE.includes(error.code))) throw error;
    const detail = `the recipe as it is: ${error.message}`;
    return { detail, value: { job, picked: null } };
  }
}
