/**
 * What a GPU is good for, measured and not claimed: a few optimiser steps of small models, which the CPU
 * computes as well. The GPU's gradient, losses and update must be the CPU's within what bfloat16 operands
 * cost; a driver, a card or a build that computes something else is found before it trains for others.
 * It starts with a model of a few thousand parameters, in which every kernel runs once, and goes on to one
 * that fills tensor cores only where the first was fast. Speed is of the largest that was tried.
 */
import { toMagnetError } from "../core/errors.ts";
import { seededRandom } from "../core/random.ts";
import { compareDeltas, makeDelta } from "../native/codec.ts";
import { CPU, type Device } from "../native/device.ts";
import type { ModelConfig } from "./config.ts";
import { Trainer } from "./trainer.ts";
import type { TrainerOptions } from "./trainer-types.ts";
import { judgeUpdate } from "./update-limits.ts";

/** A model with known weights and tokens. */
export interface KnownTask {
  model: ModelConfig;
  batch: number;
}

/** The part of a trainer that is measured. */
export type MeasuredTrainer = Pick<
  Trainer,
  "initialise" | "gradient" | "step" | "currentParams" | "pull" | "grad" | "close" | "param_count"
>;
export type OpenTrainer = (model: ModelConfig, options: TrainerOptions) => MeasuredTrainer;

export interface DeviceMeasurement {
  /** What is wrong with its results; null: nothing. */
  wrong: string | null;
  /** Relative L2 distance of the first gradient from the CPU's; here and below the largest of the tasks. */
  gradient_error: number;
  loss_error: number;
  /** Relative L2 distance of what the steps changed. */
  update_error: number;
  /** Of the last task. */
  params: number;
  tokens_per_s: number;
  cpu_tokens_per_s: number;
}

const shape = { variant: "bitnet", rope_theta: 10_000, norm_eps: 1e-5 } as const;
/** Thousands of parameters, then two million: the GPU's products take other paths there. */
export const KNOWN_TASKS: readonly KnownTask[] = [
  {
    model: {
      ...shape,
      ...{ vocab_size: 67, d_model: 32, n_layers: 1, n_heads: 2, n_kv_heads: 1, head_dim: 16 },
      ...{ d_ff: 64, context: 16 },
    },
    batch: 2,
  },
  {
    model: {
      ...shape,
      ...{ vocab_size: 1024, d_model: 256, n_layers: 2, n_heads: 4, n_kv_heads: 2, head_dim: 64 },
      ...{ d_ff: 768, context: 128 },
    },
    batch: 4,
  },
];
const STEPS = 3;
const SEED = 20_251n;
/** The next task is hundreds of times the work: a GPU that takes longer for a step has shown enough. */
const STEP_MAX_MS = 100;
/**
 * Relative. Bfloat16 costs the gradient 1.3%, 2.0% and 2.3% with 32, 64 and 128 channels (in the emulation),
 * since a rounding can move an activation to its next int8 code; a wrong kernel costs far more than 8%.
 */
const GRADIENT_LIMIT = 8e-2;
/** As of a curve of training. */
const LOSS_LIMIT = 5e-3;

interface Answer {
  gradient: Float32Array;
  losses: number[];
  /** Weights before the steps less those after. */
  update: Float32Array;
  step_ms: number;
}

async function answer(trainer: MeasuredTrainer, { model, batch }: KnownTask): Promise<Answer> {
  const random = seededRandom(Number(SEED));
  const draw = () => random.below(model.vocab_size);
  const tokens = Int32Array.from({ length: batch * (model.context + 1) }, draw);
  await trainer.initialise(SEED);
  const before = (await trainer.currentParams()).slice();
  const { loss } = await trainer.gradient(tokens);
  await trainer.pull("grad");
  const gradient = trainer.grad.slice();
  const rates = { lr: 1e-3, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.1, clip: 1 };
  const losses = [loss];
  let step_ms = Number.POSITIVE_INFINITY;
  for (let step = 1; step <= STEPS; step++) {
    const started = performance.now();
    losses.push((await trainer.step(tokens, 1, { ...rates, step })).loss);
    step_ms = Math.min(step_ms, performance.now() - started);
  }
  const update = await makeDelta(before, await trainer.currentParams());
  return { gradient, losses, update, step_ms };
}

