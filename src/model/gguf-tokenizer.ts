/**
 * The tokenizer inside a GGUF file: metadata from a Tokenizer, and a Tokenizer from metadata. The
 * file must say `gpt2` and `llama-bpe`: with any other pre-tokenizer, our ids would differ from the
 * model's.
 */
import { MagnetError } from "../core/errors.ts";
import { fromByteAlphabet } from "./byte-alphabet.ts";
import { CHAT_TEMPLATE } from "./chat-template.ts";
import type { GgufValue } from "./gguf-file.ts";
import type { GgufEntry } from "./gguf-writer.ts";
import { GGUF_TOKEN_NORMAL, Tokenizer, type TokenizerNotes } from "./tokenizer.ts";

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

const bad = (what: string) =>
  new MagnetError("BAD_TOKENIZER", `GGUF: ${what}`, {
    hint: "magnet reads byte-level BPE vocabularies with the Llama-3 pattern (gpt2, llama-bpe)",
    exit: "verification",
  });

function strings(metadata: Map<string, GgufValue>, key: string): string[] {
  const value = metadata.get(key);
  if (!Array.isArray(value) || value.some((item) => typeof item !== "string"))
    throw bad(`${key} is not an array of strings`);
  return value as string[];
}

function mergePairs(merges: readonly string[], ids: Map<string, number>): Uint32Array {
  const pairs = new Uint32Array(2 * merges.length);
  for (const [rank, merge] of merges.entries()) {
    const halves = merge.split(" ");
    const found = halves.map((half) => ids.get(half));
    if (halves.length !== 2 || found[0] === undefined || found[1] === undefined)
      throw bad(`merge ${rank} does not join two tokens`);
    pairs[2 * rank] = found[0];
    pairs[2 * rank + 1] = found[1];
  }
  return pairs;
}

/** What the file says beside the tokens; a value of another kind counts as none. */
function notesOf(metadata: Map<string, GgufValue>): TokenizerNotes {
  const number = (key: string) => {
    const value = metadata.get(key);
    return typeof value === "number" ? value : undefined;
  };
  const template = metadata.get("tokenizer.chat_template");
  return {
    bos_id: number("tokenizer.ggml.bos_token_id"),
    eos_id: number("tokenizer.ggml.eos_token_id"),
    chat_template: typeof template === "string" ? template : undefined,
  };
}

/** Throws BAD_TOKENIZER, or TOKENIZER_MISMATCH where the file names another tokenizer's hash. */
export function tokenizerFromGguf(metadata: Map<string, GgufValue>): Tokenizer {
  if (metadata.get("tokenizer.ggml.model") !== "gpt2")
    throw bad(`tokenizer.ggml.model is ${String(metadata.get("tokenizer.ggml.model"))}, not gpt2`);
  if (metadata.get("tokenizer.ggml.pre") !== "llama-bpe")
    throw bad(`tokenizer.ggml.pre is ${String(metadata.get("tokenizer.ggml.pre"))}, not llama-bpe`);
  const names = strings(metadata, "tokenizer.ggml.tokens");
  const types = metadata.get("tokenizer.ggml.token_type");
  const isNormal = (id: number) => !Array.isArray(types) || types[id] === GGUF_TOKEN_NORMAL;
  const specials = names.map((content, id) => ({ id, content })).filter(({ id }) => !isNormal(id));
  const tokens = names.map((name, id) =>
    isNormal(id) ? fromByteAlphabet(name) : new TextEncoder().encode(name),
  );
  const ids = new Map(names.map((name, id) => [name, id]));
  const merges = mergePairs(strings(metadata, "tokenizer.ggml.merges"), ids);
  const data = { tokens, merges, specials, ignore_merges: true };
  const tokenizer = new Tokenizer(data, notesOf(metadata));
  const stated = metadata.get(HASH_KEY);
  if (stated !== undefined && stated !== tokenizer.hash)
    throw new MagnetError(
      "TOKENIZER_MISMATCH",
      `GGUF: the vocabulary hashes to ${tokenizer.hash.slice(0, 16)}..., the file says ${String(stated).slice(0, 16)}...`,
      { hint: "the file was changed after its export; export it again", exit: "verification" },
    );
  return tokenizer;
}
