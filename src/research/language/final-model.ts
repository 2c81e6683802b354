/**
 * A trained model as one file: safetensors with the tensors' Hugging Face names, and in its metadata
 * the configuration, the model and the tokenizer. Any reader of safetensors opens it.
 */
import fs from "node:fs";
import path from "node:path";
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";
import { type ModelConfig, parseModelConfig, tensorInfos } from "../../model/config.ts";
import { exportHf } from "../../model/export-hf.ts";
import { loadHfFolder } from "../../model/load-hf.ts";
import { bytesOf, writeSafetensors } from "../../model/safetensors.ts";
import { headerLength, parseHeader } from "../../model/safetensors-header.ts";
import { Tokenizer } from "../../model/tokenizer.ts";

const SCHEMA = "magnet.language_model/1";

export interface LanguageModel {
  readonly model: ModelConfig;
  readonly params: Float32Array;
  readonly tokenizer: Tokenizer;
}

export async function packModel({ model, params, tokenizer }: LanguageModel): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  const tensors = tensorInfos(model).map(({ name, offset, rows, cols, is_matrix }) => ({
    name,
    dtype: "F32" as const,
    shape: is_matrix ? [rows, cols] : [cols],
    data: bytesOf(params.subarray(offset, offset + rows * cols)),
  }));
  const metadata = {
    ...{ format: "pt", schema: SCHEMA },
    ...{ model: JSON.stringify(model), tokenizer: tokenizer.toJson() },
  };
  const write = async (piece: Uint8Array) => {
    pieces.push(piece.slice());
  };
  await writeSafetensors({ write }, tensors, metadata);
  return Buffer.concat(pieces);
}

const corrupt = (message: string, cause?: unknown) =>
  new MagnetError("MODEL_CORRUPT", `the language model ${message}`, {
    hint: "it is what a research run of the language domain has saved; take that file",
    exit: "verification",
    cause,
  });

const metadataSchema = z.object({
  schema: z.literal(SCHEMA),
  model: z.string(),
  tokenizer: z.string(),
});

/** Whether these are bytes of `packModel`, by their header alone. */
export function isLanguageModel(bytes: Uint8Array): boolean {
  try {
    const length = headerLength(bytes.subarray(0, 8), bytes.length);
    const header = parseHeader(bytes.subarray(8, 8 + length), bytes.length);
    return metadataSchema.safeParse(header.metadata).success;
  } catch {
    return false;
  }
}

/**
 * Writes a packed model as a Hugging Face folder, which everything that takes a MODEL opens. One that
 * is there already and holds the same is kept, as a run that is resumed ends twice; throws EXISTS for
 * another one: nobody's files are replaced.
 */
export async function writeModelFolder(bytes: Uint8Array, folder: string): Promise<void> {
  const { model: config, params, tokenizer } = unpackModel(bytes);
  if (fs.existsSync(path.join(folder, "config.json"))) {
    const known = await loadHfFolder(folder);
    const same = Buffer.compare(bytesOf(known.params), bytesOf(params)) === 0;
    if (same && known.tokenizer_hash === tokenizer.hash) return;
  }
  await exportHf({ config, params, tokenizer, folder });
}

/** Throws SAFETENSORS_CORRUPT, MODEL_CORRUPT, BAD_MODEL_CONFIG, BAD_TOKENIZER. */
export function unpackModel(bytes: Uint8Array): LanguageModel {
  const length = headerLength(bytes.subarray(0, 8), bytes.length);
  const header = parseHeader(bytes.subarray(8, 8 + length), bytes.length);
  const parsed = metadataSchema.safeParse(header.metadata);
  if (!parsed.success) throw corrupt("lacks its configuration");
  const model = parseModelConfig(JSON.parse(parsed.data.model), "the language model");
  const infos = tensorInfos(model);
  const last = infos.at(-1)!;
  const params = new Float32Array(last.offset + last.rows * last.cols);
  for (const { name, offset, rows, cols } of infos) {
    const entry = header.tensors.get(name);
    if (entry?.dtype !== "F32" || entry.end - entry.begin !== 4 * rows * cols)
      throw corrupt(`holds no fitting ${name}`);
    const start = header.data_start + entry.begin;
    const target = bytesOf(params.subarray(offset, offset + rows * cols));
    target.set(bytes.subarray(start, start + target.length));
  }
  return { model, params, tokenizer: Tokenizer.fromJson(parsed.data.tokenizer) };
}
