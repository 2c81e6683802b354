/**
 * An alignment run on one machine (`magnet align`): ORPO steps on preference pairs, evaluations on
 * held-out pairs and text, checkpoints in the format of training, metrics.jsonl. As a training run
 * it resumes bit for bit, saves where it is aborted, and stops where the loss diverges.
 */
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { ON_CPU } from "../native/device.ts";
import { alignmentState, requireAlignContinuation } from "./align-config.ts";
import { evaluatePairs } from "./align-evaluate.ts";
import {
  type AlignEvaluation,
  type AlignOptions,
  type AlignResult,
  readBaseline,
} from "./align-types.ts";
import { CheckpointStore } from "./checkpoint-store.ts";
import { CheckpointWriter } from "./checkpoint-writer.ts";
import { tensorInfos } from "./config.ts";
import type { Evaluation } from "./evaluate.ts";
import { evaluateSources } from "./evaluate-sources.ts";
import { requireTrainingFits, type TrainingMemory } from "./gpu-memory.ts";
import { INITIAL_STATE, InnerLoop } from "./inner-loop.ts";
import { MetricsFile } from "./metrics-file.ts";
import type { OrpoResult, PairTokens } from "./orpo.ts";
import { PairReader } from "./pair-batch.ts";
import { requireUnused, takeOut } from "./run-folder.ts";
import { rate, StepSpeed } from "./step-speed.ts";
import { Trainer } from "./trainer.ts";
import type { TrainerOptions } from "./trainer-types.ts";
import { hyperparametersOf, innerStateOf, trainerOptions } from "./training-config.ts";

/** A cancelled call of an aborted run gives null; anything else is thrown on. */
function unlessAborted(signal: AbortSignal | undefined) {
  return (error: unknown): null => {
    if (toMagnetError(error).code === "CANCELLED" && signal?.aborted) return null;
    throw error;
  };
}

class AlignRun {
  private readonly speed = new StepSpeed();
  private readonly loop: InnerLoop<PairTokens, OrpoResult>;
  private readonly writer: CheckpointWriter;
  /** The newest checkpoint on the disk, and the step of the newest that was begun. */
  private last: { folder: string; checkpoint_hash: string; step: number } | null = null;
  private saved_step: number | null = null;
  private last_loss: number | null = null;
  private last_evaluation: (AlignEvaluation & { step: number }) | null = null;

  constructor(
    private readonly options: AlignOptions,
    private readonly trainer: Trainer,
    private readonly metrics: MetricsFile,
    private readonly baseline: AlignEvaluation | null,
  ) {
    const { config, pairs, resume } = options;
    const { model, batch, accumulate, seed, keep } = config.training;
    const { beta } = config;
    this.loop = new InnerLoop(
      {
        config: model,
        options: { batch },
        step: (tokens: PairTokens, _accumulate, optimizer, signal) =>
          trainer.orpo(tokens, { beta, optimizer }, signal),
        // beta times the odds ratio's part has no limit that follows from the vocabulary.
        crossEntropyOf: ({ nll }) => nll,
      },
      new PairReader(pairs.train, { seed, batch, accumulate }),
      hyperparametersOf(config.training),
      resume ? innerStateOf(resume.manifest) : INITIAL_STATE,
    );
    const store = new CheckpointStore(path.join(options.out_dir, "checkpoints"), { keep });
    this.writer = new CheckpointWriter(trainer, store);
  }

  async run(): Promise<AlignResult> {
    try {
      return await this.toItsEnd();
    } finally {
      // What ended the run is told, not what happened to a checkpoint meanwhile.
      await this.writer.settled().catch(() => undefined);
    }
  }

