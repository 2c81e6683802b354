/**
 * Opens what a user calls a MODEL (a checkpoint or run folder, a Hugging Face folder, or a .gguf
 * file): its configuration, its tokenizer and a model ready for inference; or its latent weights,
 * for an export.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { CPU, type Device, gpuOf, requireGpuMemory } from "../native/device.ts";
import { inferLibrary } from "../native/infer.ts";
import { resolveCheckpoint } from "./checkpoint-store.ts";
import { type ModelConfig, paramCount, parseModelConfig, tensorInfos } from "./config.ts";
import { GgufFile } from "./gguf-file.ts";
import { tokenizerFromGguf } from "./gguf-tokenizer.ts";
import { hfTokenizerNotes } from "./hf-tokenizer-notes.ts";
import { type HeadFormat, InferenceModel } from "./inference.ts";
import { loadHfFolder } from "./load-hf.ts";
import { availableMemoryBytes, requireMemory, WEIGHTS } from "./memory.ts";
import { Tokenizer } from "./tokenizer.ts";

export type ModelKind = "checkpoint" | "hf" | "gguf";

export interface LoadOptions {
  /** A tokenizer.json to use instead of the model's own; must be the same tokenizer. */
  tokenizer_path?: string;
  /** 0 = all online CPUs. */
  threads?: number;
  /** The file's own head unless given; only .gguf files. */
  head?: HeadFormat;
  /** What computes; the CPU unless given. */
  device?: Device;
}

/** Latent weights with what belongs to them. */
export interface LatentModel {
  kind: "checkpoint" | "hf";
  config: ModelConfig;
  params: Float32Array;
  tokenizer: Tokenizer;
}

export interface LoadedModel {
  kind: ModelKind;
  /** As it was given. */
  path: string;
  /** Last part of the path without its ending: a name to show. */
  name: string;
  config: ModelConfig;
  tokenizer: Tokenizer;
  model: InferenceModel;
  close(): void;
}

function checkTokenizer(tokenizer: Tokenizer, vocab_size: number, stated: string | null): void {
  const hint = "use the tokenizer.json that the model was trained with";
  if (tokenizer.vocab_size !== vocab_size)
    throw new MagnetError(
      "TOKENIZER_MISMATCH",
      `the tokenizer has ${tokenizer.vocab_size} tokens, the model ${vocab_size}`,
      { hint, exit: "verification" },
    );
  if (stated !== null && stated !== tokenizer.hash)
    throw new MagnetError(
      "TOKENIZER_MISMATCH",
      `the tokenizer's hash is ${tokenizer.hash.slice(0, 16)}..., the model's ${stated.slice(0, 16)}...`,
      { hint, exit: "verification" },
    );
}

/** What a path holds, by its files' names alone. */
export async function modelKind(model: string): Promise<ModelKind> {
  try {
    if (!(await fs.stat(model)).isDirectory()) return "gguf";
    const names = new Set(await fs.readdir(model));
    return names.has("config.json") && !names.has("manifest.json") ? "hf" : "checkpoint";
  } catch (error) {
    throw toMagnetError(error);
  }
}

/**
 * Latent weights of a checkpoint, run folder (its newest) or Hugging Face folder. A GGUF file has
 * only ternary weights: NO_LATENT_WEIGHTS.
 */
export async function loadLatentModel(
  model: string,
  options: LoadOptions = {},
): Promise<LatentModel> {
  const kind = await modelKind(model);
  const given = options.tokenizer_path;
  if (kind === "gguf")
    throw new MagnetError("NO_LATENT_WEIGHTS", `${model} is a file with ternary weights only`, {
      hint: "name the checkpoint or the Hugging Face folder that it was exported from",
    });
  if (kind === "hf") {
    const { config, params, tokenizer_hash } = await loadHfFolder(model);
    const file = given ?? path.join(model, "tokenizer.json");
    const tokenizer = await Tokenizer.load(file, hfTokenizerNotes(model));
    checkTokenizer(tokenizer, config.vocab_size, tokenizer_hash);
    return { kind, config, params, tokenizer };
  }
  const checkpoint = await resolveCheckpoint(model);
  const config = parseModelConfig(checkpoint.manifest.model, model);
  const tokenizer = given
    ? await Tokenizer.load(given)
    : Tokenizer.fromJson(await checkpoint.tokenizerJson());
  checkTokenizer(tokenizer, config.vocab_size, checkpoint.manifest.tokenizer_hash);
  requireMemory(4 * paramCount(config), availableMemoryBytes(), WEIGHTS);
  const params = new Float32Array(paramCount(config));
  await checkpoint.loadParams(tensorInfos(config), params);
  return { kind, config, params, tokenizer };
}