const percent = (share: number): string => `${(100 * share).toPrecision(2)}%`;

/** A GPU's answer beside the CPU's. */
async function judge(given: Answer, right: Answer) {
  const { distance, norm_b } = await compareDeltas(given.gradient, right.gradient);
  const gradient_error = distance / norm_b;
  const update = await judgeUpdate(given.update, right.update);
  const loss_error = Math.max(...given.losses.map((x, i) => Math.abs(x / right.losses[i]! - 1)));
  const checks: [string, number, number][] = [
    ["gradient", gradient_error, GRADIENT_LIMIT],
    ["loss", loss_error, LOSS_LIMIT],
  ];
  // Not `error > limit`: a NaN is wrong too.
  const failed = checks.find(([, error, limit]) => !(error <= limit));
  const off =
    failed &&
    `the ${failed[0]} is ${percent(failed[1])} off the CPU's, ${percent(failed[2])} is allowed`;
  const wrong = off ?? (update.wrong && `beside the CPU's update of the weights ${update.wrong}`);
  return { gradient_error, update_error: update.distance, loss_error, wrong };
}

export interface MeasureOptions {
  tasks?: readonly KnownTask[];
  /** Of the GPU's trainer; tests hand in one that computes something else. */
  open?: OpenTrainer;
}

/** Runs `use` on a trainer that is closed afterwards. */
async function withTrainer<T>(
  trainer: MeasuredTrainer,
  use: (trainer: MeasuredTrainer) => Promise<T>,
): Promise<T> {
  try {
    return await use(trainer);
  } finally {
    trainer.close();
  }
}

/** Measures a GPU; takes a second or two. A GPU that fails in it is wrong, with the reason. */
export async function measureDevice(
  device: Device,
  { tasks = KNOWN_TASKS, open = Trainer.create }: MeasureOptions = {},
): Promise<DeviceMeasurement> {
  const measured: DeviceMeasurement = {
    ...{ wrong: null, gradient_error: 0, loss_error: 0, update_error: 0 },
    ...{ params: 0, tokens_per_s: 0, cpu_tokens_per_s: 0 },
  };
  try {
    for (const task of tasks) {
      const { model, batch } = task;
      const options = { batch, context: model.context, threads: 0 };
      const cpu = Trainer.create(model, { ...options, device: CPU });
      const right = await withTrainer(cpu, (trainer) => answer(trainer, task));
      const gpu = open(model, { ...options, device });
      const given = await withTrainer(gpu, (trainer) => answer(trainer, task));
      const { wrong, ...errors } = await judge(given, right);
      for (const [name, error] of Object.entries(errors))
        measured[name as keyof typeof errors] = Math.max(
          error,
          measured[name as keyof typeof errors],
        );
      const tokens = 1000 * batch * model.context;
      measured.params = gpu.param_count;
      measured.tokens_per_s = tokens / given.step_ms;
      measured.cpu_tokens_per_s = tokens / right.step_ms;
      measured.wrong = wrong;
      if (wrong !== null || given.step_ms > STEP_MAX_MS) break;
    }
  } catch (error) {
    const { code, message } = toMagnetError(error);
    measured.wrong = `a training step failed, ${code}: ${message}`;
  }
  return measured;
}

/** For people: how near, and how fast. */
export function describeMeasurement(m: DeviceMeasurement): string {
  if (m.wrong !== null) return m.wrong;
  const speed = `${Math.round(m.tokens_per_s)} tokens/s with ${m.params} parameters`;
  const times = m.tokens_per_s / m.cpu_tokens_per_s;
  const ratio = times < 10 ? times.toPrecision(2) : Math.round(times);
  return `gradient within ${percent(m.gradient_error)} of the CPU's, ${speed} (${ratio} times this CPU)`;
}
