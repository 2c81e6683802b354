/**
 * Generated text whose structure a tiny model learns in some hundred steps: made-up words that follow
 * one another by fixed rules, other words in each domain.
 */
import { seededRandom } from "../../../src/core/random.ts";
import type { Corpus } from "../../../src/research/language/documents.ts";
import { corpusOf } from "../../../src/research/language/documents.ts";
import { LanguageDomain } from "../../../src/research/language/domain.ts";
import {
  type LanguageSettings,
  languageOptionsSchema,
} from "../../../src/research/language/options.ts";
import type { Configuration, Failure, Trial } from "../../../src/research/types.ts";

const CONSONANTS = "bdfgklmnprstvz";
const VOWELS = "aeiou";

export interface DomainSpec {
  readonly name: string;
  readonly documents: number;
  /** Characters of a document, about. */
  readonly length?: number;
  /** Words; few are quickly learnt. */
  readonly words?: number;
  /** Words that can follow a word: the more, the harder. */
  readonly successors?: number;
}

function wordList(count: number, seed: number): string[] {
  const random = seededRandom(seed);
  const pick = (from: string) => from[random.below(from.length)]!;
  const words = new Set<string>();
  while (words.size < count) {
    const syllables = 1 + random.below(3);
    words.add(Array.from({ length: syllables }, () => pick(CONSONANTS) + pick(VOWELS)).join(""));
  }
  return [...words];
}

/** Texts of one domain: a walk over its words, each step one of the few that may follow. */
function textsOf(spec: DomainSpec, seed: number): { domain: string; bytes: Uint8Array }[] {
  const { name, documents, length = 1500, words: count = 60, successors = 3 } = spec;
  const words = wordList(count, seed);
  const random = seededRandom(seed + 1);
  const next = words.map(() => Array.from({ length: successors }, () => random.below(count)));
  return Array.from({ length: documents }, () => {
    let word = random.below(count);
    let text = "";
    while (text.length < length) {
      text += `${words[word]}${random.below(12) === 0 ? ". " : " "}`;
      word = next[word]![random.below(successors)]!;
    }
    return { domain: name, bytes: new TextEncoder().encode(text.trim()) };
  });
}

export const corpusFor = (specs: readonly DomainSpec[], seed = 5): Corpus =>
  corpusOf(specs.flatMap((spec, i) => textsOf(spec, seed + 100 * i)));

/** A model that learns such text in a second. */
export const SMALL: Configuration = {
  ...{ vocab_size: 320, d_model: 32, n_layers: 2, head_dim: 16, group: 1, ffn: 2 },
  ...{ context: 32, batch: 4, optimizer: "muon", lr: 0.01 },
};

export type TaskSettings = Omit<LanguageSettings, "baseline"> & { baseline?: Configuration };

export function openDomain(corpus: Corpus, settings: TaskSettings = {}): LanguageDomain {
  const options = languageOptionsSchema.parse({
    ...{ tokens: 24_000, evaluation_context: 32, evaluation_bytes: 16_384 },
    held_out: { search: 0.15, gate: 0.1, sealed: 0.15 },
    ...settings,
    baseline: { ...SMALL, ...settings.baseline } as LanguageSettings["baseline"],
  });
  return LanguageDomain.open({ name: "generated", corpus, seed: 1, options });
}

/** Runs one configuration and analyses it. */
export async function failuresOf(
  domain: LanguageDomain,
  change: Configuration = {},
): Promise<{ trial: Trial; failures: Failure[] }> {
  const configuration = domain.parse({ ...domain.baseline(), ...change });
  const spec = { task_hash: domain.task_hash, configuration, seed: 1, fidelity: 1 };
  const outcome = await domain.evaluate(spec, { threads: 1 });
  const place = { version: 0, strategy: "baseline", proposer: "baseline" } as const;
  const trial: Trial = { index: 0, place, spec, state: "done", outcome, error: null };
  return { trial, failures: await domain.analyse(trial) };
}
