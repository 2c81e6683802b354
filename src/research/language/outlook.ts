/**
 * What a language task asks of this machine, before anything is searched: its text, what a trial
 * reads of it, and the CPU seconds of a trial, estimated from a few real steps of the baseline.
 */
import { type LanguageConfiguration, parseConfiguration } from "./configuration.ts";
import type { LanguageDocument } from "./documents.ts";
import type { LanguageDomain } from "./domain.ts";
import { sequencesOf } from "./training.ts";
import { cpuSeconds, TrainedTrial } from "./trial.ts";

export interface LanguageOutlook {
  readonly sources: number;
  readonly documents: number;
  readonly training_bytes: number;
  /** Held out for search, gate and sealed together. */
  readonly held_out_bytes: number;
  readonly tokens_per_trial: number;
  /** How often a trial reads the training text. */
  readonly passes: number;
  /** On one core of this machine. */
  readonly cpu_s_per_trial: number;
}

/** CPU seconds of real steps that are enough to tell; their number grows until they are reached. */
const TIMED_S = 0.3;
const STEPS_FIRST = 2;
const STEPS_GROWTH = 4;
/** A token that is only measured, over one that is trained on: forward alone. */
const MEASURED_PART = 1 / 3;

const bytesOf = (documents: readonly LanguageDocument[]) =>
  documents.reduce((sum, { bytes }) => sum + bytes.length, 0);

/** CPU seconds of a training token, without what a trial does once. */
async function secondsPerToken(
  domain: LanguageDomain,
  configuration: LanguageConfiguration,
): Promise<number> {
  const vocabulary = await domain.data.vocabulary(configuration.vocab_size);
  const { evaluation_context } = domain.task.options;
  const tokens_per_step = sequencesOf(configuration) * configuration.context;
  const timed = async (steps: number) => {
    const started = process.cpuUsage();
    const fixed = { configuration, seed: 0, evaluation_context, threads: 1 };
    const trial = await TrainedTrial.run({ ...fixed, tokens: steps * tokens_per_step }, vocabulary);
    trial.close();
    return cpuSeconds(started);
  };
  await timed(1); // what only the first one takes
  let steps = STEPS_FIRST;
  let used_s = await timed(steps);
  while (used_s < TIMED_S) {
    steps *= STEPS_GROWTH;
    used_s = await timed(steps);
  }
  return used_s / (steps * tokens_per_step);
}

export async function outlookOf(domain: LanguageDomain): Promise<LanguageOutlook> {
  const { data, task } = domain;
  const { train, search, gate, sealed } = data.parts;
  const configuration = parseConfiguration(domain.baseline(), data.domains);
  const { bytes_per_token } = await data.vocabulary(configuration.vocab_size);
  const { tokens, evaluation_bytes } = task.options;
  const training_bytes = bytesOf(train);
  const held_out = [...search, ...gate, ...sealed];
  // A trial is measured on held-out excerpts and on as many of what it has read.
  const measured = (2 * evaluation_bytes) / bytes_per_token;
  const work = tokens + MEASURED_PART * measured;
  return {
    sources: data.domains.length,
    documents: train.length + held_out.length,
    training_bytes,
    held_out_bytes: bytesOf(held_out),
    tokens_per_trial: tokens,
    passes: (tokens * bytes_per_token) / training_bytes,
    cpu_s_per_trial: work * (await secondsPerToken(domain, configuration)),
  };
}
