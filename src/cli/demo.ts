/** `magnet demo`: the whole main job on this machine with real processes, real text and real sockets. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { decodeState } from "../agent/model-state.ts";
import { prepareJob } from "../agent/prepare-job.ts";
import { formatBytes } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import { type ModelConfig, paramCount } from "../model/config.ts";
import { evaluateTokens, tokenByteLengths } from "../model/evaluate.ts";
import { exportGguf } from "../model/export-gguf.ts";
import { exportHf } from "../model/export-hf.ts";
import { generateText } from "../model/generate.ts";
import { loadModel } from "../model/load-model.ts";
import { order2BitsPerByte } from "../model/order2.ts";
import { TokenFile } from "../model/token-file.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { Trainer } from "../model/trainer.ts";
import { Cluster } from "./demo/cluster.ts";
import { embeddedCorpus } from "./demo/corpus.ts";
import { lossPlot } from "./demo/plot.ts";
import {
  AGENTS,
  ANSWER_TOKENS,
  DEMO_JOB,
  DEMO_MODEL,
  KILL_AFTER_SHARE,
  PROMPT,
} from "./demo/recipe.ts";
import { type DemoReport, emptyReport, StepLog } from "./demo/report.ts";
import { checkLearning, checkMerge, killAndRepair, watchRounds } from "./demo/steps.ts";
import { type Context, defineCommand } from "./frame/command.ts";

/** The embedded documents as one JSONL file, unless the user named texts. */
async function inputsFor(data: readonly string[], folder: string): Promise<readonly string[]> {
  if (data.length > 0) return data;
  const decoder = new TextDecoder();
  const lines = (await embeddedCorpus()).map(({ bytes }) =>
    JSON.stringify({ text: decoder.decode(bytes) }),
  );
  const file = path.join(folder, "corpus.jsonl");
  fs.writeFileSync(file, `${lines.join("\n")}\n`);
  return [file];
}

/** Bytes of a token file's text. */
function textOf(file: TokenFile, tokenizer: Tokenizer): Uint8Array {
  return tokenizer.decodeBytes(file.tokens(0, file.token_count), { skip_special: true });
}

/** The order-2 byte model's bits per byte on the held-out text, fitted to the same training text. */
async function baseline(folder: string, tokenizer: Tokenizer): Promise<number> {
  const train = await TokenFile.open(path.join(folder, "train.mgt"));
  const heldout = await TokenFile.open(path.join(folder, "heldout.mgt"));
  try {
    return order2BitsPerByte(textOf(train, tokenizer), textOf(heldout, tokenizer));
  } finally {
    train.close();
    heldout.close();
  }
}

/** Loss and bits per byte over all held-out text. */
async function evaluateAll(
  folder: string,
  tokenizer: Tokenizer,
  model: ModelConfig,
  params: Float32Array | null,
) {
  const heldout = await TokenFile.open(path.join(folder, "heldout.mgt"));
  const trainer = Trainer.create(model, { batch: 16, context: model.context, threads: 0 });
  try {
    if (params) trainer.params.set(params);
    else await trainer.initialise(BigInt(DEMO_JOB.seed));
    const byte_lengths = tokenByteLengths(tokenizer);
    return await evaluateTokens({ trainer, file: heldout, byte_lengths });
  } finally {
    trainer.close();
    heldout.close();
  }
}

