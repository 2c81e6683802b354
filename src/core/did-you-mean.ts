/** Spelling help for names that a user typed: commands, flags, configuration keys, presets. */

/**
 * Edit distance counting insertion, deletion, substitution and the swap of neighbours as one each.
 */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) best = Math.min(best, beforeLast[j - 2]! + 1);
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

/**
 * Names longer than this are not compared: nobody mistypes them, and the cost grows with both
 * lengths.
 */
const COMPARED_LENGTH_MAX = 64;

/** The candidate that `typed` probably meant, or undefined where none is near. */
export function nearest(typed: string, candidates: Iterable<string>): string | undefined {
  if (typed.length > COMPARED_LENGTH_MAX) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(typed.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(typed, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  if (best === undefined && typed.length >= 3)
    for (const candidate of candidates) if (candidate.startsWith(typed)) return candidate;
  return best;
}

/** "did you mean --seed?", or the fallback where nothing is near. */
export function didYouMean(typed: string, candidates: Iterable<string>, fallback: string): string {
  const found = nearest(typed, candidates);
  return found === undefined ? fallback : `did you mean ${found}?`;
}
