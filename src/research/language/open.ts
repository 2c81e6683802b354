/** Opens a language task: its options, its texts, their split, and whether the texts are enough. */
import { didYouMean } from "../../core/did-you-mean.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { MixedReader } from "../../model/batch-reader.ts";
import { type Task, taskError } from "../task/load.ts";
import { parseConfiguration } from "./configuration.ts";
import { readCorpus } from "./documents.ts";
import { LanguageDomain } from "./domain.ts";
import { type LanguageOptions, languageOptionsSchema } from "./options.ts";

/** Throws BAD_TASK naming the key at fault, with the nearest known one. */
export function languageOptionsOf(task: Task): LanguageOptions {
  const result = languageOptionsSchema.safeParse(task.language ?? {});
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = ["language", ...(issue?.path ?? [])].join(".");
  const known = Object.keys(languageOptionsSchema.shape);
  const hint =
    issue?.code === "unrecognized_keys"
      ? didYouMean(issue.keys[0] ?? "", known, `keys are ${known.join(", ")}`)
      : `"language" of a task: ${known.join(", ")}`;
  throw taskError(`${task.file}: ${where}: ${issue?.message ?? "unusable"}`, hint);
}

/**
 * The baseline must have a vocabulary and a sequence of every source: without them every trial would
 * fail, one after the other. Both are needed by the first trial anyway, and kept.
 */
async function requireEnoughText(domain: LanguageDomain): Promise<void> {
  const { vocab_size, context } = parseConfiguration(domain.baseline(), domain.data.domains);
  const told = (error: unknown, field: string, value: number): never => {
    const { code, message } = toMagnetError(error);
    if (code !== "CORPUS_TOO_SMALL" && code !== "DATA_TOO_SMALL") throw error;
    throw new MagnetError(code, `too little training text: ${message}`, {
      hint: `add text, or set a smaller language.baseline.${field} (now ${value})`,
      cause: error,
    });
  };
  const { sources } = await domain.data
    .vocabulary(vocab_size)
    .catch((error) => told(error, "vocab_size", vocab_size));
  try {
    new MixedReader(sources, { context, seed: 0n, slice_index: 0, slice_count: 1 });
  } catch (error) {
    told(error, "context", context);
  }
}

/**
 * Throws BAD_TASK, BAD_CONFIGURATION, NOT_FOUND, DATA_EMPTY, DATA_NOT_TEXT, DATA_TOO_SMALL,
 * CORPUS_TOO_SMALL.
 */
export async function openLanguageTask(
  task: Task,
  open: { threads?: number; signal?: AbortSignal } = {},
): Promise<LanguageDomain> {
  const options = languageOptionsOf(task);
  const { text_field } = options;
  const corpus = await readCorpus(task.data, { text_field, signal: open.signal });
  const { name, seed } = task;
  const threads = open.threads ?? 1;
  const domain = LanguageDomain.open({ name, corpus, seed, options, threads });
  await requireEnoughText(domain);
  return domain;
}