async function runDemo(
  context: Context,
  report: DemoReport,
  options: { data: readonly string[]; folder: string; keep: boolean },
): Promise<void> {
  const { out, signal } = context;
  const { folder } = options;
  const log = new StepLog(out);
  report.steps = log.steps;
  const cluster = new Cluster(signal);
  const job_folder = path.join(folder, "job");
  fs.mkdirSync(job_folder, { recursive: true });
  try {
    const prepared = await log.run("text", async () => {
      const inputs = await inputsFor(options.data, folder);
      const value = await prepareJob({
        inputs,
        model: DEMO_MODEL,
        settings: DEMO_JOB,
        folder: job_folder,
        signal,
      });
      const { train, heldout } = value.data;
      const detail =
        `${formatBytes(train.text_bytes)} of text, ${value.tokenizer.vocab_size} tokens in the ` +
        `vocabulary, ${train.tokens} to train on, ${heldout!.tokens} held out`;
      return { detail, value };
    });
    const { tokenizer, job } = prepared;
    const before = await log.run("baseline", async () => {
      report.bits_per_byte_order2 = await baseline(job_folder, tokenizer);
      const value = await evaluateAll(job_folder, tokenizer, job.model, null);
      report.loss_before = value.loss;
      const detail =
        `untrained model ${value.loss.toFixed(3)} nats per token; ` +
        `order-2 byte model ${report.bits_per_byte_order2.toFixed(3)} bits per byte`;
      return { detail, value };
    });
    await log.run("network", async () => {
      await cluster.start(folder);
      report.nodes = AGENTS;
      const detail = `${AGENTS} agents as processes, connected over wss with pinned certificates`;
      return { detail, value: undefined };
    });
    const first = cluster.members[0]!;
    await log.run("job", async () => {
      const { job_id } = (await first.control.post("/v1/jobs", {
        job,
        files: prepared.files,
      })) as { job_id: string };
      const detail =
        `${job_id.slice(0, 8)}: ${paramCount(job.model)} parameters, ${job.rounds} rounds of ` +
        `${job.inner_steps} inner steps, ${job.compression} pseudo-gradients`;
      return { detail, value: undefined };
    });
    const { rounds } = job;
    const kill_at = Math.max(1, Math.min(rounds - 1, Math.floor(rounds * KILL_AFTER_SHARE)));
    const early = await log.run("rounds", async () => {
      const value = await watchRounds(cluster, out, { from: 0, to: kill_at, rounds });
      const loss = value.at(-1)!.loss_merged!.toFixed(3);
      return { detail: `${kill_at} rounds, one state on every agent, loss ${loss}`, value };
    });
    await log.run("repair", async () => {
      const victim = cluster.members.at(-1)!;
      const { detail } = await killAndRepair(cluster, victim, folder);
      return { detail, value: undefined };
    });
    const all = await log.run("merge", async () => {
      const late = await watchRounds(cluster, out, { from: kill_at, to: rounds, rounds });
      const value = [...early, ...late];
      report.rounds = rounds;
      report.wire_bytes = await cluster.wireBytes();
      const detail = `${rounds - kill_at} more rounds with ${cluster.members.length} agents, ${formatBytes(report.wire_bytes)} on the wire in all`;
      return { detail, value };
    });
    const last = all.at(-1)!;
    const plot = path.join(folder, "loss.svg");
    fs.writeFileSync(plot, lossPlot(all, before.loss));
    const params = await log.run("evaluate", async () => {
      const blob = await first.control.blob(last.state_hash);
      const bytes = new Uint8Array(await blob.arrayBuffer());
      await cluster.stop();
      const value = decodeState(bytes, paramCount(job.model)).params;
      const { loss, bits_per_byte } = await evaluateAll(job_folder, tokenizer, job.model, value);
      report.loss_after = loss;
      report.bits_per_byte_after = bits_per_byte;
      checkMerge(last);
      // The bar is set for the embedded text; how far another one can be learnt is not known.
      if (options.data.length === 0)
        checkLearning(before.loss, loss, report.bits_per_byte_order2!, bits_per_byte);
      const fall = (100 * (1 - loss / before.loss)).toFixed(1);
      const detail = `loss ${before.loss.toFixed(3)} -> ${loss.toFixed(3)} (-${fall}%), ${bits_per_byte.toFixed(3)} bits per byte`;
      return { detail, value };
    });
    const gguf = path.join(folder, "model.gguf");
    await log.run("export", async () => {
      const hf = path.join(folder, "model-hf");
      await exportHf({ config: job.model, params, tokenizer, folder: hf });
      await exportGguf({
        config: job.model,
        params,
        tokenizer,
        type: "TQ2_0",
        name: "magnet-demo",
        path: gguf,
      });
      const tokenizer_file = path.join(job_folder, "tokenizer.json");
      report.artifacts = { gguf, hf, tokenizer: tokenizer_file, plot, folder };
      const detail = `${gguf}, ${formatBytes(fs.statSync(gguf).size)}, loads in llama.cpp`;
      return { detail, value: undefined };
    });
    await log.run("answer", async () => {
      const loaded = await loadModel(gguf);
      try {
        const started = performance.now();
        const { text, completion_tokens } = await generateText(loaded, {
          mode: "complete",
          prompt: PROMPT,
          max_tokens: ANSWER_TOKENS,
          sampling: { temperature: 0.3, top_p: 0.9, seed: 1 },
          signal,
        });
        const rate = completion_tokens / ((performance.now() - started) / 1000);
        report.answer = PROMPT + text;
        const shown = (PROMPT + text).replace(/\s+/g, " ").trim();
        return { detail: `${rate.toFixed(0)} tokens/s: "${shown}"`, value: undefined };
      } finally {
        loaded.close();
      }
    });
    report.ok = true;
    if (!options.keep) tidy(folder);
  } finally {
    await cluster.stop();
  }
}

