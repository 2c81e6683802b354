/** `magnet eval`: how well a trained model predicts a text, and its raw logits. */
import { evaluatePairsOfModel } from "../model/align-from-files.ts";
import { evaluateCheckpoint } from "../model/evaluate-checkpoint.ts";
import { evalLogits, HEAD_FORMATS, ROUNDINGS } from "../model/inference.ts";
import { loadModel } from "../model/load-model.ts";
import { PAIR_FORMATS } from "../model/preference-pairs.ts";
import { type ChosenDevice, onDevice } from "../native/device.ts";
import { DEVICE_FLAG, deviceOf } from "./device-flag.ts";
import { type Context, defineCommand, defineGroup, type FlagValues } from "./frame/command.ts";
import type { Output } from "./frame/output.ts";
import { usageError } from "./frame/strict.ts";
import { parseIds } from "./ids.ts";

const FLAGS = {
  data: { type: "string", value: "PATH", summary: "text, .mgt or prepared folder" },
  pairs: { type: "list", value: "FILE", summary: "preference pairs instead: their win rate" },
  format: {
    type: "choice",
    options: PAIR_FORMATS,
    default: "auto",
    summary: "of the pairs' strings: text goes on, chat answers",
  },
  device: DEVICE_FLAG,
  threads: { type: "integer", min: 0, max: 64, summary: "0 means all; never changes a result" },
  "tokens-max": {
    type: "integer",
    min: 1,
    summary: "evaluate about this many tokens (default all)",
  },
} as const;

const evaluate = defineCommand({
  summary: "Loss, perplexity and bits per byte of a model on a text, or its win rate on pairs",
  details:
    "With --data every target token counts once, and MODEL is a checkpoint or run folder (its newest).\nWith --pairs it may be a Hugging Face folder too; lines that say they are held out are counted, or\nwithout such a line all.",
  examples: [
    { command: "magnet eval run/ --data held-out.txt", does: "on a text of its own" },
    { command: "magnet eval run/ --data run/data --json", does: "on the part held out" },
    { command: "magnet eval run/ --pairs pairs.jsonl", does: "as magnet align evaluates" },
  ],
  args: { model: { value: "MODEL", summary: "checkpoint or run folder" } },
  flags: FLAGS,
  async run(context, { args, flags }) {
    if ((flags.data === undefined) === (flags.pairs.length === 0))
      throw usageError(
        "MISSING_FLAG",
        "either --data or --pairs is needed",
        "give --data PATH for the loss on a text, --pairs FILE for the win rate",
      );
    await (flags.data === undefined ? onPairs : onText)(context, args.model, flags);
  },
});

type Evaluating = (
  context: Pick<Context, "out" | "signal">,
  model: string,
  flags: FlagValues<typeof FLAGS>,
) => Promise<void>;

/** Shows progress from its first report on. */
function progressOf(out: Output, unit: string) {
  let progress: ReturnType<Output["progress"]> | undefined;
  const onProgress = ({ done, total }: { done: number; total: number }) => {
    progress ??= out.progress({ label: "eval", total, unit });
    progress.update(done);
  };
  return { onProgress, end: () => progress?.end() };
}

const noteTo = (out: Output) => (line: string) => out.note(line);

const onText: Evaluating = async ({ out, signal }, model, flags) => {
  const { onProgress, end } = progressOf(out, "windows");
  const result = await onDevice(deviceOf(out, flags), noteTo(out), (device) =>
    evaluateCheckpoint({
      ...{ model, data: flags.data!, device, signal, onProgress },
      ...(flags.threads === undefined ? {} : { threads: flags.threads }),
      ...(flags.tokens_max === undefined ? {} : { tokens_max: flags.tokens_max }),
    }),
  );
  end();
  const { loss, perplexity, bits_per_byte, tokens } = result;
  const rows = [
    `loss           ${loss.toFixed(4)} nats per token`,
    `perplexity     ${perplexity.toFixed(2)}`,
    `bits per byte  ${bits_per_byte.toFixed(4)}`,
    `tokens         ${tokens}`,
  ];
  out.result("eval", result, rows.join("\n"));
};

const onPairs: Evaluating = async ({ out, signal }, model, flags) => {
  const { onProgress, end } = progressOf(out, "pairs");
  const { pairs, format, threads } = flags;
  const options = { model, pairs, format, threads, signal, onProgress };
  const result = await onDevice(deviceOf(out, flags), noteTo(out), (device) =>
    evaluatePairsOfModel({ ...options, device }),
  );
  end();
  const { win_rate, win_rate_error, margin, margin_error, chosen_nll } = result;
  const rows = [
    `win rate     ${(100 * win_rate).toFixed(1)}% ± ${(100 * win_rate_error).toFixed(1)}%`,
    `margin       ${margin.toFixed(4)} ± ${margin_error.toFixed(4)} nats per token`,
    `chosen loss  ${chosen_nll.toFixed(4)} nats per token`,
    `pairs        ${result.pairs}`,
  ];
  out.result("eval_pairs", result, rows.join("\n"));
};

const logits = defineCommand({
  summary: "Prints the logits of every position",
  details: "MODEL is a checkpoint, a run folder, a Hugging Face folder or a .gguf file.",
  examples: [
    { command: "magnet eval logits model.gguf --tokens 1,2,3 --json", does: "all of them" },
    {
      command: "magnet eval logits model.gguf --tokens 1,2,3 --rounding llamacpp --json",
      does: "rounded as llama.cpp does",
    },
  ],
  args: { model: { value: "MODEL", summary: "what to run" } },
  flags: {
    tokens: { type: "string", value: "IDS", required: true, summary: "parted by commas" },
    rounding: { type: "choice", options: ROUNDINGS, default: "bitnet", summary: "of activations" },
    head: { type: "choice", options: HEAD_FORMATS, default: "file", summary: "its weights" },
    device: DEVICE_FLAG,
    threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0 means all" },
  },
  async run({ out, signal }, { args, flags }) {
    const { threads, head } = flags;
    const evaluated = async ({ device }: ChosenDevice) => {
      const loaded = await loadModel(args.model, { threads, head, device });
      try {
        const { vocab_size, context } = loaded.config;
        const tokens = parseIds(flags.tokens, vocab_size);
        requireFit(tokens.length, context);
        const flat = await evalLogits(loaded.model, tokens, flags.rounding, signal);
        return { vocab_size, tokens, flat };
      } finally {
        loaded.close();
      }
    };
    const evaluation = await onDevice(deviceOf(out, flags), noteTo(out), evaluated);
    const { vocab_size, tokens, flat } = evaluation;
    const rows = Array.from(tokens, (_, i) => flat.subarray(i * vocab_size, (i + 1) * vocab_size));
    const data = { rounding: flags.rounding, vocab_size, tokens: [...tokens] };
    out.result("eval_logits", { ...data, logits: rows.map((row) => [...row]) }, () =>
      rows.map((row, i) => topText(i, row)).join("\n"),
    );
  },
});

function requireFit(count: number, context: number): void {
  if (count <= context) return;
  throw usageError(
    "PROMPT_TOO_LONG",
    `${count} tokens are given, the context has ${context}`,
    "give fewer tokens",
  );
}

/** The five highest logits of a position; all of them are in the JSON form. */
function topText(position: number, row: Float32Array): string {
  const top = [...row.keys()].sort((a, b) => row[b]! - row[a]!).slice(0, 5);
  return `${position}: ${top.map((id) => `${id} ${row[id]!.toFixed(4)}`).join("  ")}`;
}

export const evalGroup = defineGroup("Measures a model", { logits }, evaluate);
