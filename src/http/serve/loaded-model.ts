/** A model from a path behind the server's face: answers through `generate`. */
import fs from "node:fs/promises";
import path from "node:path";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import { chatFormat, textPrompt } from "../../model/chat-format.ts";
import { encodePartsAsync } from "../../model/chat-template.ts";
import { paramCount } from "../../model/config.ts";
import { compileJsonSchema, jsonObjectConstraint } from "../../model/constraint/compile.ts";
import type { TextEngine } from "../../model/engine/open-engine.ts";
import {
  openTextModel,
  type TextModel,
  type TextModelOptions,
} from "../../model/engine/open-text-model.ts";
import { type GenerateOptions, generate } from "../../model/generate.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { modelFiles } from "./model-files.ts";
import type { ModelSource } from "./model-host.ts";
import type { Answer, AnswerRequest, PromptInput, ServedModel } from "./served-model.ts";

type Subject = Pick<GenerateOptions, "mode" | "messages" | "prompt">;

function subjectOf(prompt: PromptInput): Subject {
  if ("messages" in prompt) return { mode: "chat", messages: prompt.messages };
  return { mode: "complete", prompt: "text" in prompt ? prompt.text : prompt.tokens };
}

function answer(text_engine: TextEngine<Tokenizer>, request: AnswerRequest): Answer {
  const { max_tokens, stop, sampling, top_logprobs, constraint, cache_scope, signal } = request;
  return generate(text_engine, {
    ...subjectOf(request.prompt),
    ...(max_tokens === undefined ? {} : { max_tokens }),
    ...(constraint === undefined ? {} : { constraint }),
    ...{ stop, sampling, top_logprobs, cache_scope, signal },
  });
}

/** Ids of a text, with as little work as for a prompt where it cannot fit. */
async function textTokens(
  tokenizer: Tokenizer,
  text: string,
  {
    context,
    signal,
    cut = false,
  }: { context: number; signal: AbortSignal; cut?: boolean | undefined },
): Promise<Int32Array> {
  const fitting = context * tokenizer.longest_token;
  if (!cut && Buffer.byteLength(text) > fitting)
    throw new MagnetError("PROMPT_TOO_LONG", `a text has more tokens than the context, ${context}`);
  // As many characters have at least as many bytes: what is cut off is beyond the context.
  const { parts } = textPrompt(tokenizer, cut ? text.slice(0, fitting).toWellFormed() : text);
  const tokens = await encodePartsAsync(tokenizer, parts, signal);
  return cut ? tokens.subarray(0, context) : tokens;
}

export interface ServedModelOptions extends TextModelOptions {
  /** The name that requests use; the path's last part unless given. */
  id?: string;
  /** Of magnet: part of the fingerprint. */
  version: string;
}

/** Where a server finds a model. */
export function modelSource(model_path: string, options: ServedModelOptions): ModelSource {
  const { id = path.parse(path.resolve(model_path)).name } = options;
  return { id, load: () => serveModel(id, model_path, options) };
}

async function serveModel(
  id: string,
  model_path: string,
  options: ServedModelOptions,
): Promise<ServedModel> {
  const [stat, files] = await Promise.all([fs.stat(model_path), modelFiles(model_path)]);
  const opened = await openTextModel(model_path, options);
  const created_s = Math.floor(stat.mtimeMs / 1000);
  // Whatever changes the last bits is part of what answers are reproduced by.
  const { engine = "magnet", rounding = "bitnet", head = "file", version } = options;
  const on = opened.device.kind === "cuda" ? { device: "cuda" } : {};
  const arithmetic = canonicalJson({ version, engine, rounding, head, ...on });
  return servedModel(opened, { id, ...files, created_s, arithmetic });
}

/** A model with its engine, which is closed with the served one. */
export function servedModel(
  opened: TextModel,
  about: Pick<ServedModel, "id" | "size_bytes" | "digest" | "created_s"> & { arithmetic: string },
): ServedModel {
  const { config, tokenizer, engine } = opened;
  const { id, size_bytes, digest, created_s, arithmetic } = about;
  const fingerprint = sha256Hex(digest, tokenizer.hash, arithmetic);
  return {
    ...{ id, size_bytes, config, tokenizer, digest, created_s },
    context: engine.context,
    parameters: paramCount(config),
    format: opened.kind,
    on_gpu: opened.device.kind === "cuda",
    has_chat_format: chatFormat(tokenizer).name !== "plain",
    fingerprint: `fp_${fingerprint.slice(0, 10)}`,
    answer: (request) => answer(opened, request),
    constraint: (format) =>
      format.kind === "json_object" ? jsonObjectConstraint() : compileJsonSchema(format.schema),
    promptTokens: (text, signal, cut) =>
      textTokens(tokenizer, text, { context: engine.context, signal, cut }),
    embed: (tokens, signal) => engine.embed(tokens, signal),
    stats: () => engine.stats(),
    close: () => opened.close(),
  };
}
