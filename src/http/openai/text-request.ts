/** POST /v1/completions: what may be asked; prompts as texts or as ready-made ids. */
import { z } from "zod";
import { badRequest } from "../serve/api-error.ts";
import { checkedFields, type KnownFields, knownFields, tokenIds } from "../serve/field-check.ts";
import { CHOICES_MAX } from "../serve/limits.ts";
import type { PromptInput } from "../serve/served-model.ts";
import { commonFields, HARMLESS } from "./sampling-fields.ts";

/** OpenAI's own limit of this endpoint. */
const LEGACY_LOGPROBS_MAX = 5;
/** OpenAI's own default of this endpoint. */
const LEGACY_MAX_TOKENS = 16;

const FIELDS: KnownFields = {
  done: [...Object.keys(commonFields), "prompt", "logprobs", "echo", "best_of"],
  harmless: HARMLESS,
  refused: { suffix: "text is only added at the end; the models are not trained to fill gaps" },
  neutral: { suffix: [""] },
};

const textSchema = z.strictObject({
  ...commonFields,
  max_tokens: z.int().min(1).default(LEGACY_MAX_TOKENS),
  prompt: z.union([
    z.string(),
    tokenIds,
    z.array(z.string()).min(1).max(CHOICES_MAX),
    z.array(tokenIds).min(1).max(CHOICES_MAX),
  ]),
  logprobs: z.int().min(0).max(LEGACY_LOGPROBS_MAX).optional(),
  echo: z.boolean().default(false),
  best_of: z.int().min(1).optional(),
});
export type TextFields = z.infer<typeof textSchema>;

export interface TextRequest {
  fields: TextFields;
  /** In the order of the choices: choice p * n + i answers prompt p. */
  prompts: PromptInput[];
}

function promptsOf(prompt: TextFields["prompt"]): PromptInput[] {
  if (typeof prompt === "string") return [{ text: prompt }];
  if (typeof prompt[0] === "number") return [{ tokens: Int32Array.from(prompt as number[]) }];
  return (prompt as (string | number[])[]).map((one) =>
    typeof one === "string" ? { text: one } : { tokens: Int32Array.from(one) },
  );
}

/** Throws 400 with the field's name. */
export function parseTextRequest(body: Record<string, unknown>): TextRequest {
  const fields = checkedFields(textSchema, knownFields(body, FIELDS));
  const { n, best_of, echo, logprobs } = fields;
  if (best_of !== undefined && best_of !== n)
    throw badRequest(
      "unsupported_parameter",
      "best_of: every choice is returned; leave it out or give the value of n",
      "best_of",
    );
  if (echo && logprobs !== undefined)
    throw badRequest(
      "unsupported_parameter",
      "echo: log-probabilities of the prompt are not computed; leave out echo or logprobs",
      "echo",
    );
  const prompts = promptsOf(fields.prompt);
  if (prompts.length * n > CHOICES_MAX)
    throw badRequest("invalid_parameter", `n times prompts: at most ${CHOICES_MAX} choices`, "n");
  return { fields, prompts };
}
