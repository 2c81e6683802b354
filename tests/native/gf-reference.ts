/**
 * Plain Reed-Solomon over GF(2^8), polynomial 0x11D: the oracle of the native code. Slow on
 * purpose.
 */

export function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0; bit < 8; bit++) {
    if ((b >> bit) & 1) product ^= a << bit;
  }
  for (let bit = 14; bit >= 8; bit--) if ((product >> bit) & 1) product ^= 0x11d << (bit - 8);
  return product;
}

const PRODUCTS = Array.from({ length: 256 }, (_, a) =>
  Uint8Array.from({ length: 256 }, (_, b) => multiply(a, b)),
);
const INVERSES = Array.from({ length: 256 }, (_, a) => PRODUCTS[a]!.indexOf(1));

export type Rows = number[][];

/** The paper's parity rows (m+1)^j for any (K, M), also where they are not MDS. */
export function paperRows(k: number, m: number): Rows {
  return Array.from({ length: m }, (_, r) => {
    const row = [1];
    for (let j = 1; j < k; j++) row.push(PRODUCTS[row[j - 1]!]![r + 1]!);
    return row;
  });
}

export function cauchyRows(k: number, m: number): Rows {
  return Array.from({ length: m }, (_, r) =>
    Array.from({ length: k }, (_, j) => INVERSES[(k + r) ^ j]!),
  );
}

export const parityRows = (k: number, m: number): Rows =>
  m <= 2 || k <= 3 ? paperRows(k, m) : cauchyRows(k, m);

/** rows * shards */
export function apply(rows: Rows, shards: readonly Uint8Array[]): Uint8Array[] {
  return rows.map((row) => {
    const out = new Uint8Array(shards[0]!.length);
    row.forEach((c, j) => {
      const products = PRODUCTS[c]!;
      for (let i = 0; i < out.length; i++) out[i]! ^= products[shards[j]![i]!]!;
    });
    return out;
  });
}

/** Inverse by Gauss-Jordan, or null for a singular matrix. */
export function inverse(matrix: Rows): Rows | null {
  const n = matrix.length;
  const a = matrix.map((row, i) => [...row, ...Array.from({ length: n }, (_, j) => +(i === j))]);
  for (let c = 0; c < n; c++) {
    const pivot = a.findIndex((row, r) => r >= c && row[c] !== 0);
    if (pivot < 0) return null;
    [a[c], a[pivot]] = [a[pivot]!, a[c]!];
    const scale = INVERSES[a[c]![c]!]!;
    a[c] = a[c]!.map((x) => PRODUCTS[x]![scale]!);
    for (let r = 0; r < n; r++) {
      const factor = a[r]![c]!;
      if (r !== c && factor !== 0) a[r] = a[r]!.map((x, j) => x ^ PRODUCTS[factor]![a[c]![j]!]!);
    }
  }
  return a.map((row) => row.slice(n));
}

/** Data from any K shards ([index, bytes] pairs), or null where the matrix does not allow it. */
export function decode(k: number, rows: Rows, shards: [number, Uint8Array][]): Uint8Array[] | null {
  const chosen = shards
    .slice(0, k)
    .map(([index]) =>
      index < k ? Array.from({ length: k }, (_, j) => +(j === index)) : rows[index - k]!,
    );
  const inverted = inverse(chosen);
  return (
    inverted &&
    apply(
      inverted,
      shards.slice(0, k).map(([, bytes]) => bytes),
    )
  );
}

/** Every way to choose `count` of 0..n-1. */
export function* subsets(n: number, count: number, from = 0): Generator<number[]> {
  if (count === 0) yield [];
  else
    for (let i = from; i <= n - count; i++)
      for (const rest of subsets(n, count - 1, i + 1)) yield [i, ...rest];
}
