/**
 * Weights in safetensors files, one or several with an index, in float32, float16 or bfloat16:
 * checked by name and shape against a configuration before anything is read, and converted into an
 * arena. A tensor that is not part of the architecture is refused by its name, but for what says
 * nothing new (RoPE tables, a head that equals the embedding).
 */
import fs from "node:fs";
import path from "node:path";
import { z } from "zod";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { readSmallText } from "../core/read-file.ts";
import { floatsFrom, isFloatFormat } from "../native/convert.ts";
import { type ModelConfig, type TensorInfo, tensorInfos } from "./config.ts";
import { bytesOf, SafetensorsFile, type TensorEntry } from "./safetensors.ts";

/** An index names some thousand tensors. */
const INDEX_BYTES_MAX = 16 * 1024 * 1024;
const SHARDS_MAX = 1024;
/** Converted at a time. */
const CHUNK_BYTES = 4 * 1024 * 1024;

const EMBEDDING = "model.embed_tokens.weight";
const HEAD = "lm_head.weight";
/** Tables that old files carry; they follow from the configuration. */
const ROPE_TABLE = /\.rotary_emb\.inv_freq$/;

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

const unsupported = (file: string, what: string, hint: string) =>
  new MagnetError("UNSUPPORTED", `${file}: ${what}`, { hint });

/** The files that an index names; only plain names in its own folder. */
function shardNames(index: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(readSmallText(index, INDEX_BYTES_MAX));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw toMagnetError(error);
  }
  const parsed = indexSchema.safeParse(value);
  const names = [...new Set(Object.values(parsed.data?.weight_map ?? {}))];
  const plain = names.every((name) => /^[\w.-]+\.safetensors$/.test(name));
  if (parsed.success && names.length > 0 && names.length <= SHARDS_MAX && plain) return names;
  throw new MagnetError("SAFETENSORS_CORRUPT", `${index}: not an index of safetensors files`, {
    hint: 'it maps tensors to files beside it: {"weight_map": {"name": "file.safetensors"}}',
    exit: "verification",
  });
}

/** The safetensors files behind a folder or a file. */
function filesOf(source: string): string[] {
  if (!fs.statSync(source).isDirectory())
    return source.endsWith(".index.json")
      ? shardNames(source).map((name) => path.join(path.dirname(source), name))
      : [source];
  const index = path.join(source, "model.safetensors.index.json");
  if (!fs.existsSync(index)) return [path.join(source, "model.safetensors")];
  return shardNames(index).map((name) => path.join(source, name));
}

/** Open weights of one configuration. */
export class HfWeights {
  private constructor(
    private readonly files: readonly SafetensorsFile[],
    private readonly places: ReadonlyMap<string, SafetensorsFile>,
    private readonly infos: readonly TensorInfo[],
  ) {}

  /**
   * Opens a folder, an index or one file, and checks names, types and shapes. Throws NOT_FOUND,
   * SAFETENSORS_CORRUPT, TENSOR_MISSING, SHAPE_MISMATCH, UNSUPPORTED.
   */
  static async open(source: string, config: ModelConfig, tied = true): Promise<HfWeights> {
    const files: SafetensorsFile[] = [];
    try {
      for (const file of filesOf(source)) files.push(await SafetensorsFile.open(file));
      const weights = new HfWeights(files, placesOf(files), tensorInfos(config));
      weights.check(source, tied);
      await weights.checkHead();
      return weights;
    } catch (error) {
      for (const file of files) await file.close();
      throw toMagnetError(error);
    }
  }

  async close(): Promise<void> {
    for (const file of this.files) await file.close();
  }

  /**
   * Reads all tensors into an arena. After an error its content is undefined. Throws NOT_A_NUMBER
   * naming the tensor that holds NaN or infinity, SAFETENSORS_CORRUPT.
   */
  async loadInto(params: Float32Array): Promise<void> {
    for (const info of this.infos) {
      const target = params.subarray(info.offset, info.offset + info.rows * info.cols);
      await this.loadTensor(this.places.get(info.name)!, info.name, target);
    }
  }

