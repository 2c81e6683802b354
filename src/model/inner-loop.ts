/**
 * Inner steps: one optimiser step after another over one slice of the data, with schedule, clipping
 * and the watch for divergence. Used by whole runs (training-run.ts) and by the rounds of a
 * network, which take H steps at a time. What it holds besides the trainer's arenas is three
 * numbers; they and the options determine the continuation bit for bit.
 */
import { toMagnetError } from "../core/errors.ts";
import { diverged, smoothLoss } from "./divergence.ts";
import type { OptimizerKind, OptimizerStep } from "./optimizer.ts";
import { type DecaySchedule, learningRate, type Schedule, weightDecay } from "./schedule.ts";
import type { StepResult } from "./trainer-types.ts";

/** How weights are updated; all of it enters the checkpoint hash. */
export interface Hyperparameters {
  optimizer: OptimizerKind;
  /** Of Muon. */
  momentum: number;
  /** Peak learning rate. */
  lr: number;
  schedule: Schedule;
  /** Steps that the schedule spans. */
  total_steps: number;
  weight_decay: number;
  weight_decay_schedule: DecaySchedule;
  beta1: number;
  beta2: number;
  eps: number;
  /** Global-norm limit of the gradient; 0 = off. */
  clip: number;
  /** Micro-batches of an optimiser step. */
  accumulate: number;
}
export interface InnerState {
  /** Optimiser steps done. */
  step: number;
  /** Sequences consumed by this slice. */
  position: number;
  /** Smoothed training loss; null before the first step. */
  loss_average: number | null;
}
export const INITIAL_STATE: Readonly<InnerState> = { step: 0, position: 0, loss_average: null };

export interface StepReport {
  /** Steps done, this one included. */
  step: number;
  /** Mean cross-entropy of the step's targets before its update, nats. */
  loss: number;
  lr: number;
  /** L2 norm of the gradient before clipping. */
  grad_norm: number;
  tokens: number;
}

/** What a step trains on: token sequences, or for alignment preference pairs. */
export interface BatchSource<Batch> {
  /** Sequences (or pairs) [position, position + count) of the data's order. */
  read(position: number, count: number): Batch;
}
/** One optimiser step on a batch; a trainer is one for token sequences. */
export interface Stepper<Batch, Result extends StepResult> {
  /** The part of the loss that is nats per token, by which divergence is told; all of it unless given. */
  crossEntropyOf?(result: Result): number;
  readonly config: { vocab_size: number };
  /** Sequences (or pairs) of a micro-batch. */
  readonly options: { batch: number };
  step(
    batch: Batch,
    accumulate: number,
    optimizer: OptimizerStep,
    signal?: AbortSignal,
  ): Promise<Result>;
}

export class InnerLoop<Batch = Int32Array, Result extends StepResult = StepResult> {
  private current: InnerState;
  /** Read while the step before ran. */
  private ahead: { position: number; batch: Batch } | null = null;

  constructor(
    private readonly trainer: Stepper<Batch, Result>,
    private readonly batches: BatchSource<Batch>,
    private readonly hyper: Hyperparameters,
    state: InnerState = INITIAL_STATE,
  ) {
    this.current = { ...state };
  }

  get state(): InnerState {
    return { ...this.current };
  }

  private batchAt(position: number, count: number): Batch {
    const { ahead } = this;
    this.ahead = null;
    return ahead?.position === position ? ahead.batch : this.batches.read(position, count);
  }
  /** While the trainer works on other threads or a GPU. What fails is told by the step that needs it. */
  private readAhead(position: number, count: number): void {
    try {
      this.ahead = { position, batch: this.batches.read(position, count) };
    } catch {
      this.ahead = null;
    }
  }

  /**
   * One optimiser step. Throws TRAINING_DIVERGED or CANCELLED; after CANCELLED the state is that of
   * the last whole step and training can go on.
   */
  async next(signal?: AbortSignal): Promise<Result & StepReport> {
    const { hyper, trainer } = this;
    const { position, loss_average } = this.current;
    const step = this.current.step + 1;
    const sequences = trainer.options.batch * hyper.accumulate;
    const batch = this.batchAt(position, sequences);
    const { total_steps, beta1, beta2, eps, clip, momentum } = hyper;
    const lr = learningRate(hyper.schedule, step, total_steps, hyper.lr);
    const { weight_decay_schedule, weight_decay: initial } = hyper;
    const weight_decay = weightDecay(weight_decay_schedule, step, total_steps, initial);
    const rates = { lr, beta1, beta2, eps, weight_decay, clip, momentum };
    const optimizer = { kind: hyper.optimizer, ...rates, step };
    try {
      const running = trainer.step(batch, hyper.accumulate, optimizer, signal);
      if (step < total_steps) this.readAhead(position + sequences, sequences);
      const result = await running;
      const { vocab_size } = trainer.config;
      const loss = trainer.crossEntropyOf?.(result) ?? result.loss;
      const average = smoothLoss(loss_average, { step, loss, vocab_size });
      this.current = { step, position: position + sequences, loss_average: average };
      return { ...result, step, lr };
    } catch (error) {
      const known = toMagnetError(error);
      if (known.code === "NOT_A_NUMBER") throw diverged(step, known.message, error);
      throw known;
    }
  }
}
