/** `magnet eval`: how well a trained model predicts a text, and its raw logits. */
import { evaluateCheckpoint } from "../model/evaluate-checkpoint.ts";
import { evalLogits, ROUNDINGS } from "../model/inference.ts";
import { loadModel } from "../model/load-model.ts";
import { defineCommand, defineGroup } from "./frame/command.ts";
import type { Output } from "./frame/output.ts";
import { usageError } from "./frame/strict.ts";
import { parseIds } from "./ids.ts";

const evaluate = defineCommand({
  summary: "Loss, perplexity and bits per byte of a checkpoint on a text",
  details: "Every target token counts once. MODEL is a checkpoint or a run folder (its newest).",
  examples: [
    { command: "magnet eval run/ --data held-out.txt", does: "on a text of its own" },
    { command: "magnet eval run/ --data run/data --json", does: "on the part held out" },
  ],
  args: { model: { value: "MODEL", summary: "checkpoint or run folder" } },
  flags: {
    data: {
      type: "string",
      value: "PATH",
      required: true,
      summary: "text, .mgt or prepared folder",
    },
    threads: { type: "integer", min: 0, max: 64, summary: "0 means all; never changes a result" },
    "tokens-max": {
      type: "integer",
      min: 1,
      summary: "evaluate about this many tokens (default all)",
    },
  },
  async run({ out, signal }, { args, flags }) {
    let progress: ReturnType<Output["progress"]> | undefined;
    const result = await evaluateCheckpoint({
      model: args.model,
      data: flags.data,
      ...(flags.threads === undefined ? {} : { threads: flags.threads }),
      ...(flags.tokens_max === undefined ? {} : { tokens_max: flags.tokens_max }),
      signal,
      onProgress({ done, total }) {
        progress ??= out.progress({ label: "eval", total, unit: "windows" });
        progress.update(done);
      },
    });
    progress?.end();
    const { loss, perplexity, bits_per_byte, tokens } = result;
    out.result(
      "eval",
      result,
      [
        `loss           ${loss.toFixed(4)} nats per token`,
        `perplexity     ${perplexity.toFixed(2)}`,
        `bits per byte  ${bits_per_byte.toFixed(4)}`,
        `tokens         ${tokens}`,
      ].join("\n"),
    );
  },
});

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
    threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0 means all" },
  },
  async run({ out, signal }, { args, flags }) {
    const loaded = await loadModel(args.model, { threads: flags.threads });
    try {
      const { vocab_size } = loaded.config;
      const tokens = parseIds(flags.tokens, vocab_size);
      requireFit(tokens.length, loaded.config.context);
      const flat = await evalLogits(loaded.model, tokens, flags.rounding, signal);
      const rows = Array.from(tokens, (_, i) =>
        flat.subarray(i * vocab_size, (i + 1) * vocab_size),
      );
      const data = { rounding: flags.rounding, vocab_size, tokens: [...tokens] };
      out.result("eval_logits", { ...data, logits: rows.map((row) => [...row]) }, () =>
        rows.map((row, i) => topText(i, row)).join("\n"),
      );
    } finally {
      loaded.close();
    }
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
