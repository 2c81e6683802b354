/**
 * A training run on one machine (`magnet train`): inner steps, held-out evaluations, checkpoints,
 * metrics.jsonl. A resumed run continues bit for bit. An aborted one (SIGTERM, Ctrl-C) saves and
 * ends; a crash loses at most one checkpoint interval; a diverged one ends with an error and saves
 * nothing.
 */
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import { CPU, chooseDevice } from "../native/device.ts";
import { MixedReader, type SourceUse } from "./batch-reader.ts";
import { CheckpointStore } from "./checkpoint-store.ts";
import { CheckpointWriter } from "./checkpoint-writer.ts";
import { paramCount, tensorInfos } from "./config.ts";
import { diverged } from "./divergence.ts";
import { evaluateSources, type HeldoutEvaluation } from "./evaluate-sources.ts";
import { hostFileSystem } from "./file-system.ts";
import { requireTrainingFits } from "./gpu-memory.ts";
import { hashParams } from "./init-weights.ts";
import { INITIAL_STATE, InnerLoop } from "./inner-loop.ts";
import type { MetricsLine } from "./loss-history.ts";
import { LossPlot } from "./loss-page.ts";
import { MetricsFile } from "./metrics-file.ts";
import { requireUnused, takeOut } from "./run-folder.ts";
import { rate, StepSpeed } from "./step-speed.ts";
import { Trainer } from "./trainer.ts";
import type { TrainerOptions } from "./trainer-types.ts";
import {
  checkpointState,
  hyperparametersOf,
  innerStateOf,
  requireContinuation,
  trainerOptions,
} from "./training-config.ts";
import type { TrainingOptions, TrainingResult } from "./training-types.ts";

class TrainingRun {
  readonly speed = new StepSpeed();
  private readonly loop: InnerLoop;
  private readonly writer: CheckpointWriter;
  /** The newest checkpoint on the disk, and the step of the newest that was begun. */
  private last: { folder: string; checkpoint_hash: string; step: number } | null = null;
  private saved_step: number | null = null;
  private last_loss: number | null = null;
  private last_evaluation: (HeldoutEvaluation & { step: number }) | null = null;

  constructor(
    private readonly options: TrainingOptions,
    private readonly trainer: Trainer,
    private readonly metrics: MetricsFile,
    private readonly plot: LossPlot,
    private readonly batches: MixedReader,
    private readonly init_hash: Hash | undefined,
  ) {
    const { config, resume, disk = hostFileSystem } = options;
    const state = resume ? innerStateOf(resume.manifest) : INITIAL_STATE;
    const hyper = hyperparametersOf(config);
    this.loop = new InnerLoop(trainer, batches, hyper, state);
    const root = path.join(options.out_dir, "checkpoints");
    const store = new CheckpointStore(root, { keep: config.keep, disk });
    this.writer = new CheckpointWriter(trainer, store);
  }

  async run(): Promise<TrainingResult> {
    try {
      return await this.toItsEnd();
    } finally {
      // What ended the run is told, not what happened to a checkpoint meanwhile.
      await this.writer.settled().catch(() => undefined);
    }
  }

  private async toItsEnd(): Promise<TrainingResult> {
    const { config, clock } = this.options;
    const started_ms = clock.now_ms();
    const heldout_before = await this.evaluate();
    while (this.step < config.steps && !this.aborted) {
      if (!(await this.trainStep())) break;
      if (this.writer.failed) await this.writer.settled();
      const isLast = this.step === config.steps;
      if (!isLast && config.eval_interval > 0 && this.step % config.eval_interval === 0)
        await this.evaluate();
      if (isLast || this.step % config.checkpoint_interval === 0) await this.save();
    }
    const ended = this.step < config.steps ? "aborted" : "completed";
    if (this.saved_step !== this.step) await this.save();
    const heldout = ended === "aborted" ? this.last_evaluation : await this.evaluate();
    await this.writer.settled();
    return {
      checkpoint_hash: this.last!.checkpoint_hash,
      checkpoint: this.last!.folder,
      loss_plot: this.plot.file,
      ended,
      step: this.step,
      loss: this.last_loss,
      heldout_before,
      heldout,
      sources: this.batches.use(this.loop.state.position),
      tokens: this.speed.tokens,
      tokens_per_s: rate(this.speed.tokens, this.speed.steps_ms),
      took_ms: clock.now_ms() - started_ms,
    };
  }