  private async loadTensor(
    file: SafetensorsFile,
    name: string,
    target: Float32Array,
  ): Promise<void> {
    const { dtype } = file.entry(name);
    if (!isFloatFormat(dtype)) throw new Error("checked when the file was opened");
    const value_bytes = dtype === "F32" ? 4 : 2;
    const step = CHUNK_BYTES / value_bytes;
    const scratch = new Uint8Array(Math.min(CHUNK_BYTES, target.length * value_bytes));
    for (let done = 0; done < target.length; done += step) {
      const part = target.subarray(done, done + step);
      const bytes =
        dtype === "F32" ? bytesOf(part) : scratch.subarray(0, part.length * value_bytes);
      await file.readInto(name, bytes, { from: done * value_bytes });
      await floatsFrom(dtype, bytes, part).catch((error) => {
        throw placed(error, `${file.path}: "${name}"`);
      });
    }
  }

  private check(source: string, tied: boolean): void {
    const known = new Set(this.infos.map((info) => info.name));
    for (const name of this.places.keys()) {
      if (known.has(name) || name === HEAD || ROPE_TABLE.test(name)) continue;
      const what = name.endsWith(".bias") ? `has a bias, "${name}"` : `has a tensor "${name}"`;
      throw unsupported(
        source,
        what,
        "magnet runs Llama models without biases, with or without BitNet's sub-norms",
      );
    }
    if (!tied && !this.places.has(HEAD))
      throw unsupported(
        source,
        "its head is not tied to the embedding, and is missing",
        "set tie_word_embeddings in config.json if the embedding is the head",
      );
    for (const { name, rows, cols, is_matrix } of this.infos) {
      const file = this.places.get(name);
      if (!file) throw missing(source, name);
      checkShape(file, file.entry(name), is_matrix ? [rows, cols] : [cols]);
    }
  }

  /** An own head is the embedding, byte for byte, or it is refused: the model has none. */
  private async checkHead(): Promise<void> {
    const [head, embedding] = [this.places.get(HEAD), this.places.get(EMBEDDING)!];
    if (!head) return;
    const [a, b] = [head.entry(HEAD), embedding.entry(EMBEDDING)];
    const differs = () =>
      unsupported(
        head.path,
        `"${HEAD}" differs from "${EMBEDDING}"`,
        "only models whose head is the embedding (tied) are read",
      );
    if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) throw differs();
    const bytes = a.end - a.begin;
    const [mine, theirs] = [Buffer.alloc(CHUNK_BYTES), Buffer.alloc(CHUNK_BYTES)];
    for (let from = 0; from < bytes; from += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, bytes - from);
      await head.readInto(HEAD, mine.subarray(0, length), { from });
      await embedding.readInto(EMBEDDING, theirs.subarray(0, length), { from });
      if (!mine.subarray(0, length).equals(theirs.subarray(0, length))) throw differs();
    }
  }
}

/** Which file holds each tensor. Throws SAFETENSORS_CORRUPT where two files hold one name. */
function placesOf(files: readonly SafetensorsFile[]): Map<string, SafetensorsFile> {
  const places = new Map<string, SafetensorsFile>();
  for (const file of files)
    for (const { name } of file.tensors) {
      const other = places.get(name);
      if (other)
        throw new MagnetError(
          "SAFETENSORS_CORRUPT",
          `"${name}" is in ${other.path} and in ${file.path}`,
          { hint: "remove the file that does not belong there", exit: "verification" },
        );
      places.set(name, file);
    }
  return places;
}

const missing = (source: string, name: string) =>
  new MagnetError("TENSOR_MISSING", `${source} has no tensor "${name}"`, {
    hint: "the weights are of another architecture or size, or a file of them is missing",
    exit: "verification",
  });

function checkShape(file: SafetensorsFile, entry: TensorEntry, expected: readonly number[]): void {
  const { name, dtype, shape } = entry;
  const found = `${file.path}: "${name}" is ${dtype} [${shape}]`;
  if (!isFloatFormat(dtype))
    throw unsupported(file.path, `"${name}" is ${dtype}`, "give weights as F32, F16 or BF16");
  if (shape.join() !== expected.join())
    throw new MagnetError("SHAPE_MISMATCH", `${found}, not [${expected}]`, {
      hint: "the weights are of another size than the configuration says",
      exit: "verification",
    });
}

/** The same error with its place in front. */
function placed(error: unknown, place: string): MagnetError {
  const known = toMagnetError(error);
  return new MagnetError(known.code, `${place}: ${known.message}`, {
    hint: "the checkpoint was saved from a run that had diverged; take an earlier one",
    exit: "verification",
    cause: error,
  });
}
