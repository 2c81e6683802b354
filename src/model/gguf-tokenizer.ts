/**
 * The tokenizer inside a GGUF file: metadata from a Tokenizer, and a Tokenizer from metadata. The
 * file must say `gpt2` and `llama-bpe`: with any other pre-tokenizer, our ids would differ from the
 * model's.
 */
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { cpuInfer } from "../native/infer.ts";
import { NativeTokenizer } from "../native/tokenizer.ts";
import { CHAT_TEMPLATE } from "./chat-template.ts";
import type { GgufFile } from "./gguf-file.ts";
import type { GgufEntry } from "./gguf-writer.ts";
import { Tokenizer, type TokenizerNotes } from "./tokenizer.ts";

const HASH_KEY = "magnet.tokenizer_hash";

/** The tokenizer.* entries of a file. */
export function tokenizerEntries(tokenizer: Tokenizer): GgufEntry[] {
  const { bos_id, eos_id } = tokenizer;
  const entries: GgufEntry[] = [
    { key: "tokenizer.ggml.model", type: "string", value: "gpt2" },
    { key: "tokenizer.ggml.pre", type: "string", value: "llama-bpe" },
    { key: "tokenizer.ggml.tokens", type: "string[]", value: tokenizer.ggufTokens() },
    { key: "tokenizer.ggml.token_type", type: "i32[]", value: tokenizer.ggufTokenTypes() },
    { key: "tokenizer.ggml.merges", type: "string[]", value: tokenizer.ggufMerges() },
  ];
  if (bos_id !== null)
    entries.push({ key: "tokenizer.ggml.bos_token_id", type: "u32", value: bos_id });
  if (eos_id !== null)
    entries.push({ key: "tokenizer.ggml.eos_token_id", type: "u32", value: eos_id });
  // Stated, because llama-bpe implies true, which a vocabulary without a begin token cannot do.
  entries.push({ key: "tokenizer.ggml.add_bos_token", type: "bool", value: bos_id !== null });
  entries.push({ key: "tokenizer.ggml.add_eos_token", type: "bool", value: false });
  if (tokenizer.specialId("<|user|>") !== null && tokenizer.specialId("<|assistant|>") !== null)
    entries.push({ key: "tokenizer.chat_template", type: "string", value: CHAT_TEMPLATE });
  entries.push({ key: HASH_KEY, type: "string", value: tokenizer.hash });
  return entries;
}

/** What the file says beside the tokens; a value of another kind counts as none. */
function notesOf(file: GgufFile): TokenizerNotes {
  const number = (key: string) => {
    const value = file.value(key);
    return typeof value === "number" ? value : undefined;
  };
  const template = file.value("tokenizer.chat_template");
  return {
    bos_id: number("tokenizer.ggml.bos_token_id"),
    eos_id: number("tokenizer.ggml.eos_token_id"),
    chat_template: typeof template === "string" ? template : undefined,
  };
}

/**
 * The arrays of the vocabulary are read by the CPU's library, on a worker. Throws BAD_TOKENIZER, or
 * TOKENIZER_MISMATCH where the file names another tokenizer's hash.
 */
export async function tokenizerFromGguf(file: GgufFile): Promise<Tokenizer> {
  const notes = notesOf(file);
  const stated = file.value(HASH_KEY);
  let native: NativeTokenizer;
  try {
    native = await NativeTokenizer.fromGguf(file.handleOf(cpuInfer));
  } catch (error) {
    const failure = toMagnetError(error);
    if (failure.code !== "BAD_FORMAT") throw failure;
    throw new MagnetError("BAD_TOKENIZER", `${file.name}: ${failure.message}`, {
      hint: "magnet reads byte-level BPE vocabularies with the Llama-3 pattern (gpt2, llama-bpe)",
      exit: "verification",
    });
  }
  const tokenizer = new Tokenizer(native, notes);
  if (stated !== undefined && stated !== tokenizer.hash)
    throw new MagnetError(
      "TOKENIZER_MISMATCH",
      `GGUF: the vocabulary hashes to ${tokenizer.hash.slice(0, 16)}..., the file says ${String(stated).slice(0, 16)}...`,
      { hint: "the file was changed after its export; export it again", exit: "verification" },
    );
  return tokenizer;
}
