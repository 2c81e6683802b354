/**
 * `magnet train`: trains a model on this machine. Ctrl-C or SIGTERM saves a checkpoint and ends;
 * --resume goes on from it bit for bit. Under --json every line is a record; the last one holds the
 * result.
 */

import { systemClock } from "../core/clock.ts";
import type { Config } from "../core/config.ts";
import type { ExitKind } from "../core/errors.ts";
import { QUANTIZATIONS } from "../model/config.ts";
import { plotRuns } from "../model/loss-page.ts";
import { OPTIMIZERS } from "../model/optimizer.ts";
import { DECAY_SCHEDULES, SCHEDULES } from "../model/schedule.ts";
import { type TrainedFromFiles, trainFromFiles } from "../model/train-from-files.ts";
import type { TrainingSettings } from "../model/training-config.ts";
import type { TrainingEvent } from "../model/training-types.ts";
import { chooseDevice, parseDevice } from "../native/device.ts";
import { DEVICE_FLAG } from "./device-flag.ts";
import { defineCommand, defineGroup, type FlagValues } from "./frame/command.ts";
import type { Output } from "./frame/output.ts";
import { seedOf, stopOnFailure } from "./run-guards.ts";
import { TrainView } from "./train-view.ts";

const FLAGS = {
  model: { type: "string", value: "PRESET|FILE", summary: "what to train (default demo)" },
  data: {
    type: "list",
    value: "PATH[=WEIGHT]",
    summary: "text, folders of it, or prepared folders",
  },
  steps: { type: "integer", min: 1, summary: "optimiser steps of the whole run" },
  out: { type: "string", value: "DIR", required: true, summary: "folder of the run" },
  seed: { type: "string", value: "N", summary: "of initial weights and order of data (default 1)" },
  batch: { type: "integer", min: 1, summary: "sequences of a micro-batch (default 16)" },
  accumulate: { type: "integer", min: 1, summary: "micro-batches of a step (default 1)" },
  context: { type: "integer", min: 1, summary: "tokens of a sequence (default the model's)" },
  lr: { type: "number", min: 0, summary: "peak learning rate (default 0.004, adamw 0.0015)" },
  schedule: { type: "choice", options: SCHEDULES, summary: "of the learning rate (default wsd)" },
  optimizer: {
    type: "choice",
    options: OPTIMIZERS,
    summary: "of the blocks' matrices (default muon)",
  },
  quant: { type: "choice", options: QUANTIZATIONS, summary: "none trains the float32 twin" },
  "weight-decay": { type: "number", min: 0, max: 1, summary: "of matrices (default 0.1)" },
  "weight-decay-schedule": {
    type: "choice",
    options: DECAY_SCHEDULES,
    summary: "two-stage: none in the second half (the default)",
  },
  beta1: { type: "number", min: 0, max: 1, summary: "of AdamW (default 0.9)" },
  beta2: { type: "number", min: 0, max: 1, summary: "of AdamW (default 0.98)" },
  momentum: { type: "number", min: 0, max: 1, summary: "of Muon (default 0.95)" },
  clip: { type: "number", min: 0, summary: "limit of the gradient's norm, 0 = off (default 1)" },
  recompute: {
    type: "boolean",
    summary: "less memory for about a tenth more time; the same result",
  },
  "vocab-size": { type: "integer", min: 260, summary: "of the tokenizer that is trained" },
  heldout: {
    type: "number",
    min: 0,
    max: 0.5,
    summary: "share of the text kept out (default 0.05)",
  },
  tokenizer: { type: "string", value: "FILE", summary: "use this tokenizer.json" },
  init: { type: "string", value: "DIR|FILE", summary: "start from these weights (safetensors)" },
  "text-field": { type: "string", value: "NAME", summary: "field of JSONL (default text)" },
  threads: { type: "integer", min: 0, max: 64, summary: "0 means all; never changes a result" },
  device: DEVICE_FLAG,
  resume: { type: "boolean", summary: "go on from the last checkpoint in --out" },
  "eval-every": { type: "integer", min: 0, summary: "steps between held-out evaluations" },
  "checkpoint-every": { type: "integer", min: 1, summary: "steps between checkpoints" },
} as const;
type TrainFlags = FlagValues<typeof FLAGS>;

