/** The demo from first to last step: each one real, timed, and entered in the report. */
import fs from "node:fs";
import path from "node:path";
import { decodeState } from "../../agent/model-state.ts";
import { type PreparedJob, prepareJob } from "../../agent/prepare-job.ts";
import { formatMag } from "../../chain/amounts.ts";
import { formatBytes } from "../../core/bytes.ts";
import type { PublicKey } from "../../core/types.ts";
import { paramCount } from "../../model/config.ts";
import type { Output } from "../frame/output.ts";
import { Cluster, type RoundSeen } from "./cluster.ts";
import { embeddedCorpus } from "./corpus.ts";
import { DemoLedger } from "./ledger.ts";
import { awaitClaims, awaitSettled, awaitSlash, ledgerReport } from "./ledger-steps.ts";
import { askServer, evaluateAll, exportModel, order2Baseline } from "./model-steps.ts";
import { lossPlot } from "./plot.ts";
import { startServing } from "./processes.ts";
import { AGENTS, DEMO_JOB, DEMO_MODEL, KILL_AFTER_SHARE } from "./recipe.ts";
import { type DemoReport, StepLog } from "./report.ts";
import { chooseTraining } from "./research-steps.ts";
import { checkLearning, checkMerge, killAndRepair, watchRounds } from "./steps.ts";

export interface DemoOptions {
  out: Output;
  signal: AbortSignal;
  /** Own texts; the embedded ones where it is empty. */
  data: readonly string[];
  /** Empty folder for everything. */
  folder: string;
  /** Keep the agents' folders after a success. */
  keep: boolean;
}

/** The embedded documents as one JSONL file, unless the user named texts. */
async function inputsFor({ data, folder }: DemoOptions): Promise<readonly string[]> {
  if (data.length > 0) return data;
  const decoder = new TextDecoder();
  const lines = (await embeddedCorpus()).map(({ bytes }) =>
    JSON.stringify({ text: decoder.decode(bytes) }),
  );
  const file = path.join(folder, "corpus.jsonl");
  fs.writeFileSync(file, `${lines.join("\n")}\n`);
  return [file];
}

/** Tokenizer, tokens and the two figures that the result is measured against. */
async function prepare(
  log: StepLog,
  report: DemoReport,
  options: DemoOptions,
): Promise<PreparedJob> {
  const { folder, signal, out } = options;
  const inputs = await inputsFor(options);
  const from_text = await log.run("text", async () => {
    const job_folder = path.join(folder, "job");
    const settings = { model: DEMO_MODEL, settings: DEMO_JOB, folder: job_folder };
    const value = await prepareJob({ inputs, ...settings, signal });
    const { train, heldout } = value.data;
    const detail =
      `${formatBytes(train.text_bytes)} of text, ${value.tokenizer.vocab_size} tokens in the ` +
      `vocabulary, ${train.tokens} to train on, ${heldout!.tokens} held out`;
    return { detail, value };
  });
  const { job, picked } = await log.run("research", () =>
    chooseTraining(from_text.job, { inputs, folder, signal, out }),
  );
  report.research = picked;
  const prepared = { ...from_text, job };
  await log.run("baseline", async () => {
    const order2 = await order2Baseline(prepared);
    const { loss } = await evaluateAll(prepared, null);
    report.bits_per_byte_order2 = order2;
    report.loss_before = loss;
    const detail =
      `untrained model ${loss.toFixed(3)} nats per token; ` +
      `order-2 byte model ${order2.toFixed(3)} bits per byte`;
    return { detail, value: undefined };
  });
  return prepared;
}

/** The chain and the contracts, before the agents start: the network file names them. */
async function startLedger(
  log: StepLog,
  roster: readonly PublicKey[],
  { folder, signal }: DemoOptions,
): Promise<DemoLedger> {
  return log.run("chain", async () => {
    const value = await DemoLedger.start(folder, roster, signal);
    const { chain_id, epoch_seconds } = value.deployment;
    const detail =
      `embedded EVM chain ${chain_id} in a process of its own, ledger deployed, epochs of ` +
      `${epoch_seconds} s`;
    return { detail, value };
  });
}

interface Run {
  cluster: Cluster;
  ledger: DemoLedger;
  roster: readonly PublicKey[];
  prepared: PreparedJob;
  options: DemoOptions;
}
interface Trained {
  rounds: RoundSeen[];
  /** Who was killed after its commitment to this epoch. */
  cheater: { public_key: PublicKey; index: number; epoch: number };
}

/** The agents train and merge; one of them is killed on the way. Returns every round. */
async function trainTogether(log: StepLog, report: DemoReport, run: Run): Promise<Trained> {
  const { cluster, ledger, roster, prepared, options } = run;
  const { out, folder } = options;
  const { job, files } = prepared;
  const { rounds } = job;
  await log.run("network", async () => {
    await cluster.start(folder, roster, ledger);
    report.nodes = AGENTS;
    const detail = `${AGENTS} agents as processes, connected over wss with pinned certificates`;
    return { detail, value: undefined };
  });
  await log.run("job", async () => {
    const { control } = cluster.members[0]!;
    const { job_id } = (await control.post("/v1/jobs", { job, files })) as { job_id: string };
    const detail =
      `${job_id.slice(0, 8)}: ${paramCount(job.model)} parameters, ${rounds} rounds of ` +
      `${job.inner_steps} inner steps, ${job.compression} pseudo-gradients`;
    return { detail, value: undefined };
  });
  const kill_at = Math.max(1, Math.min(rounds - 1, Math.floor(rounds * KILL_AFTER_SHARE)));
  const early = await log.run("rounds", async () => {
    const value = await watchRounds(cluster, out, { from: 0, to: kill_at, rounds });
    const loss = value.at(-1)!.loss_merged!.toFixed(3);
    return { detail: `${kill_at} rounds, one state on every agent, loss ${loss}`, value };
  });
  const cheater = await log.run("repair", async () => {
    const victim = cluster.members.at(-1)!;
    const { detail, epoch } = await killAndRepair(cluster, ledger, victim, folder);
    const { public_key, index } = victim.agent;
    return { detail, value: { public_key, index, epoch } };
  });
  const all = await log.run("merge", async () => {
    const late = await watchRounds(cluster, out, { from: kill_at, to: rounds, rounds });
    report.rounds = rounds;
    report.wire_bytes = await cluster.wireBytes();
    const detail =
      `${rounds - kill_at} more rounds with ${cluster.members.length} agents, ` +
      `${formatBytes(report.wire_bytes)} on the wire in all`;
    return { detail, value: [...early, ...late] };
  });
  return { rounds: all, cheater };
}

