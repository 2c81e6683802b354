/**
 * Llama-3's vocabulary as the tokenizer.json that Hugging Face gives it: 128,000 tokens and 256
 * special ones, read from npm llama3-tokenizer-js (tests only: its licence is Meta's). Written
 * without magnet's own code, so that loading it is a test.
 */
import path from "node:path";

/** Tokens in front of the special ones. */
const ORDINARY = 128_000;
const PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" +
  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

export interface Llama3Peer {
  vocabById: string[];
  /** "first second" to rank. */
  merges: Map<string, number>;
  encode(text: string, options: { bos: boolean; eos: boolean }): number[];
  decode(ids: number[]): string;
}

/** The peer: the same vocabulary with an encoder of its own. */
export async function llama3Peer(): Promise<Llama3Peer> {
  const folder = path.join(import.meta.dir, "../peers/node_modules/llama3-tokenizer-js/bundle");
  const module = path.join(folder, "llama3-tokenizer-with-baked-data.js");
  return ((await import(module)) as { default: Llama3Peer }).default;
}

export function llama3TokenizerJson(peer: Llama3Peer): string {
  const names = peer.vocabById;
  const merges = [...peer.merges].sort(([, a], [, b]) => a - b).map(([pair]) => pair);
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  return JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: names.slice(ORDINARY).map((content, i) => ({
      id: ORDINARY + i,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: PATTERN }, behavior: "Isolated", invert: false },
        { ...bytes, use_regex: false },
      ],
    },
    post_processor: { ...bytes, use_regex: true },
    decoder: { ...bytes, add_prefix_space: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: true,
      vocab: Object.fromEntries(names.slice(0, ORDINARY).map((name, id) => [name, id])),
      merges,
    },
  });
}
