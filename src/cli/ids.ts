/** Token ids as a user types them. */
import { usageError } from "./frame/strict.ts";

/** "1,2,3" or "1 2 3" as ids below the vocabulary's size. */
export function parseIds(text: string, vocab_size: number): Int32Array {
  const words = text.trim() === "" ? [] : text.trim().split(/\s*,\s*|\s+/);
  const ids = words.map((word) => (/^\d{1,9}$/.test(word) ? Number(word) : Number.NaN));
  const bad = ids.findIndex((id) => !(id < vocab_size));
  if (ids.length === 0) throw usageError("BAD_VALUE", "no token ids are given", "write 1,2,3");
  if (bad >= 0)
    throw usageError(
      "BAD_VALUE",
      `"${words[bad]}" is not a token id`,
      `ids are whole numbers below ${vocab_size}, parted by commas`,
    );
  return Int32Array.from(ids);
}
