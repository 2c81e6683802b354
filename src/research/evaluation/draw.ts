/**
 * Random draws for splits and the bootstrap: many and quick, from a seed, with integer and exact
 * float arithmetic only, so that equal seeds give equal parts and intervals on every machine.
 */

/** sfc32 (Doty-Humphrey's small fast counting generator): 32 bits a call. Not for secrets. */
export class Draw {
  #a = 0;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#b = seed >>> 0;
    this.#c = Math.floor(seed / 2 ** 32) >>> 0;
    for (let i = 0; i < 16; i++) this.next32();
  }

  next32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** Uniform in [0, 1), 32 bits. */
  unit(): number {
    return this.next32() / 2 ** 32;
  }

  /** Uniform integer in [0, limit); limit up to 2^32, the bias is below limit / 2^32. */
  below(limit: number): number {
    return Math.floor(this.unit() * limit);
  }

  /** Fisher and Yates, in place. */
  shuffle<T extends { length: number; [i: number]: number }>(values: T): T {
    for (let i = values.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const kept = values[i]!;
      values[i] = values[j]!;
      values[j] = kept;
    }
    return values;
  }
}

/** A seed of its own for each purpose and repeat, from one seed. */
export function seedFor(seed: number, purpose: string, repeat = 0): number {
  let hash = 0x811c9dc5; // FNV-1a
  const mix = (byte: number) => {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  };
  for (const part of [String(seed), purpose, String(repeat)]) {
    for (let i = 0; i < part.length; i++) mix(part.charCodeAt(i));
    mix(0xff);
  }
  return hash;
}

/**
 * Numbers of successes in n trials with chance p, exactly distributed. The table of the cumulative
 * distribution is built outwards from the mode, where nothing underflows, and kept for each n.
 */
export class Binomial {
  readonly #tables = new Map<number, { first: number; cumulative: Float64Array }>();
  readonly #p: number;

  constructor(p: number) {
    this.#p = p;
  }

  draw(n: number, random: Draw): number {
    if (n <= 0 || this.#p <= 0) return 0;
    if (this.#p >= 1) return n;
    let table = this.#tables.get(n);
    if (table === undefined) {
      table = binomialTable(n, this.#p);
      this.#tables.set(n, table);
    }
    const { first, cumulative } = table;
    const u = random.unit();
    let low = 0;
    let high = cumulative.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cumulative[middle]! > u) high = middle;
      else low = middle + 1;
    }
    return first + low;
  }
}

/** Relative to the mode; what is left out has less weight than a float can show. */
const NEGLIGIBLE = 1e-18;

function binomialTable(n: number, p: number): { first: number; cumulative: Float64Array } {
  const odds = p / (1 - p);
  const mode = Math.min(n, Math.floor((n + 1) * p));
  const below: number[] = [];
  for (let k = mode, w = 1; k > 0; ) {
    w *= k / ((n - k + 1) * odds);
    if (w < NEGLIGIBLE) break;
    below.push(w);
    k--;
  }
  const weights = [...below.reverse(), 1];
  for (let k = mode, w = 1; k < n; ) {
    w *= ((n - k) * odds) / (k + 1);
    if (w < NEGLIGIBLE) break;
    weights.push(w);
    k++;
  }
  const total = weights.reduce((sum, w) => sum + w, 0);
  const cumulative = new Float64Array(weights.length);
  let sum = 0;
  weights.forEach((w, i) => {
    sum += w;
    cumulative[i] = sum / total;
  });
  cumulative[weights.length - 1] = 1;
  return { first: mode - below.length, cumulative };
}
