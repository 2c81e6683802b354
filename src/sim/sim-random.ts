/** A fast seeded generator for the simulator's millions of draws; not for secrets. */
import type { Random } from "../core/random.ts";

/** Mulberry32: 32 bits of state, one multiplication chain per draw; reproducible from the seed. */
export function simRandom(seed: number): Random {
  let state = seed >>> 0;
  const next32 = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  return {
    next: () => next32() / 2 ** 32,
    below: (limit) => Math.floor((next32() / 2 ** 32) * limit),
    bytes: (length) => Uint8Array.from({ length }, () => next32() >>> 24),
  };
}
