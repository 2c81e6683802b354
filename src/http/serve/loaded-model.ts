/** A model from a path behind the server's face: answers through `generate`. */
import fs from "node:fs/promises";
import path from "node:path";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import { chatFormat } from "../../model/chat-format.ts";
import { paramCount } from "../../model/config.ts";
import { openEngine, type TextEngine } from "../../model/engine/open-engine.ts";
import type { EngineOptions } from "../../model/engine/types.ts";
import { type GenerateOptions, generate, promptTokens } from "../../model/generate.ts";
import { type LoadedModel, type LoadOptions, loadModel } from "../../model/load-model.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import type { ModelSource } from "./model-host.ts";
import type { Answer, AnswerRequest, PromptInput, ServedModel } from "./served-model.ts";

/** Bytes of a file, or of the files of a folder and its folders. */
async function sizeOf(place: string): Promise<number> {
  const stat = await fs.stat(place);
  if (!stat.isDirectory()) return stat.size;
  const names = await fs.readdir(place);
  const sizes = await Promise.all(names.map((name) => sizeOf(path.join(place, name))));
  return sizes.reduce((sum, size) => sum + size, 0);
}

type Subject = Pick<GenerateOptions, "mode" | "messages" | "prompt">;

function subjectOf(prompt: PromptInput): Subject {
  if ("messages" in prompt) return { mode: "chat", messages: prompt.messages };
  return { mode: "complete", prompt: "text" in prompt ? prompt.text : prompt.tokens };
}

function answer(text_engine: TextEngine<Tokenizer>, request: AnswerRequest): Answer {
  const { max_tokens, stop, sampling, top_logprobs, constraint, signal } = request;
  return generate(text_engine, {
    ...subjectOf(request.prompt),
    ...(max_tokens === undefined ? {} : { max_tokens }),
    ...(constraint === undefined ? {} : { constraint }),
    ...{ stop, sampling, top_logprobs, signal },
  });
}

export interface ServedModelOptions extends LoadOptions {
  engine?: EngineOptions;
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
  const [stat, size_bytes] = await Promise.all([fs.stat(model_path), sizeOf(model_path)]);
  const loaded = await loadModel(model_path, options);
  const created_s = Math.floor(stat.mtimeMs / 1000);
  const { version, engine = {} } = options;
  return servedModel(loaded, { id, size_bytes, created_s, version }, engine);
}

/** A loaded model with an engine of its own; both are closed with the served one. */
export function servedModel(
  loaded: LoadedModel,
  about: Pick<ServedModel, "id" | "size_bytes" | "created_s"> & { version: string },
  engine_options: EngineOptions = {},
): ServedModel {
  const { config, tokenizer } = loaded;
  const text_engine = openEngine(loaded, engine_options);
  const { engine } = text_engine;
  const { id, size_bytes, created_s, version } = about;
  const contents = { config, tokenizer: tokenizer.hash, size_bytes, version };
  const digest = sha256Hex(canonicalJson(contents));
  return {
    ...{ id, size_bytes, config, tokenizer, digest, created_s },
    context: engine.context,
    parameters: paramCount(config),
    format: loaded.kind,
    has_chat_format: chatFormat(tokenizer).name !== "plain",
    fingerprint: `fp_${digest.slice(0, 10)}`,
    answer: (request) => answer(text_engine, request),
    constraint: () => {
      throw new MagnetError("UNSUPPORTED", "response formats are not done", { exit: "usage" });
    },
    promptTokens: (text) => promptTokens(tokenizer, { mode: "complete", prompt: text }).tokens,
    embed: (tokens, signal) => engine.embed(tokens, signal),
    stats: () => engine.stats(),
    async close() {
      await engine.close();
      loaded.close();
    },
  };
}
