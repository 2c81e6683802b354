/**
 * The fields that chat and text completions share, with OpenAI's ranges and defaults, and our
 * extensions top_k, min_p and repetition_penalty.
 */
import { z } from "zod";
import type { SamplingInput } from "../../model/sampling.ts";
import { badRequest } from "../serve/api-error.ts";
import { CHOICES_MAX, STOP_LENGTH_MAX, STOPS_MAX } from "../serve/limits.ts";

/** A token's bias as OpenAI bounds it: -100 forbids a token, 100 forces it. */
const BIAS_MAX = 100;
const BIASES_MAX = 1024;
const stopText = z.string().min(1).max(STOP_LENGTH_MAX);

export const commonFields = {
  model: z.string().min(1).max(256),
  max_tokens: z.int().min(1).optional(),
  temperature: z.number().min(0).max(2).default(1),
  top_p: z.number().min(0).max(1).default(1),
  top_k: z
    .int()
    .min(0)
    .max(2 ** 20)
    .default(0),
  min_p: z.number().min(0).max(1).default(0),
  repetition_penalty: z.number().min(0.01).max(100).default(1),
  presence_penalty: z.number().min(-2).max(2).default(0),
  frequency_penalty: z.number().min(-2).max(2).default(0),
  logit_bias: z
    .record(z.string().regex(/^\d{1,7}$/, "a token id"), z.number().min(-BIAS_MAX).max(BIAS_MAX))
    .optional(),
  seed: z.int().optional(),
  stop: z.union([stopText, z.array(stopText).max(STOPS_MAX)]).optional(),
  n: z.int().min(1).max(CHOICES_MAX).default(1),
  stream: z.boolean().default(false),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().nullish(),
      include_obfuscation: z.boolean().nullish(),
    })
    .optional(),
};
const commonSchema = z.object(commonFields);
export type CommonFields = z.infer<typeof commonSchema>;

/** 64 bits: a negative seed stands for its two's complement. */
export const seedOf = (seed: number): bigint => BigInt.asUintN(64, BigInt(seed));

/** Sampling of choice `index`: its seed is the request's plus the index. */
export function samplingOf(
  fields: CommonFields,
  seed: bigint,
  index: number,
  vocab_size: number,
): SamplingInput {
  const bias = Object.entries(fields.logit_bias ?? {});
  if (bias.length > BIASES_MAX)
    throw badRequest("invalid_parameter", `logit_bias takes ${BIASES_MAX} tokens`, "logit_bias");
  const unknown = bias.find(([id]) => Number(id) >= vocab_size)?.[0];
  if (unknown !== undefined)
    throw badRequest(
      "invalid_parameter",
      `logit_bias.${unknown}: the vocabulary has ${vocab_size} tokens`,
      `logit_bias.${unknown}`,
    );
  return {
    temperature: fields.temperature,
    top_k: fields.top_k,
    top_p: fields.top_p,
    min_p: fields.min_p,
    repetition_penalty: fields.repetition_penalty,
    presence_penalty: fields.presence_penalty,
    frequency_penalty: fields.frequency_penalty,
    seed: BigInt.asUintN(64, seed + BigInt(index)),
    logit_bias: bias.map(([id, value]) => [Number(id), value]),
  };
}

export const stopsOf = ({ stop }: Pick<CommonFields, "stop">): string[] =>
  stop === undefined ? [] : typeof stop === "string" ? [stop] : stop;

/** Throws 400 where stream_options is given without stream, as OpenAI does. */
export function includeUsage({ stream, stream_options }: CommonFields): boolean {
  if (stream_options !== undefined && !stream)
    throw badRequest("invalid_parameter", "stream_options needs stream: true", "stream_options");
  return stream_options?.include_usage === true;
}

/** Accepted and without effect, in both completion endpoints; the README lists them. */
export const HARMLESS = [
  "user",
  "metadata",
  "service_tier",
  "store",
  "safety_identifier",
  "prompt_cache_key",
  "prompt_cache_retention",
] as const;