  private get step(): number {
    return this.loop.state.step;
  }
  private get aborted(): boolean {
    return this.options.signal?.aborted ?? false;
  }

  private async record(line: MetricsLine & Parameters<MetricsFile["append"]>[0]): Promise<void> {
    await this.metrics.append(line);
    this.plot.add(line);
  }

  /** One step with its event and metrics; false where it was aborted. */
  private async trainStep(): Promise<boolean> {
    const { config, clock, signal, onEvent } = this.options;
    const before_ms = clock.now_ms();
    const report = await this.loop.next(signal).catch((error) => {
      if (toMagnetError(error).code === "CANCELLED" && this.aborted) return null;
      throw error;
    });
    if (report === null) return false;
    this.last_loss = report.loss;
    const now_ms = clock.now_ms();
    const { tokens_per_s, step_ms } = this.speed.add(report.tokens, now_ms - before_ms);
    const eta_ms = Math.round(step_ms * (config.steps - report.step));
    const { step, loss, lr, grad_norm, tokens } = report;
    const time = new Date(now_ms).toISOString();
    await this.record({ step, loss, lr, grad_norm, tokens, tokens_per_s, time });
    onEvent?.({ type: "step", ...report, steps: config.steps, tokens_per_s, eta_ms });
    return true;
  }

  /** Held-out figures of the current weights; computed once a step. */
  private async evaluate(): Promise<HeldoutEvaluation | null> {
    const { sources, tokenizer, config, signal, onEvent } = this.options;
    const { step } = this;
    if (this.aborted) return null;
    if (this.last_evaluation?.step === step) return this.last_evaluation;
    const evaluation = await evaluateSources({
      trainer: this.trainer,
      sources,
      byte_lengths: tokenizer.byte_lengths,
      tokens_max: config.eval_tokens,
      signal,
    }).catch((error) => {
      const known = toMagnetError(error);
      if (known.code === "CANCELLED" && this.aborted) return null;
      if (known.code === "NOT_A_NUMBER") throw diverged(step, known.message, error);
      throw error;
    });
    if (evaluation === null) return null;
    this.last_evaluation = { ...evaluation, step };
    await this.record({ step, ...heldoutLine(evaluation) });
    await this.plot.write();
    onEvent?.({ type: "evaluated", step, ...evaluation });
    return evaluation;
  }

  private async save(): Promise<void> {
    const { config, tokenizer } = this.options;
    const { init_hash } = this;
    const { state } = this.loop;
    const hashes = {
      ...this.batches.state(state.position),
      tokenizer_hash: tokenizer.hash,
      init_hash,
    };
    const content = {
      layout: tensorInfos(config.model),
      tokenizer_json: tokenizer.json,
      state: checkpointState(config, state, hashes),
      losses: { train: this.last_loss, heldout: this.last_evaluation?.loss ?? null },
    };
    await this.writer.save(content, ({ folder, manifest: { checkpoint_hash, step } }) => {
      this.last = { folder, checkpoint_hash, step };
      this.options.onEvent?.({ type: "checkpoint", ...this.last });
    });
    this.saved_step = state.step;
    await this.plot.write();
  }
}

/** The part of an evaluation that metrics.jsonl keeps. */
function heldoutLine({ loss, bits_per_byte, sources }: HeldoutEvaluation) {
  const line = { heldout_loss: loss, heldout_bits_per_byte: bits_per_byte };
  if (!sources) return line;
  const of = (s: HeldoutEvaluation & { name: string }) =>
    [s.name, { loss: s.loss, bits_per_byte: s.bits_per_byte }] as const;
  return { ...line, heldout_sources: Object.fromEntries(sources.map(of)) };
}

