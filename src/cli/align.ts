/**
 * `magnet align`: ORPO on preference pairs, with figures of before and after. Ctrl-C or SIGTERM
 * saves a checkpoint and ends; --resume goes on from it bit for bit.
 */
import { systemClock } from "../core/clock.ts";
import type { Config } from "../core/config.ts";
import type { ExitKind } from "../core/errors.ts";
import { ALIGN_DEFAULTS, type AlignSettings, DEFAULT_BETA } from "../model/align-config.ts";
import { type AlignedFromFiles, alignFromFiles } from "../model/align-from-files.ts";
import type { AlignEvaluation, AlignEvent } from "../model/align-types.ts";
import { PAIR_FORMATS } from "../model/preference-pairs.ts";
import { SCHEDULES } from "../model/schedule.ts";
import { chooseDevice, parseDevice } from "../native/device.ts";
import { defineCommand, type FlagValues } from "./frame/command.ts";
import { type Output, table } from "./frame/output.ts";
import { seedOf, stopOnFailure } from "./run-guards.ts";

const FLAGS = {
  model: { type: "string", value: "MODEL", summary: "checkpoint, run or Hugging Face folder" },
  pairs: { type: "list", value: "FILE", required: true, summary: "JSONL of preference pairs" },
  out: { type: "string", value: "DIR", required: true, summary: "folder of the run" },
  format: {
    type: "choice",
    options: PAIR_FORMATS,
    default: "auto",
    summary: "of strings: text goes on, chat answers",
  },
  steps: { type: "integer", min: 1, summary: "optimiser steps (default one pass over the pairs)" },
  batch: {
    type: "integer",
    min: 1,
    summary: `pairs of a micro-batch (default ${ALIGN_DEFAULTS.batch})`,
  },
  accumulate: { type: "integer", min: 1, summary: "micro-batches of a step (default 1)" },
  context: { type: "integer", min: 2, summary: "tokens of a pair at most (default the model's)" },
  lr: { type: "number", min: 0, summary: `peak learning rate (default ${ALIGN_DEFAULTS.lr})` },
  schedule: {
    type: "choice",
    options: SCHEDULES,
    summary: `of the learning rate (default ${ALIGN_DEFAULTS.schedule})`,
  },
  beta: {
    type: "number",
    min: 0,
    summary: `weight of the odds ratio in the loss (default ${DEFAULT_BETA})`,
  },
  seed: { type: "string", value: "N", summary: "of the order of the pairs (default 1)" },
  heldout: {
    type: "number",
    min: 0,
    max: 0.5,
    summary: "share of the prompts kept out (default 0.1)",
  },
  "language-data": { type: "string", value: "PATH", summary: "text whose loss must not get worse" },
  "eval-every": { type: "integer", min: 0, summary: "steps between evaluations" },
  "checkpoint-every": { type: "integer", min: 1, summary: "steps between checkpoints" },
  threads: { type: "integer", min: 0, max: 64, summary: "0 means all; never changes a result" },
  device: {
    type: "string",
    value: "auto|cpu|cuda[:N]",
    default: "auto",
    summary: "auto: a GPU where one answers",
  },
  resume: { type: "boolean", summary: "go on from the last checkpoint in --out" },
} as const;
type AlignFlags = FlagValues<typeof FLAGS>;

export const align = defineCommand({
  summary: "Teaches a model preferences from pairs of responses (ORPO)",
  details:
    'FILE has one {"prompt", "chosen", "rejected"} a line: texts, or messages of a chat. A pair too long\nfor the context loses the beginning of its prompt. OUT gets checkpoints/ (for chat, export, eval)\nand metrics.jsonl. Win rate: share of held-out pairs whose chosen response is the likelier one.',
  examples: [
    {
      command: "magnet align --model run/ --pairs pairs.jsonl --out aligned/",
      does: "one pass over the pairs",
    },
    {
      command:
        "magnet align --model run/ --pairs pairs.jsonl --language-data run/data --out aligned/",
      does: "and shows what it costs in language loss",
    },
  ],
  args: {},
  flags: FLAGS,
  graceful: true,
  async run(context, { flags }) {
    const { values } = await context.config();
    const device = chooseDevice(parseDevice(flags.device));
    const reports = stopOnFailure({ onEvent: reporter(context.out) });
    const result = await alignFromFiles({
      model: flags.model,
      pairs: flags.pairs,
      format: flags.format,
      heldout_fraction: flags.heldout,
      language_data: flags.language_data,
      out_dir: flags.out,
      resume: flags.resume ? flags.out : undefined,
      settings: givenSettings(flags, values.training),
      device,
      clock: systemClock,
      onEvent: reports.onEvent,
      signal: AbortSignal.any([context.signal, reports.stop.signal]),
    });
    if (reports.stop.signal.aborted) throw reports.stop.signal.reason;
    return report(context.out, result);
  },
});

