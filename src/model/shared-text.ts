/**
 * How much of one text lies in another: the share of its bytes that are part of a run of SHARED_RUN
 * bytes which both have. Rabin-Karp's rolling hash; every hit is compared byte by byte.
 */

/** Long enough that ordinary phrases are none, short enough that a changed word hides little. */
export const SHARED_RUN = 48;
const BASE = 257;
const MODULUS = 2_147_483_629; // the largest prime whose products by 257 are exact in a double

/** Hash of a window, and how its first byte is taken out again. */
function power(): number {
  let value = 1;
  for (let i = 1; i < SHARED_RUN; i++) value = (value * BASE) % MODULUS;
  return value;
}
const FIRST = power();

/** Calls `visit` with the hash and start of every window. */
function eachWindow(text: Uint8Array, visit: (hash: number, start: number) => void): void {
  let hash = 0;
  for (let i = 0; i < text.length; i++) {
    if (i >= SHARED_RUN) {
      const out = (text[i - SHARED_RUN]! * FIRST) % MODULUS;
      hash = (hash - out + MODULUS) % MODULUS;
    }
    hash = (hash * BASE + text[i]!) % MODULUS;
    if (i >= SHARED_RUN - 1) visit(hash, i - SHARED_RUN + 1);
  }
}

/** Share of `text`, 0 to 1, that is in `other`; 0 where it is shorter than a run. */
export function sharedShare(text: Uint8Array, other: Uint8Array): number {
  const starts = new Map<number, number[]>();
  eachWindow(text, (hash, start) => {
    const known = starts.get(hash);
    if (known === undefined) starts.set(hash, [start]);
    else known.push(start);
  });
  const covered = new Uint8Array(text.length);
  eachWindow(other, (hash, at) => {
    for (const start of starts.get(hash) ?? []) {
      if (covered[start] === 1 && covered[start + SHARED_RUN - 1] === 1) continue;
      let same = 0;
      while (same < SHARED_RUN && text[start + same] === other[at + same]) same++;
      if (same === SHARED_RUN) covered.fill(1, start, start + SHARED_RUN);
    }
  });
  return covered.reduce((sum, one) => sum + one, 0) / Math.max(1, text.length);
}