const shareOf = ({ name, share, tokens }: SourceUse) => ({ name, share, tokens });

function checkData({ config, sources, tokenizer }: TrainingOptions): void {
  for (const file of sources.flatMap(({ train, heldout }) =>
    heldout ? [train, heldout] : train,
  )) {
    file.expectTokenizer(tokenizer.hash);
    if (file.header.vocab_size <= config.model.vocab_size) continue;
    throw new MagnetError(
      "VOCABULARY_MISMATCH",
      `${file.name} has ${file.header.vocab_size} tokens, the model ${config.model.vocab_size}`,
      { hint: "use a tokenizer of the model's vocabulary size", exit: "config" },
    );
  }
}

const optionsOn = ({ config, device }: TrainingOptions): TrainerOptions => ({
  ...trainerOptions(config),
  device: device?.device ?? CPU,
});

/** A trainer with initial weights or those of the checkpoint. The caller closes it. */
async function startTrainer(options: TrainingOptions): Promise<Trainer> {
  const { config, resume } = options;
  const { model } = config;
  const trainer = Trainer.create(model, optionsOn(options));
  try {
    if (resume) {
      await resume.load(tensorInfos(model), trainer);
      await trainer.push("params", "m", "v");
    } else if (options.init) {
      await options.init.load(model, trainer.params);
      await trainer.push("params");
    } else await trainer.initialise(config.seed);
    return trainer;
  } catch (error) {
    trainer.close();
    throw error;
  }
}

/**
 * Trains until `config.steps` or until the signal. Throws TRAINING_DIVERGED, NOT_ENOUGH_MEMORY
 * (exit kind hardware, both numbers), OUT_IN_USE (out_dir holds another run), RESUME_MISMATCH,
 * DATA_TOO_SMALL, TOKENIZER_MISMATCH, VOCABULARY_MISMATCH, CHECKPOINT_CORRUPT, DISK_FULL; earlier
 * checkpoints are intact.
 */
export async function runTraining(options: TrainingOptions): Promise<TrainingResult> {
  const { config, out_dir, sources, tokenizer, resume, disk = hostFileSystem } = options;
  const { model } = config;
  checkData(options);
  const batches = new MixedReader(sources, config);
  if (resume) {
    const data = batches.state(resume.manifest.data.position);
    requireContinuation(resume.manifest, config, { ...data, tokenizer_hash: tokenizer.hash });
  }
  const goes_on =
    resume && path.resolve(resume.folder).startsWith(path.resolve(out_dir) + path.sep);
  if (!goes_on) await requireUnused(out_dir, disk);
  const device = options.device ?? chooseDevice(CPU);
  const { gpu } = device;
  const host_bytes = options.memory_available_bytes;
  const memory = requireTrainingFits(model, optionsOn(options), { gpu, host_bytes });
  const taken = options.taken ?? (await takeOut(out_dir, !goes_on, disk));
  let trainer: Trainer | undefined;
  let metrics: MetricsFile | undefined;
  try {
    const step = resume?.manifest.step ?? 0;
    options.onEvent?.({
      ...{ type: "started", step, steps: config.steps, params: paramCount(model) },
      ...{ device: device.text, ...memory },
      tokens: sources.reduce((sum, { train }) => sum + train.token_count, 0),
      ...(sources.length > 1 ? { sources: batches.use(0).map(shareOf) } : {}),
    });
    trainer = await startTrainer(options);
    metrics = await MetricsFile.open(path.join(out_dir, "metrics.jsonl"), step);
    const plot = await LossPlot.open(out_dir, step > 0);
    const started = options.init && !resume ? await hashParams(trainer.params) : undefined;
    const init_hash = (resume?.manifest.init_hash as Hash | undefined) ?? started;
    const run = new TrainingRun(options, trainer, metrics, plot, batches, init_hash);
    return await run.run();
  } catch (error) {
    throw toMagnetError(error);
  } finally {
    await metrics?.close();
    trainer?.close();
    if (!options.taken) await taken.release();
  }
}
