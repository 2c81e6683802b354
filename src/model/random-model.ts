/**
 * GGUF files with random weights, for benches and comparisons with peers: any configuration at any
 * size in a second or two, loadable by magnet and by llama.cpp (I2_S: by bitnet.cpp). Weights are
 * scaled so that every layer adds as much as it gets; text that such a model writes is noise, but
 * activations and logits are spread as those of a trained one.
 */
import path from "node:path";
import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import { BYTES_IN_ORDER } from "./byte-alphabet.ts";
import { type ModelConfig, type TensorInfo, tensorInfos } from "./config.ts";
import { checkExportType, ggufConfigEntries, ggufTensorName } from "./export-gguf.ts";
import { hostFileSystem, replaceFile } from "./file-system.ts";
import { tokenizerEntries } from "./gguf-tokenizer.ts";
import { type GgufTensorSource, writeGguf } from "./gguf-writer.ts";
import { RandomTensors, type RandomType, randomTensorBytes } from "./random-blocks.ts";
import { DEFAULT_SPECIAL_TOKENS, Tokenizer } from "./tokenizer.ts";

export interface RandomModelOptions {
  config: ModelConfig;
  /** Of the ternary matrices; default TQ2_0. */
  matrices?: "TQ2_0" | "TQ1_0" | "I2_S";
  /** Of the embedding, which is also the head; default Q6_K, which needs d_model % 256 = 0. */
  embedding?: "Q6_K" | "F16";
  seed?: number;
  /** Files are kept here by what they hold; one that is there is taken. */
  folder: string;
}

/** Changes with what the same options make. */
const FORMAT = 1;
/** Standard deviation of an embedding's weight. */
const EMBEDDING_SPREAD = 0.05;
const LETTERS = Array.from({ length: 26 }, (_, i) => 0x61 + i);

/**
 * A vocabulary of any size of at least 260: the bytes, then strings of two letters and more, with
 * or without a space in front, and magnet's special tokens.
 */
export function syntheticTokenizer(vocab_size: number): Tokenizer {
  const ordinary = vocab_size - DEFAULT_SPECIAL_TOKENS.length;
  if (ordinary < 256)
    throw new MagnetError("BAD_VOCAB_SIZE", `a vocabulary of ${vocab_size} has no room for bytes`, {
      hint: `at least ${256 + DEFAULT_SPECIAL_TOKENS.length} tokens`,
      exit: "config",
    });
  const tokens = BYTES_IN_ORDER.map((byte) => Uint8Array.of(byte));
  const merges = new Uint32Array(2 * (ordinary - 256));
  const idOf = (byte: number) => BYTES_IN_ORDER.indexOf(byte);
  const letters = LETTERS.map(idOf);
  let shorter = [idOf(0x20), ...letters];
  for (let at = 0; tokens.length < ordinary; ) {
    const longer: number[] = [];
    for (const left of shorter)
      for (const right of letters) {
        if (tokens.length === ordinary) break;
        merges.set([left, right], at);
        at += 2;
        longer.push(tokens.length);
        tokens.push(Uint8Array.of(...tokens[left]!, ...tokens[right]!));
      }
    shorter = longer;
  }
  const specials = DEFAULT_SPECIAL_TOKENS.map((content, i) => ({ id: ordinary + i, content }));
  tokens.push(...specials.map(({ content }) => new TextEncoder().encode(content)));
  return new Tokenizer({ tokens, merges, specials, ignore_merges: true });
}

/** Tensors of one matrix shape share a stretch of random blocks. */
function tensorMaker(options: Required<Omit<RandomModelOptions, "folder">>, infos: TensorInfo[]) {
  const makers = new Map<string, RandomTensors>();
  return (info: TensorInfo): GgufTensorSource => {
    const { is_matrix, is_ternary, rows, cols } = info;
    const name = ggufTensorName(info.name);
    if (!is_matrix) {
      const ones = () => Promise.resolve(new Uint8Array(new Float32Array(cols).fill(1).buffer));
      return { name, type: "F32", dims: [cols], size_bytes: 4 * cols, bytes: ones };
    }
    const type: RandomType = is_ternary ? options.matrices : options.embedding;
    const key = `${type} ${cols}`;
    const alike = infos.filter((i) => i.is_ternary === is_ternary && i.cols === cols);
    const rows_max = Math.max(...alike.map((i) => i.rows));
    const spread = is_ternary ? 1 / Math.sqrt(cols) : EMBEDDING_SPREAD;
    const maker =
      makers.get(key) ??
      new RandomTensors(type, rows_max, cols, spread, options.seed + makers.size);
    makers.set(key, maker);
    const size_bytes = randomTensorBytes(type, rows, cols);
    return { name, type, dims: [cols, rows], size_bytes, bytes: async () => maker.make(rows) };
  };
}

/**
 * Path of the file, which is made where it is not there yet. Throws EXPORT_SHAPE where the types do
 * not fit the configuration, BAD_VOCAB_SIZE, and the disk's errors.
 */
export async function randomModelFile(options: RandomModelOptions): Promise<string> {
  const { config, matrices = "TQ2_0", embedding = "Q6_K", seed = 1, folder } = options;
  checkExportType(config, matrices);
  if (embedding === "Q6_K" && config.d_model % 256 !== 0)
    throw new MagnetError("EXPORT_SHAPE", `Q6_K needs d_model % 256 = 0, not ${config.d_model}`, {
      hint: "take an F16 embedding",
    });
  const contents = canonicalJson({ FORMAT, config, matrices, embedding, seed });
  const name = `random-${matrices}-${embedding}-${sha256Hex(contents).slice(0, 16)}`;
  const file = path.join(folder, `${name}.gguf`);
  if (await hostFileSystem.exists(file)) return file;
  await hostFileSystem.makeFolder(folder);
  const infos = tensorInfos(config);
  const tokenizer = syntheticTokenizer(config.vocab_size);
  const entries = [...ggufConfigEntries(config, matrices, name), ...tokenizerEntries(tokenizer)];
  const tensors = infos.map(tensorMaker({ config, matrices, embedding, seed }, infos));
  await replaceFile(hostFileSystem, file, (out) => writeGguf(out, entries, tensors));
  return file;
}
