/** `magnet eval`: how well a trained model predicts a text, and its raw logits. */
import { evaluateCheckpoint } from "../model/evaluate-checkpoint.ts";
import { defineCommand, defineGroup } from "./frame/command.ts";
import type { Output } from "./frame/output.ts";

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
    threads: { type: "integer", min: 0, max: 4096, summary: "0 means all; never changes a result" },
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

export const evalGroup = defineGroup("Measures a model", {}, evaluate);