function givenSettings(flags: AlignFlags, local: Config["values"]["training"]): AlignSettings {
  const given: Partial<Record<keyof AlignSettings, unknown>> = {
    steps: flags.steps,
    seed: flags.seed === undefined ? undefined : seedOf(flags.seed),
    batch: flags.batch,
    accumulate: flags.accumulate,
    context: flags.context,
    lr: flags.lr,
    schedule: flags.schedule,
    beta: flags.beta,
    threads: flags.threads ?? local.threads,
    eval_interval: flags.eval_every,
    checkpoint_interval: flags.checkpoint_every ?? local.checkpoint_every,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

const percent = (share: number, digits = 1) => `${(100 * share).toFixed(digits)}%`;

/** One line of figures. */
function figures({ heldout, language }: AlignEvaluation): string {
  const parts = [
    heldout && `win rate ${percent(heldout.win_rate)}, margin ${heldout.margin.toFixed(4)}`,
    language && `language loss ${language.loss.toFixed(4)}`,
  ].filter((part) => part !== null);
  return parts.join(", ");
}

/** Progress for people on stderr, records for scripts on stdout. */
function reporter(out: Output) {
  let progress: ReturnType<Output["progress"]> | undefined;
  return (event: AlignEvent) => {
    if (out.json) {
      const { type, ...fields } = event;
      out.record(`align_${type}`, fields);
    }
    if (event.type === "started") {
      if (event.truncated > 0)
        out.note(`${event.truncated} pair(s) lost the beginning of their prompt to fit`);
      progress = out.progress({ label: "align", total: event.steps, unit: "steps" });
      progress.startAt(event.step);
    }
    if (event.type === "step") {
      progress?.update(event.step, `loss ${event.loss.toFixed(4)}  ${event.tokens_per_s} tokens/s`);
      if (event.step === event.steps) progress?.end();
    }
    if (event.type === "evaluated" && !out.json) {
      const text = figures(event);
      if (text !== "") out.note(`step ${event.step}: ${text}`);
    }
  };
}

function comparison({ before, after }: AlignedFromFiles): string[] {
  const row = (
    name: string,
    show: (evaluation: AlignEvaluation) => string | null | undefined,
  ): string[][] => {
    const values = [before, after].map((evaluation) => evaluation && show(evaluation));
    return values.some((value) => value) ? [[name, ...values.map((value) => value ?? "-")]] : [];
  };
  const rows = [
    ...row(
      "win rate",
      ({ heldout: h }) => h && `${percent(h.win_rate)} ± ${percent(h.win_rate_error)}`,
    ),
    ...row(
      "margin",
      ({ heldout: h }) => h && `${h.margin.toFixed(4)} ± ${h.margin_error.toFixed(4)}`,
    ),
    ...row("chosen loss", ({ heldout: h }) => h?.chosen_nll.toFixed(4)),
    ...row("language loss", ({ language: l }) => l?.loss.toFixed(4)),
    ...row("bits per byte", ({ language: l }) => l?.bits_per_byte.toFixed(4)),
  ];
  return rows.length === 0 ? [] : [table(["held out", "before", "after"], rows)];
}

function report(out: Output, result: AlignedFromFiles): ExitKind {
  const { step, ended, pairs, heldout_pairs, truncated, language_change, loss } = result;
  const sign = language_change !== null && language_change > 0 ? "+" : "";
  const rows = [
    ...comparison(result),
    ...(language_change === null
      ? []
      : [`change of the language loss ${sign}${percent(language_change, 2)}`]),
    `steps        ${step}${ended === "aborted" ? " (stopped; --resume goes on)" : ""}`,
    `pairs        ${pairs}, ${heldout_pairs} held out, ${truncated} with a shortened prompt`,
    `loss         ${loss?.toFixed(4) ?? "-"}`,
    `speed        ${result.tokens_per_s} tokens/s`,
    `checkpoint   ${result.checkpoint}`,
    `hash         ${result.checkpoint_hash}`,
  ];
  out.result("align", result, rows.join("\n"));
  return ended === "aborted" ? "interrupted" : "ok";
}
