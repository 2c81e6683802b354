/** A model from a path behind the server's face: answers through `generate`. */
import fs from "node:fs/promises";
import path from "node:path";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import { chatFormat } from "../../model/chat-format.ts";
import { paramCount } from "../../model/config.ts";
import { type GenerateOptions, generate, promptTokens } from "../../model/generate.ts";
import { type LoadedModel, type LoadOptions, loadModel } from "../../model/load-model.ts";
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
  if ("text" in prompt) return { mode: "complete", prompt: prompt.text };
  throw new MagnetError("UNSUPPORTED", "prompts of ids are not done", { exit: "usage" });
}

async function* answer(loaded: LoadedModel, request: AnswerRequest): Answer {
  const { max_tokens, stop, sampling, signal } = request;
  const pieces = generate(loaded, {
    ...subjectOf(request.prompt),
    ...(max_tokens === undefined ? {} : { max_tokens }),
    ...{ stop, sampling, signal },
  });
  for (;;) {
    const next = await pieces.next();
    if (!next.done) {
      yield { ...next.value, top: [] };
      continue;
    }
    return { ...next.value, cached_tokens: 0, queued_ms: 0, prefill_ms: 0, decode_ms: 0 };
  }
}

export interface ServedModelOptions extends LoadOptions {
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
  return servedModel(loaded, { id, size_bytes, created_s, version: options.version });
}

/** A loaded model, which is closed with the served one. */
export function servedModel(
  loaded: LoadedModel,
  about: Pick<ServedModel, "id" | "size_bytes" | "created_s"> & { version: string },
): ServedModel {
  const { config, tokenizer } = loaded;
  const { id, size_bytes, created_s, version } = about;
  const contents = { config, tokenizer: tokenizer.hash, size_bytes, version };
  const digest = sha256Hex(canonicalJson(contents));
  return {
    ...{ id, size_bytes, config, tokenizer, digest, created_s },
    context: config.context,
    parameters: paramCount(config),
    format: loaded.kind,
    has_chat_format: chatFormat(tokenizer).name !== "plain",
    fingerprint: `fp_${digest.slice(0, 10)}`,
    answer: (request) => answer(loaded, request),
    constraint: () => {
      throw new MagnetError("UNSUPPORTED", "response formats are not done", { exit: "usage" });
    },
    promptTokens: (text) => promptTokens(tokenizer, { mode: "complete", prompt: text }).tokens,
    embed: () => {
      throw new MagnetError("UNSUPPORTED", "embeddings are not done", { exit: "usage" });
    },
    stats: () => ({
      ...{ running: 0, waiting: 0, blocks_total: 0, blocks_in_use: 0, blocks_cached: 0 },
      ...{ prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0, steps: 0, live_handles: 0 },
    }),
    close: async () => loaded.close(),
  };
}
