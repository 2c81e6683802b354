/**
 * The inner steps of one round on one slice of the data: a function of the job, the task and what the
 * trainer holds, so that an auditor who starts from the same weights and moments does the same steps.
 */
import type { TrainTask } from "../diloco/round-types.ts";
import { BatchOrder } from "../model/batch-order.ts";
import { BatchReader } from "../model/batch-reader.ts";
import { learningRate } from "../model/schedule.ts";
import type { TokenFile } from "../model/token-file.ts";
import type { Trainer } from "../model/trainer.ts";
import type { JobSpec } from "./job.ts";

/** The part of a task that decides which steps are done. */
export type StepsTask = Pick<
  TrainTask,
  "job_round" | "inner_steps" | "data_seed" | "slice_index" | "slice_count"
>;

export interface InnerSteps {
  job: JobSpec;
  train_file: TokenFile;
  trainer: Pick<Trainer, "step">;
  task: StepsTask;
  /** Steps that the trainer's moments have seen before the task's first one. */
  optimizer_steps: number;
  /** Which of the task's steps, the last one excluded; all unless given. */
  only?: { from: number; to: number };
  /** After each step; the next one waits for it. */
  onStep?: (progress: { step: number; steps: number; loss: number }) => void | Promise<void>;
  signal?: AbortSignal | undefined;
}

/** Does the task's steps; returns the tokens trained on. Throws NOT_A_NUMBER, CANCELLED. */
export async function doInnerSteps(options: InnerSteps): Promise<number> {
  const { job, train_file, trainer, task, optimizer_steps, signal } = options;
  const { beta1, beta2, eps, weight_decay, clip } = job.inner;
  const order = new BatchOrder({
    token_count: train_file.token_count,
    context: job.model.context,
    seed: task.data_seed,
    slice_index: task.slice_index,
    slice_count: task.slice_count,
  });
  const batches = new BatchReader(train_file, order);
  const total_steps = job.rounds * job.inner_steps;
  const { from, to } = options.only ?? { from: 0, to: task.inner_steps };
  let tokens = 0;
  for (let i = from; i < to; i++) {
    const scheduled = task.job_round * job.inner_steps + i + 1;
    const lr = learningRate(job.inner.schedule, scheduled, total_steps, job.inner.lr);
    const step = optimizer_steps + i + 1;
    const adamw = { lr, beta1, beta2, eps, weight_decay, clip, step };
    const sequences = batches.read(i * job.batch, job.batch);
    const result = await trainer.step(sequences, 1, adamw, signal);
    tokens += result.tokens;
    await options.onStep?.({ step: i + 1, steps: task.inner_steps, loss: result.loss });
  }
  return tokens;
}
