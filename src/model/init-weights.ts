/**
 * `magnet train --init`: where a run's first weights come from instead of a seed. A Hugging Face
 * folder, a checkpoint or run folder of magnet (its newest), or a bare safetensors file (its shapes
 * are then those of --model).
 */
import fs from "node:fs";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import { resolveCheckpoint } from "./checkpoint-store.ts";
import { type ModelConfig, parseModelConfig, resolveModelConfig, tensorInfos } from "./config.ts";
import { readHfConfig } from "./hf-config.ts";
import { HfWeights } from "./hf-weights.ts";
import { bytesOf } from "./safetensors.ts";
import { Tokenizer } from "./tokenizer.ts";

export interface InitSource {
  path: string;
  /** null for a bare file of tensors. */
  config: ModelConfig | null;
  /** The tokenizer that the weights were trained with, where it lies beside them. */
  tokenizer(): Promise<Tokenizer | null>;
  /**
   * Reads the weights of this configuration into an arena. Throws TENSOR_MISSING, SHAPE_MISMATCH,
   * SAFETENSORS_CORRUPT, UNSUPPORTED, NOT_A_NUMBER.
   */
  load(config: ModelConfig, params: Float32Array): Promise<void>;
}

async function loadHf(source: string, config: ModelConfig, tied: boolean, params: Float32Array) {
  const weights = await HfWeights.open(source, config, tied);
  try {
    await weights.loadInto(params);
  } finally {
    await weights.close();
  }
}

function hfFolder(folder: string): InitSource {
  const { config, tied } = readHfConfig(folder);
  const tokenizer_file = path.join(folder, "tokenizer.json");
  return {
    path: folder,
    config,
    tokenizer: async () => (fs.existsSync(tokenizer_file) ? Tokenizer.load(tokenizer_file) : null),
    load: (wanted, params) => loadHf(folder, wanted, tied, params),
  };
}

async function magnetFolder(folder: string): Promise<InitSource> {
  const checkpoint = await resolveCheckpoint(folder);
  return {
    path: folder,
    config: parseModelConfig(checkpoint.manifest.model, folder),
    tokenizer: async () => Tokenizer.fromJson(await checkpoint.tokenizerJson()),
    load: (wanted, params) => checkpoint.loadParams(tensorInfos(wanted), params),
  };
}

/** Finds out what a path is. Throws NOT_FOUND, NOT_A_CHECKPOINT, BAD_MODEL_CONFIG. */
export async function openInit(given: string): Promise<InitSource> {
  try {
    if (!fs.statSync(given).isDirectory())
      return {
        path: given,
        config: null,
        tokenizer: async () => null,
        load: (wanted, params) => loadHf(given, wanted, true, params),
      };
    const isHf = fs.existsSync(path.join(given, "config.json"));
    return isHf ? hfFolder(given) : await magnetFolder(given);
  } catch (error) {
    throw toMagnetError(error);
  }
}

/** Fields that no tensor depends on: the longest sequence, and whether weights are quantised. */
const FREE_FIELDS = new Set(["context", "quant"]);

/**
 * The model of a run that starts from `init`: the one that its configuration says, or the one that
 * is named (preset or file), which must agree in everything that the weights depend on. `vocab_size`
 * is the tokenizer's, for weights that do not say. Throws INIT_MISMATCH naming the fields.
 */
export function initModel(
  init: InitSource,
  options: {
    named: string | undefined;
    vocab_size: number;
    quant: "ternary" | "none" | undefined;
  },
): ModelConfig {
  const { named, quant } = options;
  const { config } = init;
  const change = quant === undefined ? {} : { quant };
  if (named === undefined && config) return parseModelConfig({ ...config, ...change });
  if (named === undefined)
    throw new MagnetError("INIT_MISMATCH", `${init.path} does not say what model it is of`, {
      hint: "name it: --model PRESET|FILE, or give the folder that holds its config.json",
      exit: "usage",
    });
  const vocab_size = config?.vocab_size ?? options.vocab_size;
  const given = resolveModelConfig(named, { vocab_size, ...change });
  const there = new Map(Object.entries(config ?? given));
  const differing = Object.entries(given)
    .filter(([key, value]) => !FREE_FIELDS.has(key) && there.get(key) !== value)
    .map(([key, value]) => `${key} is ${there.get(key)} there, --model says ${value}`);
  if (differing.length === 0) return given;
  throw new MagnetError("INIT_MISMATCH", `${init.path}: ${differing.join("; ")}`, {
    hint: "leave --model out to take the model of --init",
    exit: "config",
  });
}

/** SHA-256 of an arena, with the event loop kept free: what a run started from. */
export async function hashParams(params: Float32Array): Promise<Hash> {
  const hasher = new Bun.CryptoHasher("sha256");
  const step = 1 << 20;
  for (let at = 0; at < params.length; at += step) {
    hasher.update(bytesOf(params.subarray(at, at + step)));
    await Bun.sleep(0);
  }
  return hasher.digest("hex") as Hash;
}
