/**
 * Sampling of a token from logits. Deterministic: the draw depends on the logits, the options, the
 * seed and the number of the token in its sequence, and on nothing else.
 */
import { z } from "zod";
import { invariant, MagnetError } from "../core/errors.ts";
import type { NativeGrammar } from "../native/constraint.ts";
import { type Address, NULL } from "../native/ffi.ts";
import { cpuInfer, type InferLibrary, requireLibrary } from "../native/infer.ts";
import { createSampler, drawToken, TOP_LOGPROBS_MAX } from "../native/sample.ts";

/** Sampling options and their defaults; the limits are those of the library. */
export const samplingSchema = z.strictObject({
  /** 0 = always the most likely token. */
  temperature: z.number().min(0).max(100).default(0.8),
  /** 0 = off. */
  top_k: z
    .int()
    .min(0)
    .max(2 ** 20)
    .default(40),
  /** 1 = off. */
  top_p: z.number().min(0).max(1).default(0.95),
  /** Share of the most likely token's probability below which a token is never drawn; 0 = off. */
  min_p: z.number().min(0).max(1).default(0),
  /** Divides the logits of recent tokens (multiplies negative ones); 1 = off. */
  repetition_penalty: z.number().min(0.01).max(100).default(1),
  /** Taken off the logit of every token of the answer so far; 0 = off. */
  presence_penalty: z.number().min(-2).max(2).default(0),
  /** Taken off for every time that the token stands in the answer so far; 0 = off. */
  frequency_penalty: z.number().min(-2).max(2).default(0),
  /** 64-bit. */
  seed: z
    .union([z.bigint(), z.int()])
    .transform(BigInt)
    .pipe(
      z
        .bigint()
        .min(0n)
        .max(2n ** 64n - 1n),
    )
    .default(0n),
  /** Added to the logits of single tokens before anything else. */
  logit_bias: z
    .array(z.tuple([z.int().min(0), z.number()]))
    .max(1024)
    .default([]),
});
export type Sampling = z.infer<typeof samplingSchema>;
/** What a caller gives: every field optional, the seed a number or a bigint. */
export type SamplingInput = z.input<typeof samplingSchema>;

/** Fills in defaults. Throws BAD_SAMPLING naming the options that are out of range. */
export function parseSampling(input: SamplingInput): Sampling {
  const result = samplingSchema.safeParse(input);
  if (result.success) return result.data;
  const problems = result.error.issues.map((i) => `${i.path.join(".")}: ${i.message}`);
  throw new MagnetError("BAD_SAMPLING", problems.slice(0, 5).join("; "), { exit: "usage" });
}

/** Always the most likely token. */
export const GREEDY: Sampling = samplingSchema.parse({ temperature: 0 });

export interface Sampled {
  token: number;
  /** Natural log of its probability under the unmodified logits. */
  logprob: number;
}

export interface SamplerOptions {
  /** Alternatives reported with each token, 0..20. */
  top_logprobs?: number;
  /** Tokens that will be drawn at most; with a constraint, the text is closed within them. */
  token_budget?: number;
  /** Of Constraints.grammar; the sampler keeps what it needs of it. */
  grammar?: NativeGrammar | undefined;
  /** Number of the first draw in its sequence. */
  step?: number;
  /** That which computes the logits; the CPU's unless given. */
  library?: InferLibrary;
}

const freeForgotten = new FinalizationRegistry<{ library: InferLibrary; handle: Address }>(
  ({ library, handle }) => library.mg_sampler_free(handle),
);

/**
 * The sampler of one sequence: what it has drawn counts for penalties and moves its constraint on.
 * Its handle goes to the engine's native step, or `draw` takes logits that are at hand. Free it with
 * `close`; a forgotten one is freed by the garbage collector.
 */
export class Sampler {
  readonly vocab_size: number;
  readonly #library: InferLibrary;
  readonly #top_logprobs: number;
  #handle: Address;

  constructor(vocab_size: number, sampling: Sampling, options: SamplerOptions = {}) {
    this.vocab_size = vocab_size;
    this.#top_logprobs = options.top_logprobs ?? 0;
    const native = {
      ...sampling,
      top_logprobs: this.#top_logprobs,
      token_budget: options.token_budget ?? 0,
    };
    const { logit_bias } = sampling;
    const { library = cpuInfer } = options;
    this.#library = library;
    this.#handle = createSampler(library, vocab_size, native, logit_bias, options);
    freeForgotten.register(this, { library, handle: this.#handle }, this);
  }

  /** For calls that draw; valid until `close`. */
  handleOf(library: InferLibrary): Address {
    requireLibrary(library, this.#library, "a sampler");
    invariant(this.#handle !== NULL, "the sampler is closed");
    return this.#handle;
  }

  /** Tokens of the prompt, for the repetition penalty. */
  prompt(tokens: Int32Array): void {
    this.#library.mg_sampler_prompt(this.handleOf(this.#library), tokens, tokens.length);
  }

  /** Draws and accepts a token. Throws NOT_A_NUMBER where the logits hold NaN. */
  draw(logits: Float32Array): Sampled & { top: Sampled[] } {
    invariant(logits.length === this.vocab_size, "logits of another vocabulary");
    const ids = new Int32Array(TOP_LOGPROBS_MAX);
    const logprobs = new Float32Array(TOP_LOGPROBS_MAX);
    const library = this.#library;
    const drawn = drawToken(library, this.handleOf(library), logits, ids, logprobs);
    const top: Sampled[] = [];
    for (let i = 0; i < this.#top_logprobs && ids[i]! >= 0; i++)
      top.push({ token: ids[i]!, logprob: logprobs[i]! });
    return { ...drawn, top };
  }

  close(): void {
    if (this.#handle === NULL) return;
    freeForgotten.unregister(this);
    this.#library.mg_sampler_free(this.#handle);
    this.#handle = NULL;
  }
}

/**
 * Draws token number `step` of a sequence. recent: tokens that the repetition penalty applies to.
 * Throws NOT_A_NUMBER where the logits hold NaN.
 */
export function sampleToken(
  logits: Float32Array,
  sampling: Sampling,
  step: number,
  recent: Int32Array = new Int32Array(0),
): Sampled {
  const sampler = new Sampler(logits.length, sampling, { step });
  try {
    sampler.prompt(recent);
    const { token, logprob } = sampler.draw(logits);
    return { token, logprob };
  } finally {
    sampler.close();
  }
}
