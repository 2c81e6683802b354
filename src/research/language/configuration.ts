/**
 * One way to train a small BitNet model, as typed data: shape, learning rate and schedule, optimizer,
 * context and batch, mixture of the sources. What a trial may spend (tokens) is the task's and is not
 * in it. Heads follow from the width, so that every point of a space is a model.
 */
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";
import { CONTEXT_MAX, type ModelConfig } from "../../model/config.ts";
import { OPTIMIZERS } from "../../model/optimizer.ts";
import type { Configuration } from "../types.ts";

/** As the learning rate goes; "wsd" takes the shares `warmup` and `decay`. */
export const RATE_SCHEDULES = ["constant", "wsd", "cosine", "two-stage"] as const;

const schema = z.strictObject({
  vocab_size: z.int().min(300).max(131_072),
  d_model: z.int().min(16).max(4096),
  n_layers: z.int().min(1).max(64),
  head_dim: z.int().min(2).max(256).multipleOf(2),
  /** Query heads that share one pair of key and value heads. */
  group: z.int().min(1).max(64),
  /** Width of the feed-forward part over that of the model; rounded to 16 columns. */
  ffn: z.number().min(0.25).max(16),
  context: z.int().min(8).max(CONTEXT_MAX),
  batch: z.int().min(1).max(4096),
  accumulate: z.int().min(1).max(256).default(1),
  optimizer: z.enum(OPTIMIZERS).default("adamw"),
  lr: z.number().positive().max(10),
  schedule: z.enum(RATE_SCHEDULES).default("wsd"),
  /** Share of the steps in which the rate rises. */
  warmup: z.number().min(0).max(0.9).default(0.01),
  /** Share of the last steps in which it falls to 0. */
  decay: z.number().min(0).max(1).default(0.15),
  weight_decay: z.number().min(0).max(1).default(0.1),
  weight_decay_schedule: z.enum(["constant", "two-stage"]).default("two-stage"),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.98),
  momentum: z.number().min(0).lt(1).default(0.95),
  clip: z.number().min(0).max(1e9).default(1),
  /** Weight of each source among the sequences; the sources' own sizes where it is empty. */
  mixture: z.record(z.string(), z.number().positive().max(1e6)).default({}),
});
export type LanguageConfiguration = z.output<typeof schema>;

const bad = (message: string) =>
  new MagnetError("BAD_CONFIGURATION", message, {
    hint: "fields and limits: docs/research.md, the language domain",
    exit: "config",
  });

/** Checks and completes. Throws BAD_CONFIGURATION naming the fields. */
export function parseConfiguration(
  value: unknown,
  domains: readonly string[],
): LanguageConfiguration {
  const result = schema.safeParse(value);
  if (!result.success) {
    const problems = result.error.issues.map((i) => `${i.path.join(".") || "value"}: ${i.message}`);
    throw bad(problems.slice(0, 5).join("; "));
  }
  const c = result.data;
  const heads = c.d_model / c.head_dim;
  if (!Number.isInteger(heads)) throw bad(`head_dim: ${c.head_dim} does not divide d_model`);
  if (heads % c.group !== 0) throw bad(`group: ${c.group} does not divide the ${heads} heads`);
  if (c.schedule === "wsd" && c.warmup + c.decay > 1) throw bad("warmup and decay exceed 1");
  const unknown = Object.keys(c.mixture).filter((name) => !domains.includes(name));
  if (unknown.length > 0) throw bad(`mixture.${unknown[0]}: the sources are ${domains.join(", ")}`);
  const missing = domains.filter((name) => c.mixture[name] === undefined);
  if (Object.keys(c.mixture).length > 0 && missing.length > 0)
    throw bad(`mixture.${missing[0]}: a mixture names every source`);
  return c;
}

/** The face of the research types: plain JSON. */
export const asConfiguration = (c: LanguageConfiguration): Configuration => ({
  ...c,
  mixture: { ...c.mixture },
});

/** Width of the feed-forward part. */
export const ffnWidth = (c: LanguageConfiguration): number =>
  Math.max(16, 16 * Math.round((c.ffn * c.d_model) / 16));

/** The model; its context has room for the evaluation as well. */
export function modelOf(c: LanguageConfiguration, evaluation_context: number): ModelConfig {
  const n_heads = c.d_model / c.head_dim;
  return {
    variant: "bitnet",
    vocab_size: c.vocab_size,
    d_model: c.d_model,
    n_layers: c.n_layers,
    n_heads,
    n_kv_heads: n_heads / c.group,
    head_dim: c.head_dim,
    d_ff: ffnWidth(c),
    context: Math.max(c.context, evaluation_context),
    rope_theta: 10_000,
    norm_eps: 1e-5,
  };
}