  private async toItsEnd(): Promise<AlignResult> {
    const { clock, config } = this.options;
    const { steps, eval_interval, checkpoint_interval } = config.training;
    const started_ms = clock.now_ms();
    const before = this.baseline ?? (await this.evaluate());
    while (this.step < steps && !this.aborted) {
      if (!(await this.trainStep())) break;
      if (this.writer.failed) await this.writer.settled();
      const isLast = this.step === steps;
      if (!isLast && eval_interval > 0 && this.step % eval_interval === 0) await this.evaluate();
      if (isLast || this.step % checkpoint_interval === 0) await this.save();
    }
    const ended = this.step < steps ? "aborted" : "completed";
    if (this.saved_step !== this.step) await this.save();
    const after = ended === "aborted" ? null : await this.evaluate();
    await this.writer.settled();
    const losses = [before?.language?.loss, after?.language?.loss];
    return {
      checkpoint_hash: this.last!.checkpoint_hash,
      checkpoint: this.last!.folder,
      ended,
      step: this.step,
      loss: this.last_loss,
      before: figuresOf(before),
      after: figuresOf(after),
      language_change: losses[0] && losses[1] ? losses[1] / losses[0] - 1 : null,
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

  /** One step with its event and metrics; false where it was aborted. */
  private async trainStep(): Promise<boolean> {
    const { config, clock, signal, onEvent } = this.options;
    const { steps, batch, accumulate } = config.training;
    const before_ms = clock.now_ms();
    const report = await this.loop.next(signal).catch(unlessAborted(signal));
    if (report === null) return false;
    this.last_loss = report.loss;
    const now_ms = clock.now_ms();
    const { tokens_per_s, step_ms } = this.speed.add(report.tokens, now_ms - before_ms);
    const eta_ms = Math.round(step_ms * (steps - report.step));
    const { wins, step, ...figures } = report;
    const line = { step, ...figures, win_rate: wins / (batch * accumulate), tokens_per_s };
    await this.metrics.append({ ...line, time: new Date(now_ms).toISOString() });
    onEvent?.({ type: "step", ...line, steps, eta_ms });
    return true;
  }

  /** Held-out figures of the current weights, computed once a step; null where it was aborted. */
  private async evaluate(): Promise<AlignEvaluation | null> {
    const { signal, onEvent } = this.options;
    const { step } = this;
    if (this.aborted) return null;
    if (this.last_evaluation?.step === step) return this.last_evaluation;
    const evaluation = await this.figures().catch(unlessAborted(signal));
    if (evaluation === null) return null;
    this.last_evaluation = { ...evaluation, step };
    await this.metrics.append({
      step,
      heldout: evaluation.heldout && { ...evaluation.heldout },
      language: evaluation.language && { ...evaluation.language },
    });
    onEvent?.({ type: "evaluated", step, ...evaluation });
    return evaluation;
  }

  private async figures(): Promise<AlignEvaluation> {
    const { pairs, language, tokenizer, config, signal } = this.options;
    const { trainer } = this;
    const { byte_lengths } = tokenizer;
    const tokens_max = config.training.eval_tokens;
    const text =
      language &&
      (await evaluateSources({ trainer, sources: language, byte_lengths, tokens_max, signal }));
    const { sources: _sources, ...total } = text ?? {};
    return {
      heldout:
        pairs.heldout.length === 0
          ? null
          : await evaluatePairs({ trainer, pairs: pairs.heldout, signal }),
      language: text && (total as Evaluation),
    };
  }

  private async save(): Promise<void> {
    const { config, tokenizer, pairs, onEvent } = this.options;
    const { state } = this.loop;
    const hashes = { train_hash: pairs.train_hash, tokenizer_hash: tokenizer.hash };
    const content = {
      layout: tensorInfos(config.training.model),
      tokenizer_json: tokenizer.json,
      state: alignmentState(config, state, hashes),
      losses: { train: this.last_loss, heldout: this.last_evaluation?.language?.loss ?? null },
    };
    await this.writer.save(content, ({ folder, manifest: { checkpoint_hash, step } }) => {
      this.last = { folder, checkpoint_hash, step };
      onEvent?.({ type: "checkpoint", ...this.last });
    });
    this.saved_step = state.step;
  }
}

const figuresOf = (evaluation: AlignEvaluation | null): AlignEvaluation | null =>
  evaluation && { heldout: evaluation.heldout, language: evaluation.language };

/** A pair is two sequences. */
const pairTrainerOptions = ({ config, device = ON_CPU }: AlignOptions): TrainerOptions => ({
  ...trainerOptions({ ...config.training, batch: 2 * config.training.batch }),
  device: device.device,
});

/** What the run will take. Throws NOT_ENOUGH_MEMORY. */
function requireRoom(options: AlignOptions): TrainingMemory {
  const { device = ON_CPU, memory_available_bytes: host_bytes } = options;
  return requireTrainingFits(options.config.training.model, pairTrainerOptions(options), {
    ...{ gpu: device.gpu, host_bytes },
    hint: "choose a smaller --batch (of pairs; --accumulate makes up for it), or --device cpu",
  });
}

/** A trainer with the base's weights, or all of the checkpoint's. The caller closes it. */
async function startTrainer(options: AlignOptions): Promise<Trainer> {
  const { config, base, resume } = options;
  const { model } = config.training;
  const trainer = Trainer.create(model, pairTrainerOptions(options));
  try {
    if (resume) {
      await resume.load(tensorInfos(model), trainer);
      await trainer.push("params", "m", "v");
    } else await trainer.setParams(base!);
    return trainer;
  } catch (error) {
    trainer.close();
    throw error;
  }
}

/**
 * Aligns until the last step or until the signal. Throws TRAINING_DIVERGED, NOT_ENOUGH_MEMORY,
 * OUT_IN_USE, RESUME_MISMATCH, PAIRS_EMPTY, TOKENIZER_MISMATCH, CHECKPOINT_CORRUPT, DISK_FULL;
 * earlier checkpoints are intact.
 */
export async function runAlignment(options: AlignOptions): Promise<AlignResult> {
  const { config, out_dir, pairs, tokenizer, language, resume } = options;
  const { steps } = config.training;
  if (pairs.train.length === 0)
    throw new MagnetError("PAIRS_EMPTY", "no pair to train on: all are held out", {
      hint: "give more pairs, or a smaller --heldout",
    });
  for (const { train } of language ?? []) train.expectTokenizer(tokenizer.hash);
  const hashes = { train_hash: pairs.train_hash, tokenizer_hash: tokenizer.hash };
  if (resume) requireAlignContinuation(resume.manifest, config, hashes);
  else await requireUnused(out_dir);
  const memory = requireRoom(options);
  const taken = await takeOut(out_dir, !resume);
  let trainer: Trainer | undefined;
  let metrics: MetricsFile | undefined;
  try {
    trainer = await startTrainer(options);
    const step = resume?.manifest.step ?? 0;
    const file = path.join(out_dir, "metrics.jsonl");
    const baseline = resume ? await readBaseline(file) : null;
    metrics = await MetricsFile.open(file, step);
    const { truncated } = pairs;
    const counts = { pairs: pairs.train.length, heldout_pairs: pairs.heldout.length, truncated };
    const about = { params: trainer.param_count, device: (options.device ?? ON_CPU).text };
    options.onEvent?.({ type: "started", step, steps, ...about, ...memory, ...counts });
    return await new AlignRun(options, trainer, metrics, baseline).run();
  } catch (error) {
    throw toMagnetError(error);
  } finally {
    await metrics?.close();
    trainer?.close();
    await taken.release();
  }
}
