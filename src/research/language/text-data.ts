/**
 * Tokens for training and excerpts for measuring, made once for each vocabulary. A tokenizer is
 * trained on training documents alone: what is held out may not shape it.
 */
import { MagnetError } from "../../core/errors.ts";
import type { DataSource } from "../../model/batch-reader.ts";
import { tokenByteLengths } from "../../model/evaluate.ts";
import { tokeniseParts } from "../../model/tokenise.ts";
import { Tokenizer } from "../../model/tokenizer.ts";
import type { CorpusParts, LanguageDocument } from "./documents.ts";
import { type Excerpt, excerptsOf } from "./excerpts.ts";

/** Text that a tokenizer is trained on at most; more hardly changes a small vocabulary. */
const TOKENIZER_BYTES = 2 << 20;

/** One vocabulary and the training text in it. */
export interface Vocabulary {
  readonly tokenizer: Tokenizer;
  readonly sources: readonly DataSource[];
  /** How often each id occurs in the training text. */
  readonly counts: Uint32Array;
  /** Bytes of text of each id. */
  readonly byte_lengths: Uint16Array;
  /** Of the training text. */
  readonly bytes_per_token: number;
}

/** What measuring a model needs of its vocabulary. */
export type MeasuringVocabulary = Pick<Vocabulary, "tokenizer" | "counts" | "byte_lengths">;

/** Of a saved model, whose training text is not at hand: no token counts as rare. */
export const vocabularyOf = (tokenizer: Tokenizer): MeasuringVocabulary => ({
  tokenizer,
  counts: new Uint32Array(tokenizer.vocab_size),
  byte_lengths: tokenByteLengths(tokenizer),
});

/** Documents up to a number of bytes; they come in an order that their hashes give. */
function sampleOf(documents: readonly LanguageDocument[], domains: number): Uint8Array[] {
  const total = documents.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const share = Math.min(1, TOKENIZER_BYTES / total);
  return Array.from({ length: domains }, (_, domain) => {
    const own = documents.filter((document) => document.domain === domain);
    const wanted = share * own.reduce((sum, { bytes }) => sum + bytes.length, 0);
    let taken = 0;
    return own.flatMap(({ bytes }) => {
      if (taken >= wanted) return [];
      const part = bytes.subarray(0, Math.ceil(wanted - taken));
      taken += part.length;
      return [part];
    });
  }).flat();
}

const partOf = ({ bytes }: LanguageDocument) => ({ bytes, starts: true, ends: true });

/** Documents of each domain as a source of training data, weighted by its size. */
export async function sourcesOf(
  documents: readonly LanguageDocument[],
  domains: readonly string[],
  tokenizer: Tokenizer,
): Promise<DataSource[]> {
  const sources: DataSource[] = [];
  for (const [index, name] of domains.entries()) {
    const parts = documents.filter(({ domain }) => domain === index).map(partOf);
    const train = await tokeniseParts(name, parts, tokenizer);
    sources.push({ name, weight: train.token_count, train, heldout: null });
  }
  return sources;
}

function countTokens(sources: readonly DataSource[], vocab_size: number): Uint32Array {
  const counts = new Uint32Array(vocab_size);
  for (const { train } of sources)
    for (const id of train.tokens(0, train.token_count)) counts[id]!++;
  return counts;
}

export class TextData {
  readonly #vocabularies = new Map<number, Promise<Vocabulary>>();
  /** What is measured on, by part; `train` are excerpts of what was trained on. */
  readonly excerpts: { readonly [part in keyof CorpusParts]: readonly Excerpt[] };

  constructor(
    readonly domains: readonly string[],
    readonly parts: CorpusParts,
    evaluation_bytes: number,
  ) {
    const { search, gate, sealed } = parts;
    const count = search.length;
    // Evenly spread over the training documents, as many as are held out for the search.
    const step = Math.max(1, Math.floor(parts.train.length / count));
    const sample = parts.train.filter((_, i) => i % step === 0).slice(0, count);
    this.excerpts = {
      train: excerptsOf(sample, evaluation_bytes),
      search: excerptsOf(search, evaluation_bytes),
      gate: excerptsOf(gate, evaluation_bytes),
      sealed: excerptsOf(sealed, evaluation_bytes),
    };
  }

  /** Throws CORPUS_TOO_SMALL where the text does not give such a vocabulary. */
  vocabulary(size: number): Promise<Vocabulary> {
    const known = this.#vocabularies.get(size);
    if (known) return known;
    const made = this.#make(size);
    this.#vocabularies.set(size, made);
    return made;
  }

  async #make(vocab_size: number): Promise<Vocabulary> {
    const { domains, parts } = this;
    const sample = sampleOf(parts.train, domains.length);
    const tokenizer = await Tokenizer.train(sample, { vocab_size });
    const { bos_id } = tokenizer;
    if (bos_id === null) throw new MagnetError("BAD_TOKENIZER", "no begin token");
    const sources = await sourcesOf(parts.train, domains, tokenizer);
    const counts = countTokens(sources, vocab_size);
    const tokens = sources.reduce((sum, { train }) => sum + train.token_count, 0);
    const bytes = parts.train.reduce((sum, document) => sum + document.bytes.length, 0);
    const byte_lengths = tokenByteLengths(tokenizer);
    return { tokenizer, sources, counts, byte_lengths, bytes_per_token: bytes / tokens };
  }
}
