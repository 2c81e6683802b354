/**
 * The engine `bitnet.cpp`: a GGUF file computed by bitnet.cpp or llama.cpp, behind the face of
 * magnet's own engine, for runs side by side. Scheduler, tokenizer and sampling are magnet's.
 */
import path from "node:path";
import { MagnetError } from "../../core/errors.ts";
import { CPU } from "../../native/device.ts";
import { endTokens } from "../chat-format.ts";
import { type ModelConfig, parseModelConfig } from "../config.ts";
import { Constraints } from "../constraint/constraints.ts";
import { GgufFile } from "../gguf-file.ts";
import { ggufTokenizer, type LoadOptions, modelKind } from "../load-model.ts";
import { BitnetCppBackend } from "./bitnet-cpp-backend.ts";
import { BatchEngine } from "./engine.ts";
import { poolBlocks } from "./native-backend.ts";
import type { TextModel } from "./open-text-model.ts";
import type { EngineOptions } from "./types.ts";

/** llama.cpp numbers up to 256 sequences; two numbers for each that runs. */
const SEQUENCES_MAX = 64;
const SEQUENCES_DEFAULT = 16;

/** The shape that a file states. Throws BAD_MODEL_CONFIG naming what it lacks. */
function configOf(file: GgufFile, vocab_size: number): ModelConfig {
  const arch = String(file.value("general.architecture"));
  const number = (key: string) => {
    const value = file.value(`${arch}.${key}`);
    return typeof value === "number" ? value : undefined;
  };
  const n_heads = number("attention.head_count");
  const d_model = number("embedding_length");
  const even = n_heads && d_model ? d_model / n_heads : undefined;
  const config = {
    variant: arch.startsWith("bitnet") ? "bitnet" : "llama",
    ...{ vocab_size, d_model, n_heads },
    n_layers: number("block_count"),
    n_kv_heads: number("attention.head_count_kv") ?? n_heads,
    head_dim: number("attention.key_length") ?? even,
    d_ff: number("feed_forward_length"),
    context: number("context_length"),
    rope_theta: number("rope.freq_base"),
    norm_eps: number("attention.layer_norm_rms_epsilon"),
  };
  return parseModelConfig(config, file.name);
}

/**
 * Opens it. Throws BITNET_CPP_ABSENT where this build has none, GGUF_NEEDED for another kind of
 * model, and BAD_FORMAT with what the library says of a file that it does not load.
 */
export async function openBitnetCpp(
  model: string,
  options: LoadOptions & EngineOptions,
): Promise<TextModel> {
  const kind = await modelKind(model);
  if (kind !== "gguf")
    throw new MagnetError("GGUF_NEEDED", `the engine bitnet.cpp opens .gguf files, not ${model}`, {
      hint: `export it: magnet export gguf ${model} --out FILE`,
      exit: "usage",
    });
  if (options.head !== undefined && options.head !== "file")
    throw new MagnetError("BAD_HEAD", "the engine bitnet.cpp computes with the file's head", {
      hint: "leave --head out, or take --engine magnet",
      exit: "usage",
    });
  const sequences_max = Math.min(options.sequences_max ?? SEQUENCES_DEFAULT, SEQUENCES_MAX);
  const gguf = await GgufFile.open(model);
  try {
    const tokenizer = await ggufTokenizer(gguf, options.tokenizer_path);
    const config = configOf(gguf, tokenizer.vocab_size);
    const backend = await BitnetCppBackend.open(model, {
      blocks: poolBlocks(config, options),
      ...{ sequences_max, threads: options.threads ?? 0 },
      context: options.context ?? config.context,
      flash_attention: options.rounding !== "llamacpp",
      constraints: new Constraints(tokenizer, endTokens(tokenizer)),
    });
    const engine = new BatchEngine(backend, { ...options, sequences_max, prefix_cache: false });
    const name = path.parse(path.resolve(model)).name;
    const close = () => engine.close();
    return { kind, path: model, name, config, tokenizer, engine, device: CPU, close };
  } finally {
    gguf.close();
  }
}
