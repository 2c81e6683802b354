/**
 * Llama-3's vocabulary (128,256 tokens) as a tokenizer.json: the 618M model is defined with it. It
 * is read from the npm package llama3-tokenizer-js and written to the cache folder only.
 */
import fs from "node:fs";
import path from "node:path";
import { fromByteAlphabet } from "../../../src/model/byte-alphabet.ts";
import { tokenizerJson } from "../../../src/model/tokenizer-json.ts";
import { type ProofContext, writeWhole } from "./context.ts";

/** Tokens in front of the special ones. */
const ORDINARY = 128_000;

interface Peer {
  vocabById: string[];
  /** "first second" to rank, from 1. */
  merges: Map<string, number>;
}

/** The file's path; made where it is not there yet. */
export async function llama3Tokenizer(context: ProofContext): Promise<string> {
  const file = path.join(context.dir, "tokenizer-llama3.json");
  if (fs.existsSync(file)) return file;
  const module = "../node_modules/llama3-tokenizer-js/bundle/llama3-tokenizer-with-baked-data.js";
  const peer = ((await import(module)) as { default: Peer }).default;
  const names = peer.vocabById;
  const ids = new Map(names.slice(0, ORDINARY).map((name, id) => [name, id]));
  const ranked = [...peer.merges].sort(([, a], [, b]) => a - b);
  const merges = ranked.flatMap(([pair]) => pair.split(" ").map((name) => ids.get(name)!));
  const specials = names.slice(ORDINARY).map((content, i) => ({ id: ORDINARY + i, content }));
  const ordinary = names.slice(0, ORDINARY).map(fromByteAlphabet);
  const tokens = [...ordinary, ...specials.map(({ content }) => new TextEncoder().encode(content))];
  const data = { tokens, merges: Uint32Array.from(merges), specials, ignore_merges: true };
  writeWhole(file, JSON.stringify(tokenizerJson(data)));
  return file;
}
