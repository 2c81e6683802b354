/**
 * Llama-3's vocabulary (128,256 tokens) as a tokenizer.json in the cache folder only: the 618M model
 * is defined with it.
 */
import fs from "node:fs";
import path from "node:path";
import { llama3Peer, llama3TokenizerJson } from "../../model/llama3-vocabulary.ts";
import { type ProofContext, writeWhole } from "./context.ts";

/** The file's path; made where it is not there yet. */
export async function llama3Tokenizer(context: ProofContext): Promise<string> {
  const file = path.join(context.dir, "tokenizer-llama3.json");
  if (!fs.existsSync(file)) writeWhole(file, llama3TokenizerJson(await llama3Peer()));
  return file;
}