const run = defineCommand({
  summary: "Trains a model on this machine",
  details:
    "Plain text is tokenised into OUT/data first. OUT gets checkpoints/, metrics.jsonl and loss.html.\nCtrl-C or SIGTERM saves a checkpoint; --resume continues exactly there.",
  examples: [
    {
      command: "magnet train --model demo --data books/ --steps 500 --out run/",
      does: "tokenizer, data and model from a folder of text",
    },
    {
      command: "magnet train --data en/=0.5 --data ko/=0.3 --data ja/=0.2 --steps 500 --out run/",
      does: "three sources, mixed by weight; each is evaluated by itself",
    },
    { command: "magnet train --out run/ --resume", does: "go on where it stopped" },
  ],
  args: {},
  flags: FLAGS,
  graceful: true,
  async run(context, { flags }) {
    const { values } = await context.config();
    const device = chooseDevice(parseDevice(flags.device));
    const view = new TrainView(context.out, process.env);
    const reports = stopOnFailure({
      onPrepare: (progress: { done_bytes: number; total_bytes: number }) => view.prepare(progress),
      onEvent: (event: TrainingEvent) => view.show(event),
    });
    const training = trainFromFiles({
      model: flags.model,
      quant: flags.quant,
      data: flags.data,
      tokenizer: flags.tokenizer,
      init: flags.init,
      vocab_size: flags.vocab_size,
      heldout_fraction: flags.heldout,
      text_field: flags.text_field,
      out_dir: flags.out,
      resume: flags.resume ? flags.out : undefined,
      settings: givenSettings(flags, values.training),
      clock: systemClock,
      device,
      onPrepare: reports.onPrepare,
      onEvent: reports.onEvent,
      signal: AbortSignal.any([context.signal, reports.stop.signal]),
    });
    const result = await training.finally(() => view.end());
    if (reports.stop.signal.aborted) throw reports.stop.signal.reason;
    return report(context.out, result);
  },
});

type LocalSettings = Config["values"]["training"];

/** Settings that the flags give; those left out keep their defaults or the checkpoint's values. */
function givenSettings(flags: TrainFlags, local: LocalSettings): Partial<TrainingSettings> {
  const given: Partial<Record<keyof TrainingSettings, unknown>> = {
    steps: flags.steps,
    seed: flags.seed === undefined ? undefined : seedOf(flags.seed),
    batch: flags.batch,
    accumulate: flags.accumulate,
    context: flags.context,
    lr: flags.lr,
    schedule: flags.schedule,
    optimizer: flags.optimizer,
    momentum: flags.momentum,
    weight_decay: flags.weight_decay,
    weight_decay_schedule: flags.weight_decay_schedule,
    beta1: flags.beta1,
    beta2: flags.beta2,
    clip: flags.clip,
    recompute: flags.recompute,
    threads: flags.threads ?? local.threads,
    eval_interval: flags.eval_every,
    checkpoint_interval: flags.checkpoint_every ?? local.checkpoint_every,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function report(out: Output, result: TrainedFromFiles): ExitKind {
  const { heldout, loss, checkpoint, checkpoint_hash, tokens_per_s, step, ended } = result;
  const rows = [
    `steps        ${step}${ended === "aborted" ? " (stopped; --resume goes on)" : ""}`,
    `loss         ${loss?.toFixed(4) ?? "-"}`,
    ...(heldout
      ? [
          `held out     ${heldout.loss.toFixed(4)}, ${heldout.bits_per_byte.toFixed(3)} bits per byte`,
        ]
      : []),
    ...sourceRows(result),
    `speed        ${tokens_per_s} tokens/s`,
    `checkpoint   ${checkpoint}`,
    `hash         ${checkpoint_hash}`,
    `curves       ${result.loss_plot}`,
  ];
  out.result("train", result, rows.join("\n"));
  return ended === "aborted" ? "interrupted" : "ok";
}

/** A row for each of several sources. */
function sourceRows({ sources, heldout }: TrainedFromFiles): string[] {
  if (sources.length < 2) return [];
  return sources.map(({ name, share, data_passes }) => {
    const bits = heldout?.sources?.find((s) => s.name === name)?.bits_per_byte.toFixed(3);
    const figures = `${(100 * share).toFixed(1)}%, ${data_passes.toFixed(2)} data passes`;
    return `  ${name}: ${figures}${bits === undefined ? "" : `, ${bits} bits per byte`}`;
  });
}

const plot = defineCommand({
  summary: "Draws the loss curves of runs as one HTML page",
  details: "RUN is the folder of a run, or its metrics.jsonl. Several runs share one picture.",
  examples: [
    { command: "magnet train plot run/", does: "makes run/loss.html anew" },
    { command: "magnet train plot run/ twin/ --out both.html", does: "compares two runs" },
  ],
  args: { runs: { value: "RUN", summary: "runs to draw", many: true } },
  flags: { out: { type: "string", value: "FILE", summary: "the page (default RUN/loss.html)" } },
  async run({ out }, { args, flags }) {
    const { file, runs } = await plotRuns(args.runs, flags.out);
    out.result("train_plot", { file, runs }, file);
  },
});

export const train = defineGroup("Trains a model on this machine", { plot }, run);
