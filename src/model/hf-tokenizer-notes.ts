/**
 * What a Hugging Face folder says about its vocabulary beside tokenizer.json: the chat template of
 * tokenizer_config.json (or of chat_template.jinja, where newer transformers keep it), and the ids
 * that config.json states. Only hints: a file that is missing or of another shape counts as none.
 */
import fs from "node:fs";
import path from "node:path";
import { z } from "zod";
import { readSmallText } from "../core/read-file.ts";
import type { TokenizerNotes } from "./tokenizer.ts";

/** Llama-3's tokenizer_config.json has 55 kB. */
const FILE_BYTES_MAX = 4 << 20;

const named = z.object({ name: z.string(), template: z.string() });
const tokenizerConfig = z.object({
  chat_template: z.union([z.string(), z.array(named)]).nullish(),
});
/** Some models state several end tokens; the others are known by their names. */
const modelConfig = z.object({
  bos_token_id: z.int().nullish(),
  eos_token_id: z.union([z.int(), z.array(z.int()).nonempty()]).nullish(),
});

/** The text of a file of the folder, or undefined where it has none. */
function textOf(folder: string, name: string): string | undefined {
  const file = path.join(folder, name);
  return fs.existsSync(file) ? readSmallText(file, FILE_BYTES_MAX) : undefined;
}

function parsed<S extends z.ZodType>(schema: S, text: string | undefined): z.infer<S> | undefined {
  if (text === undefined) return undefined;
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined; // not JSON: no hint in it
  }
}

/** Throws the errors of unreadable files. */
export function hfTokenizerNotes(folder: string): TokenizerNotes {
  const stated = parsed(tokenizerConfig, textOf(folder, "tokenizer_config.json"))?.chat_template;
  const listed = Array.isArray(stated)
    ? stated.find(({ name }) => name === "default")?.template
    : stated;
  const ids = parsed(modelConfig, textOf(folder, "config.json"));
  const eos = ids?.eos_token_id;
  return {
    chat_template: textOf(folder, "chat_template.jinja") ?? listed ?? undefined,
    bos_id: ids?.bos_token_id ?? undefined,
    eos_id: (Array.isArray(eos) ? eos[0] : eos) ?? undefined,
  };
}
