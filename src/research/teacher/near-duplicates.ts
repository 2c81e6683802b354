/**
 * Near-duplicates among generated texts, and overlap with an evaluation set. Texts are compared as
 * sets of word 5-grams: MinHash signatures in bands find candidates (Broder 1997), whose Jaccard
 * similarity is then computed exactly.
 */

/** Texts at least this alike are one. 0.8 is customary for training text. */
export const SIMILARITY_MAX = 0.8;
const SHINGLE_WORDS = 5;
/** 16 bands of 4 rows find a pair of similarity 0.8 with probability 0.9998, one of 0.3 with 0.12. */
const BANDS = 16;
const ROWS = 4;

/** Words without case and punctuation; scripts without spaces are cut into characters. */
export function wordsOf(text: string): string[] {
  const folded = text.normalize("NFKC").toLowerCase();
  return (
    folded.match(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{N}]+/gu) ?? []
  );
}

/** 32-bit FNV-1a with a final mix. */
function hash(text: string, seed: number): number {
  let h = 2166136261 ^ seed;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** N-grams of words as hashes; a text shorter than n words is one gram. */
export function gramsOf(text: string, n: number): Set<number> {
  const words = wordsOf(text);
  const grams = new Set<number>();
  for (let i = 0; i + n <= words.length; i++) grams.add(hash(words.slice(i, i + n).join(" "), 0));
  if (grams.size === 0 && words.length > 0) grams.add(hash(words.join(" "), 0));
  return grams;
}

function similarity(a: ReadonlySet<number>, b: ReadonlySet<number>): number {
  if (a.size === 0 && b.size === 0) return 1;
  let common = 0;
  for (const gram of a) if (b.has(gram)) common++;
  return common / (a.size + b.size - common);
}

function bandKeys(grams: ReadonlySet<number>): string[] {
  const smallest = new Uint32Array(BANDS * ROWS).fill(0xffffffff);
  for (const gram of grams)
    for (let i = 0; i < smallest.length; i++) {
      // An odd multiplier and a shift permute the 32-bit numbers well enough for a minimum.
      let h = Math.imul(gram ^ (i * 0x9e3779b9), 0x85ebca6b + 2 * i);
      h = (h ^ (h >>> 15)) >>> 0;
      if (h < smallest[i]!) smallest[i] = h;
    }
  return Array.from(
    { length: BANDS },
    (_, b) => `${b}:${smallest.subarray(b * ROWS, (b + 1) * ROWS).join(",")}`,
  );
}

/** Keeps the first of texts that are nearly the same. */
export class SeenTexts {
  private readonly bands = new Map<string, Set<number>[]>();

  /** Adds a text and returns true, or returns false where one much like it was added before. */
  add(text: string): boolean {
    const grams = gramsOf(text, SHINGLE_WORDS);
    const keys = bandKeys(grams);
    for (const key of keys)
      for (const other of this.bands.get(key) ?? [])
        if (similarity(grams, other) >= SIMILARITY_MAX) return false;
    for (const key of keys) {
      const list = this.bands.get(key);
      if (list) list.push(grams);
      else this.bands.set(key, [grams]);
    }
    return true;
  }
}

/** Words in a row that two independent texts hardly share: GPT-3's check uses 13, PaLM's 8. */
export const CONTAMINATION_WORDS = 8;
/** Share of a text's 8-grams that may occur in the evaluation set: idioms and quotations do. */
export const CONTAMINATION_SHARE_MAX = 0.1;

/** Knows an evaluation set and tells how much of a text stands in it. */
export class EvaluationGrams {
  private readonly grams = new Set<number>();

  add(text: string): void {
    for (const gram of gramsOf(text, CONTAMINATION_WORDS)) this.grams.add(gram);
  }

  get size(): number {
    return this.grams.size;
  }

  /** Share in [0, 1] of the text's word 8-grams that occur in the evaluation set. */
  share(text: string): number {
    const grams = gramsOf(text, CONTAMINATION_WORDS);
    let found = 0;
    for (const gram of grams) if (this.grams.has(gram)) found++;
    return grams.size === 0 ? 0 : found / grams.size;
  }
}