/** The file's own tokenizer, or the given one where it is the same. */
export async function ggufTokenizer(gguf: GgufFile, given: string | undefined): Promise<Tokenizer> {
  const own = await tokenizerFromGguf(gguf);
  if (given === undefined) return own;
  const tokenizer = await Tokenizer.load(given, own.notes);
  checkTokenizer(tokenizer, own.vocab_size, own.hash);
  return tokenizer;
}

/** Throws NOT_ENOUGH_MEMORY: packed weights are about as large as those of the file. */
async function requireWeights(file: string, device: Device): Promise<void> {
  const { size } = await fs.stat(file);
  // Of the machine's own memory a process that takes more is killed without a word.
  requireMemory(size, availableMemoryBytes(), WEIGHTS);
  const gpu = gpuOf(device);
  const hint = "end other programs on the GPU, or take --device cpu";
  if (gpu) requireGpuMemory(size, gpu, { what: WEIGHTS.what, hint });
}

/**
 * Weights and vocabulary are read side by side, the vocabulary always by the CPU's library; a file is
 * closed when both have ended.
 */
async function readGguf(file: string, { threads, head, device = CPU, ...options }: LoadOptions) {
  const library = inferLibrary(device);
  const gguf = await GgufFile.open(file);
  try {
    const weights = library === gguf.library ? gguf : await GgufFile.open(file, library);
    const both = await Promise.allSettled([
      InferenceModel.fromGguf(weights, threads, head, device),
      ggufTokenizer(gguf, options.tokenizer_path),
    ]);
    weights.close();
    return both;
  } finally {
    gguf.close();
  }
}

async function loadGguf(file: string, options: LoadOptions) {
  await requireWeights(file, options.device ?? CPU);
  const [weights, vocabulary] = await readGguf(file, options);
  if (weights.status === "rejected") throw weights.reason;
  const model = weights.value;
  try {
    if (vocabulary.status === "rejected") throw vocabulary.reason;
    const tokenizer = vocabulary.value;
    checkTokenizer(tokenizer, model.config.vocab_size, null);
    return { tokenizer, model };
  } catch (error) {
    model.close();
    throw error;
  }
}

/**
 * Opens a model for inference; close it after use. Throws NOT_FOUND, NOT_A_CHECKPOINT, BAD_FORMAT,
 * UNSUPPORTED, BAD_TOKENIZER, TOKENIZER_MISMATCH, BAD_HEAD and the errors of damaged files.
 */
export async function loadModel(model: string, options: LoadOptions = {}): Promise<LoadedModel> {
  const kind = await modelKind(model);
  const name = path.parse(path.resolve(model)).name;
  const close = (opened: InferenceModel) => () => opened.close();
  if (kind === "gguf") {
    const { tokenizer, model: opened } = await loadGguf(model, options);
    const { config } = opened;
    return { kind, path: model, name, config, tokenizer, model: opened, close: close(opened) };
  }
  if (options.head !== undefined && options.head !== "file")
    throw new MagnetError("BAD_HEAD", `the head of ${model} is not rounded: it is no .gguf file`, {
      hint: `export it: magnet export gguf ${model} --out FILE`,
      exit: "usage",
    });
  const { config, params, tokenizer } = await loadLatentModel(model, options);
  const { threads, device } = options;
  const opened = await InferenceModel.fromParams(config, params, threads, device);
  return { kind, path: model, name, config, tokenizer, model: opened, close: close(opened) };
}
