/**
 * Sampling of a token from logits. Deterministic: the draw depends on the logits, the options, the
 * seed and the number of the token in its sequence, and on nothing else.
 */
import { z } from "zod";
import { MagnetError } from "../core/errors.ts";
import { infer } from "../native/infer.ts";

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

/** The 48 bytes of mg_sampling. */
function packSampling(s: Sampling, step: number): Uint8Array {
  const bytes = new Uint8Array(48);
  const view = new DataView(bytes.buffer);
  const floats = [s.temperature, s.top_p, s.min_p, s.repetition_penalty];
  for (const [i, value] of floats.entries()) view.setFloat32(4 * i, value, true);
  view.setUint32(16, s.top_k, true);
  view.setBigUint64(24, s.seed, true);
  view.setBigUint64(32, BigInt(step), true);
  return bytes;
}

export interface Sampled {
  token: number;
  /** Natural log of its probability under the unmodified logits. */
  logprob: number;
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
  const token = new Int32Array(1);
  const logprob = new Float32Array(1);
  const ids = Int32Array.from(sampling.logit_bias, ([id]) => id);
  const values = Float32Array.from(sampling.logit_bias, ([, value]) => value);
  const packed = packSampling(sampling, step);
  infer.mg_sample(
    logits,
    logits.length,
    packed,
    recent,
    recent.length,
    ids,
    values,
    ids.length,
    token,
    logprob,
  );
  return { token: token[0]!, logprob: logprob[0]! };
}
