/** `magnet tokenizer`: trains a byte-level BPE vocabulary, and turns text into ids and back. */

import { readSmallFile, requireReplaceable } from "../core/read-file.ts";
import { sampleTexts } from "../model/data.ts";
import { hostFileSystem, replaceFile } from "../model/file-system.ts";
import { mixtureTexts } from "../model/mixture-sample.ts";
import { splitSources } from "../model/mixture-split.ts";
import { type NamedSource, parseSources } from "../model/source-list.ts";
import { HELDOUT_FRACTION } from "../model/tokenise.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { defineCommand, defineGroup } from "./frame/command.ts";
import { usageError } from "./frame/strict.ts";
import { parseIds } from "./ids.ts";
import { readStdin } from "./stdin.ts";

/** Text given on the command line or through a pipe; more belongs into `data prepare`. */
const INPUT_BYTES_MAX = 64 * 2 ** 20;

/** The argument, the file, or else all of standard input. */
async function inputBytes(text: string | undefined, file: string | undefined): Promise<Uint8Array> {
  if (text !== undefined && file !== undefined)
    throw usageError("TWO_INPUTS", "both TEXT and --file are given", "give one of them");
  if (text !== undefined) return new TextEncoder().encode(text);
  if (file !== undefined) return readSmallFile(file, INPUT_BYTES_MAX);
  return readStdin(INPUT_BYTES_MAX, "for whole corpora: magnet data prepare");
}

const tokenizerFile = { value: "TOKENIZER", summary: "a tokenizer.json" } as const;

/** What `magnet train` would hold out of these sources. */
const splitsOf = (
  sources: readonly NamedSource[],
  options: { text_field: string | undefined; signal: AbortSignal },
) =>
  splitSources(
    sources.map((source) => source.path),
    HELDOUT_FRACTION,
    options,
  );

const train = defineCommand({
  summary: "Trains a byte-level BPE tokenizer on text files",
  details: "Writes a tokenizer.json that Hugging Face's and llama.cpp's loaders read.",
  examples: [
    {
      command: "magnet tokenizer train books/ --vocab-size 8192 --out tokenizer.json",
      does: "learn 8192 tokens from a folder of text",
    },
  ],
  args: {
    paths: {
      value: "PATH[=WEIGHT]",
      summary: "text or JSONL files, or folders of them",
      many: true,
    },
  },
  flags: {
    "vocab-size": {
      type: "integer",
      min: 300,
      max: 1_000_000,
      default: 8192,
      summary: "number of tokens, special ones included",
    },
    "text-field": { type: "string", value: "NAME", summary: "field of JSONL (default text)" },
    out: { type: "string", value: "FILE", default: "tokenizer.json", summary: "where to write" },
  },
  async run({ out, signal }, { args, flags }) {
    requireReplaceable(flags.out, "{");
    const { text_field } = flags;
    const sources = await parseSources(args.paths);
    const read = { text_field, signal };
    const texts = sources
      ? mixtureTexts({ sources, splits: await splitsOf(sources, read), ...read })
      : sampleTexts({ inputs: args.paths, ...read });
    let text_bytes = 0;
    const counted = async function* () {
      for await (const text of texts) {
        text_bytes += text.length;
        yield text;
      }
    };
    const started = performance.now();
    const tokenizer = await Tokenizer.train(counted(), { vocab_size: flags.vocab_size, signal });
    const took_ms = Math.round(performance.now() - started);
    await replaceFile(hostFileSystem, flags.out, (file) =>
      file.write(new TextEncoder().encode(tokenizer.toJson())),
    );
    const { vocab_size, hash } = tokenizer;
    const data = { file: flags.out, vocab_size, tokenizer_hash: hash, text_bytes, took_ms };
    out.result("tokenizer_train", data, `${flags.out}: ${vocab_size} tokens, hash ${hash}`);
  },
});

const encode = defineCommand({
  summary: "Turns text into token ids",
  examples: [
    { command: 'magnet tokenizer encode tokenizer.json "Call me Ishmael."', does: "ids of a text" },
    { command: "magnet tokenizer encode tokenizer.json < book.txt", does: "ids of a pipe" },
  ],
  args: {
    tokenizer: tokenizerFile,
    text: { value: "TEXT", summary: "otherwise --file or standard input", optional: true },
  },
  flags: { file: { type: "string", value: "PATH", summary: "read the text from a file" } },
  async run({ out }, { args, flags }) {
    const tokenizer = await Tokenizer.load(args.tokenizer);
    const bytes = await inputBytes(args.text, flags.file);
    const ids = [...tokenizer.encodeBytes(bytes)];
    const data = { tokenizer_hash: tokenizer.hash, text_bytes: bytes.length, ids };
    out.result("tokenizer_encode", data, () => ids.join(","));
  },
});

const decode = defineCommand({
  summary: "Turns token ids into text",
  examples: [{ command: "magnet tokenizer decode tokenizer.json 17,4,901", does: "the text" }],
  args: {
    tokenizer: tokenizerFile,
    ids: { value: "IDS", summary: "parted by commas; otherwise standard input", optional: true },
  },
  flags: {},
  async run({ out }, { args }) {
    const tokenizer = await Tokenizer.load(args.tokenizer);
    const given = args.ids ?? new TextDecoder().decode(await inputBytes(undefined, undefined));
    const text = tokenizer.decode(parseIds(given, tokenizer.vocab_size));
    out.result("tokenizer_decode", { tokenizer_hash: tokenizer.hash, text }, text);
  },
});

export const tokenizer = defineGroup("Trains and uses tokenizers", { train, encode, decode });
