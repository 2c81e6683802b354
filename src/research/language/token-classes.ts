/** Classes of tokens by what they spell: where a model fails, it often fails on one of them. */
import type { MeasuringVocabulary } from "./text-data.ts";

export const TOKEN_CLASSES = ["words", "numbers", "punctuation", "space", "rare"] as const;
const RARE = TOKEN_CLASSES.indexOf("rare");

/** A token that makes up less of the training text than this is rare. */
const RARE_SHARE = 2e-5;
const SPACE = 32;

const isDigit = (byte: number) => byte >= 48 && byte <= 57;
const isLetter = (byte: number) => byte >= 128 || ((byte | 32) >= 97 && (byte | 32) <= 122);

/** The class of a token's text: digits anywhere, then letters, then anything visible. */
function classOf(text: Uint8Array): number {
  if (text.some(isDigit)) return TOKEN_CLASSES.indexOf("numbers");
  if (text.some(isLetter)) return TOKEN_CLASSES.indexOf("words");
  const visible = text.some((byte) => byte > SPACE);
  return TOKEN_CLASSES.indexOf(visible ? "punctuation" : "space");
}

/** Class of each id; special tokens count as space, they have no bytes. */
export function tokenClasses({ tokenizer, counts }: MeasuringVocabulary): Uint8Array {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const special = new Set(tokenizer.specials.map(({ id }) => id));
  return Uint8Array.from(tokenizer.tokens(), (text, id) => {
    if (special.has(id)) return TOKEN_CLASSES.indexOf("space");
    return counts[id]! < RARE_SHARE * total ? RARE : classOf(text);
  });
}