/** What the agents have done on the ledger meanwhile. */
async function checkLedger(
  log: StepLog,
  report: DemoReport,
  { cluster, ledger, options }: Run,
  { cheater }: Trained,
): Promise<void> {
  const record = await log.run("epoch", () => awaitSettled(cluster, ledger, cheater.epoch));
  await log.run("claims", async () => {
    const detail = await awaitClaims(cluster, ledger, record);
    return { detail, value: undefined };
  });
  await log.run("slash", async () => {
    const detail = await awaitSlash(cluster, ledger, cheater);
    return { detail, value: undefined };
  });
  await log.run("ledger", async () => {
    report.ledger = await ledgerReport(ledger, cluster.everybody, options.out);
    const { epochs, minted, slashed } = report.ledger;
    const detail =
      `epochs settled: ${epochs.length}; ${formatMag(BigInt(minted))} MAG minted, ` +
      `${formatMag(BigInt(slashed))} MAG slashed`;
    return { detail, value: undefined };
  });
}

/** Fetches the merged state, stops the agents, and holds the result against its promises. */
async function evaluateResult(
  log: StepLog,
  report: DemoReport,
  run: { cluster: Cluster; prepared: PreparedJob; last: RoundSeen; options: DemoOptions },
): Promise<Float32Array> {
  const { cluster, prepared, last, options } = run;
  return log.run("evaluate", async () => {
    const blob = await cluster.members[0]!.control.blob(last.state_hash);
    const bytes = new Uint8Array(await blob.arrayBuffer());
    await cluster.stop();
    const value = decodeState(bytes, paramCount(prepared.job.model)).params;
    const { loss, bits_per_byte } = await evaluateAll(prepared, value);
    const before = report.loss_before!;
    report.loss_after = loss;
    report.bits_per_byte_after = bits_per_byte;
    checkMerge(last);
    // The bar is set for the embedded text; how far another one can be learnt is not known.
    if (options.data.length === 0)
      checkLearning(before, loss, report.bits_per_byte_order2!, bits_per_byte);
    const fall = (100 * (1 - loss / before)).toFixed(1);
    const bits = bits_per_byte.toFixed(3);
    const detail = `loss ${before.toFixed(3)} -> ${loss.toFixed(3)} (-${fall}%), ${bits} bits per byte`;
    return { detail, value };
  });
}

/** The merged model behind the real server, in a process of its own, and a prompt through it. */
async function serveAndAsk(
  log: StepLog,
  report: DemoReport,
  { gguf, folder, signal }: { gguf: string; folder: string; signal: AbortSignal },
): Promise<void> {
  const server = await log.run("serve", async () => {
    const value = await startServing(gguf, folder);
    return { detail: `${value.url}/v1, the merged model in a process of its own`, value };
  });
  try {
    const { text, ...speed } = await log.run("answer", () => askServer(server, signal));
    Object.assign(report, { answer: text, ...speed });
  } finally {
    await server.stop();
  }
}

/** Runs every step; a failing one is in the report and is thrown. No agent outlives it. */
export async function runDemo(report: DemoReport, options: DemoOptions): Promise<void> {
  const { folder, signal, keep } = options;
  const log = new StepLog(options.out);
  report.steps = log.steps;
  const cluster = new Cluster(signal);
  let ledger: DemoLedger | undefined;
  try {
    const prepared = await prepare(log, report, options);
    const roster = cluster.prepare(folder);
    ledger = await startLedger(log, roster, options);
    const run = { cluster, ledger, roster, prepared, options };
    const trained = await trainTogether(log, report, run);
    await checkLedger(log, report, run, trained);
    const { rounds } = trained;
    const plot = path.join(folder, "loss.svg");
    fs.writeFileSync(plot, lossPlot(rounds, report.loss_before!));
    const last = rounds.at(-1)!;
    const params = await evaluateResult(log, report, { cluster, prepared, last, options });
    const { gguf, hf } = await log.run("export", () => exportModel(prepared, params, folder));
    const tokenizer = prepared.files[prepared.job.tokenizer_hash]!;
    report.artifacts = { gguf, hf, tokenizer, plot, folder };
    await serveAndAsk(log, report, { gguf, folder, signal });
    report.ok = true;
    if (!keep) tidy(folder);
  } finally {
    await cluster.stop();
    await ledger?.stop();
  }
}

/** After a success the artefacts stay; agents' stores and intermediate files (some 100 MB) go. */
function tidy(folder: string): void {
  for (const name of fs.readdirSync(folder))
    if (/^(agent-\d+|corpus\.jsonl|restored|chain|operator|research|serve\.(json|log))$/.test(name))
      fs.rmSync(path.join(folder, name), { recursive: true, force: true });
}
