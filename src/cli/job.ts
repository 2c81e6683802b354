/** `magnet job`: hands training jobs to the network. */
import os from "node:os";
import path from "node:path";
import { INNER_DEFAULTS } from "../agent/job.ts";
import { prepareJob } from "../agent/prepare-job.ts";
import { resolveModelConfig } from "../model/config.ts";
import { defineCommand, defineGroup } from "./frame/command.ts";
import { controlOf } from "./node.ts";

const submit = defineCommand({
  summary: "Prepares a training job from text and hands it to the network",
  details:
    "The node on this data folder keeps the data and serves it to the members; they train H inner steps a\nround each on their own slice, and every one of them recomputes the merge.",
  examples: [
    {
      command: "magnet job submit --data texts/ --model demo --rounds 20 --inner-steps 50",
      does: "train on a folder of text",
    },
  ],
  args: {},
  flags: {
    data: { type: "list", required: true, value: "PATH", summary: "text, JSONL or a folder" },
    model: { type: "string", default: "demo", summary: "preset or JSON file" },
    name: { type: "string", default: "job", summary: "label for people" },
    rounds: { type: "integer", min: 1, max: 100_000, default: 10, summary: "rounds to run" },
    "inner-steps": { type: "integer", min: 1, max: 100_000, default: 50, summary: "H, per round" },
    batch: { type: "integer", min: 1, max: 4096, default: 8, summary: "sequences per inner step" },
    lr: { type: "number", min: 0, max: 1, default: 0.002, summary: "peak inner learning rate" },
    "outer-lr": { type: "number", min: 0, max: 10, default: 0.7, summary: "outer learning rate" },
    "outer-momentum": { type: "number", min: 0, max: 0.999, default: 0.9, summary: "Nesterov" },
    compression: {
      type: "choice",
      options: ["fp32", "fp16", "int8", "int4"],
      default: "int4",
      summary: "pseudo-gradients on the wire",
    },
    "round-deadline": {
      type: "integer",
      min: 1,
      max: 86_400,
      default: 3600,
      summary: "seconds of local training at most",
    },
    seed: { type: "integer", min: 0, max: 4294967295, default: 1, summary: "weights and order" },
    out: { type: "string", value: "DIR", summary: "folder for tokenizer and tokens" },
  },
  async run(context, { flags }) {
    const control = await controlOf(context);
    const folder = flags.out ?? path.join(os.tmpdir(), `magnet-job-${process.pid}`);
    const { job, files, data } = await prepareJob({
      inputs: flags.data,
      model: resolveModelConfig(flags.model),
      folder,
      signal: context.signal,
      settings: {
        name: flags.name,
        rounds: flags.rounds,
        inner_steps: flags.inner_steps,
        batch: flags.batch,
        inner: { lr: flags.lr, ...INNER_DEFAULTS },
        outer: { lr: flags.outer_lr, momentum: flags.outer_momentum },
        compression: flags.compression,
        round_deadline_ms: flags.round_deadline * 1000,
        heldout_sequences: 128,
        seed: flags.seed,
      },
    });
    const absolute = Object.fromEntries(
      Object.entries(files).map(([hash, file]) => [hash, path.resolve(file)]),
    );
    const answer = (await control.post("/v1/jobs", { job, files: absolute })) as {
      job_id: string;
      base_hash: string;
    };
    const result = { ...answer, folder, tokens: data.train.tokens };
    context.out.result(
      "job_submit",
      result,
      `job ${answer.job_id}\ntokens and tokenizer in ${folder}`,
    );
    return undefined;
  },
});

export const job = defineGroup("training jobs of the network: submit", { submit });