/** The folder for the results: a new one, or the named one if nothing is in it. */
function freshFolder(named: string | undefined): string {
  if (named === undefined) return fs.mkdtempSync(path.join(os.tmpdir(), "magnet-demo-"));
  const folder = path.resolve(named);
  fs.mkdirSync(folder, { recursive: true });
  if (fs.readdirSync(folder).length > 0)
    throw new MagnetError("FOLDER_NOT_EMPTY", `${folder} holds files already`, {
      hint: "name a new folder with --out, or leave it out for a temporary one",
    });
  return folder;
}

/** After a success the artefacts stay; agents' stores and intermediate files (some 100 MB) go. */
function tidy(folder: string): void {
  for (const name of fs.readdirSync(folder))
    if (/^(agent-\d+|corpus\.jsonl|restored)$/.test(name))
      fs.rmSync(path.join(folder, name), { recursive: true, force: true });
}

function summary(report: DemoReport, took_ms: number): string {
  const fixed = (value: number | null) => (value === null ? "-" : value.toFixed(3));
  const rows = [
    ["agents", `${report.nodes}, one killed on the way`],
    ["rounds", String(report.rounds)],
    ["loss", `${fixed(report.loss_before)} -> ${fixed(report.loss_after)} nats per token`],
    [
      "bits/byte",
      `${fixed(report.bits_per_byte_after)} (order-2 byte model: ${fixed(report.bits_per_byte_order2)})`,
    ],
    ["wire", formatBytes(report.wire_bytes)],
    ["model", report.artifacts.gguf ?? "-"],
    ["time", `${(took_ms / 1000).toFixed(0)} s`],
    ["next", `magnet chat ${report.artifacts.gguf ?? "MODEL"} --complete --prompt "The"`],
  ];
  return rows.map(([name, value]) => `${name!.padEnd(10)} ${value}`).join("\n");
}

export const demo = defineCommand({
  summary: "Trains, merges, repairs, exports and answers: the whole job on this machine",
  details:
    "Four agents as separate processes train a small BitNet model on public-domain English (embedded), merge\nit round by round, survive the kill of one of them, and the result answers a prompt. Under 3 minutes.",
  examples: [
    { command: "magnet demo", does: "with the embedded text" },
    { command: "magnet demo --data my-texts/ --json", does: "on own text, for scripts" },
  ],
  args: {},
  graceful: true,
  flags: {
    data: { type: "list", value: "PATH", summary: "own text instead of the embedded one" },
    keep: { type: "boolean", summary: "keep the agents' data folders and logs" },
    out: { type: "string", value: "DIR", summary: "folder for the results (a new temporary one)" },
  },
  async run(context, { flags }) {
    const { out, global } = context;
    const started = performance.now();
    const folder = freshFolder(flags.out);
    const report = emptyReport();
    try {
      await runDemo(context, report, { data: flags.data, folder, keep: flags.keep });
    } catch (error) {
      if (!global.json) throw error;
      out.result("demo", report, "");
      return "failed";
    }
    out.result("demo", report, () => summary(report, performance.now() - started));
    return undefined;
  },
});
