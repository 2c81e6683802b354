/** Opens a language task: its options, its texts, their split. */
import { didYouMean } from "../../core/did-you-mean.ts";
import { type Task, taskError } from "../task/load.ts";
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

/** Throws BAD_TASK, BAD_CONFIGURATION, NOT_FOUND, DATA_EMPTY, DATA_NOT_TEXT, DATA_TOO_SMALL. */
export async function openLanguageTask(
  task: Task,
  open: { threads?: number; signal?: AbortSignal } = {},
): Promise<LanguageDomain> {
  const options = languageOptionsOf(task);
  const { text_field } = options;
  const corpus = await readCorpus(task.data, { text_field, signal: open.signal });
  const { name, seed } = task;
  const threads = open.threads ?? 1;
  return LanguageDomain.open({ name, corpus, seed, options, threads });
}
