/** POST /v1/embeddings: texts or ids in, unit vectors out, as numbers or as base64 of float32. */
import { z } from "zod";
import { badRequest } from "../serve/api-error.ts";
import { checkedFields, type KnownFields, knownFields, tokenIds } from "../serve/field-check.ts";
import { EMBEDDING_INPUTS_MAX } from "../serve/limits.ts";
import type { ServedModel } from "../serve/served-model.ts";

const FIELDS: KnownFields = {
  done: ["model", "input", "encoding_format"],
  harmless: ["user"],
  refused: { dimensions: "a vector has the model's width; it cannot be shortened" },
};

const embeddingSchema = z.strictObject({
  model: z.string().min(1).max(256),
  input: z.union([
    z.string(),
    tokenIds,
    z.array(z.string()).min(1).max(EMBEDDING_INPUTS_MAX),
    z.array(tokenIds).min(1).max(EMBEDDING_INPUTS_MAX),
  ]),
  encoding_format: z.enum(["float", "base64"]).default("float"),
});
export type EmbeddingFields = z.infer<typeof embeddingSchema>;

export const parseEmbeddingRequest = (body: Record<string, unknown>): EmbeddingFields =>
  checkedFields(embeddingSchema, knownFields(body, FIELDS));

/** Ids of every input. Throws 400 on an empty text, an unknown id, or one beyond the context. */
export async function embeddingInputs(
  model: ServedModel,
  { input }: EmbeddingFields,
  signal: AbortSignal,
): Promise<Int32Array[]> {
  const one = typeof input === "string" || typeof input[0] === "number";
  const inputs = (one ? [input] : input) as (string | number[])[];
  const found: Int32Array[] = [];
  for (const [index, text] of inputs.entries()) {
    const param = one ? "input" : `input.${index}`;
    const empty = text.length === 0;
    if (empty) throw badRequest("invalid_parameter", `${param}: the text is empty`, param);
    const is_text = typeof text === "string";
    const tokens = is_text ? await model.promptTokens(text, signal) : Int32Array.from(text);
    checkTokens(model, tokens, param);
    found.push(tokens);
  }
  return found;
}

/** Throws 400 where ids are not the model's or do not fit its context. */
export function checkTokens(model: ServedModel, tokens: Int32Array, param: string): void {
  if (tokens.some((id) => id < 0 || id >= model.config.vocab_size))
    throw badRequest("invalid_parameter", `${param}: an id is not in the vocabulary`, param);
  if (tokens.length > model.context)
    throw badRequest(
      "context_length_exceeded",
      `${param} has ${tokens.length} tokens, the context ${model.context}`,
      param,
    );
}

/** The answer; vectors in the order of the inputs. */
export function embeddingList(
  { encoding_format }: EmbeddingFields,
  model: string,
  vectors: readonly Float32Array[],
  prompt_tokens: number,
): object {
  const written = (vector: Float32Array): string | number[] =>
    encoding_format === "float"
      ? [...vector]
      : Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString("base64");
  return {
    object: "list",
    data: vectors.map((vector, index) => ({
      object: "embedding",
      index,
      embedding: written(vector),
    })),
    model,
    usage: { prompt_tokens, total_tokens: prompt_tokens },
  };
}
