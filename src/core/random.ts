/**
 * Randomness as an argument: seeded for simulation and data order, cryptographic for keys and
 * nonces.
 */
import crypto from "node:crypto";

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, limit). */
  below(limit: number): number;
  bytes(length: number): Uint8Array;
}

/** SplitMix64 (Steele, Lea and Flood 2014): reproducible from a seed, not for secrets. */
export function seededRandom(seed: bigint | number): Random {
  const mask = 0xffffffffffffffffn;
  let state = BigInt(seed) & mask;
  const next64 = () => {
    state = (state + 0x9e3779b97f4a7c15n) & mask;
    let z = state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
    return z ^ (z >> 31n);
  };
  const next = () => Number(next64() >> 11n) / 2 ** 53;
  return {
    next,
    below: (limit) => Math.floor(next() * limit),
    bytes: (length) => {
      const out = new Uint8Array(length);
      for (let i = 0; i < length; i++) out[i] = Number(next64() >> 56n);
      return out;
    },
  };
}

/** The operating system's generator, for keys, nonces and jitter. */
export const systemRandom: Random = {
  next: () => crypto.randomInt(2 ** 47) / 2 ** 47,
  below: (limit) => (limit <= 1 ? 0 : crypto.randomInt(limit)),
  bytes: (length) => new Uint8Array(crypto.randomBytes(length)),
};
