/** Ollama's `options`: sampling with Ollama's defaults; what concerns loading has no effect here. */
import { z } from "zod";
import type { SamplingInput } from "../../model/sampling.ts";
import { badRequest } from "../serve/api-error.ts";
import { checkedFields, type KnownFields, knownFields } from "../serve/field-check.ts";
import { STOP_LENGTH_MAX, STOPS_MAX } from "../serve/limits.ts";

const NO_MIROSTAT = "this sampling method is not done; use top_k, top_p or min_p";

const FIELDS: KnownFields = {
  done: [
    ...["num_predict", "temperature", "seed", "stop", "top_k", "top_p", "min_p"],
    ...["repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty"],
  ],
  harmless: [
    ...["num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "numa"],
    ...["low_vram", "f16_kv", "use_mmap", "use_mlock", "logits_all", "vocab_only"],
    ...["embedding_only", "mirostat_tau", "mirostat_eta"],
  ],
  refused: {
    mirostat: NO_MIROSTAT,
    tfs_z: NO_MIROSTAT,
    typical_p: NO_MIROSTAT,
    penalize_newline: "newlines are penalised as other tokens are",
  },
  neutral: { mirostat: [0], tfs_z: [1], typical_p: [1], penalize_newline: [true] },
};

/** Tokens that the repetition penalty looks back on. */
const REPEAT_LAST_N = 256;
/** Ollama's marks for an answer without a limit of its own. */
const UNLIMITED = new Set([-1, -2]);

const stopText = z.string().min(1).max(STOP_LENGTH_MAX);
const optionsSchema = z.strictObject({
  num_predict: z.int().min(-2).default(-1),
  temperature: z.number().min(0).max(100).default(0.8),
  seed: z.int().optional(),
  stop: z.union([stopText, z.array(stopText).max(STOPS_MAX)]).default([]),
  top_k: z
    .int()
    .min(0)
    .max(2 ** 20)
    .default(40),
  top_p: z.number().min(0).max(1).default(0.9),
  min_p: z.number().min(0).max(1).default(0),
  repeat_penalty: z.number().min(0.01).max(100).default(1.1),
  repeat_last_n: z.int().min(-1).default(REPEAT_LAST_N),
  presence_penalty: z.number().min(-2).max(2).default(0),
  frequency_penalty: z.number().min(-2).max(2).default(0),
});
type Options = z.infer<typeof optionsSchema>;

export interface OllamaSampling {
  max_tokens: number | undefined;
  stop: string[];
  sampling: SamplingInput;
}

function repetitionPenalty({ repeat_penalty, repeat_last_n }: Options): number {
  if (repeat_last_n === 0) return 1;
  if (repeat_penalty !== 1 && repeat_last_n !== REPEAT_LAST_N)
    throw badRequest(
      "unsupported_parameter",
      `options.repeat_last_n: 0 (off) or ${REPEAT_LAST_N}; leave it out or set repeat_penalty to 1`,
      "options.repeat_last_n",
    );
  return repeat_penalty;
}

/** A negative seed asks for a random one, as no seed does. Throws 400 naming the option. */
export function parseOptions(given: unknown, randomSeed: () => bigint): OllamaSampling {
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw badRequest("invalid_parameter", "options: an object is expected", "options");
  const options = checkedFields(optionsSchema, knownFields(given as Options, FIELDS));
  const { num_predict, seed, stop, temperature, top_k, top_p, min_p } = options;
  const { presence_penalty, frequency_penalty } = options;
  if (num_predict === 0)
    throw badRequest("invalid_parameter", "options.num_predict: at least 1, or -1", "num_predict");
  return {
    max_tokens: UNLIMITED.has(num_predict) ? undefined : num_predict,
    stop: typeof stop === "string" ? [stop] : stop,
    sampling: {
      ...{ temperature, top_k, top_p, min_p, presence_penalty, frequency_penalty },
      repetition_penalty: repetitionPenalty(options),
      seed: seed === undefined || seed < 0 ? randomSeed() : BigInt(seed),
    },
  };
}
