/**
 * Strings that meet patterns (and formats, which are patterns here), with their length limits: an
 * automaton over characters, times the lengths that have to be told apart.
 */
import { charEdges, type Range } from "./characters.ts";
import { refuse } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import type { MaybeState, ProgramBuilder, State } from "./program.ts";
import type { Regex } from "./regex.ts";

interface CharState {
  /** Reads a character of `ranges` and goes on at `next`; or goes on at all of `free`. */
  ranges: readonly Range[];
  next: number;
  free: number[];
}

/** Thompson's construction; state 0 is the end. */
class CharAutomaton {
  readonly states: CharState[] = [{ ranges: [], next: 0, free: [] }];
  readonly #pointer: string;

  constructor(pointer: string) {
    this.#pointer = pointer;
  }

  #add(state: CharState): number {
    if (this.states.length >= LIMITS.pattern_states_max)
      throw refuse(this.#pointer, "pattern is too large once its repeats are written out", {
        hint: `it may have about ${LIMITS.pattern_states_max} characters then`,
      });
    return this.states.push(state) - 1;
  }

  from(regex: Regex, next: number): number {
    switch (regex.kind) {
      case "chars":
        return this.#add({ ranges: regex.ranges, next, free: [] });
      case "all":
        return regex.parts.reduceRight((then, part) => this.from(part, then), next);
      case "any": {
        if (regex.parts.length === 1) return this.from(regex.parts[0]!, next);
        const free = regex.parts.map((part) => this.from(part, next));
        return this.#add({ ranges: [], next: 0, free });
      }
      case "repeat":
        return this.#repeat(regex, next);
    }
  }

  #repeat({ part, min, max }: Regex & { kind: "repeat" }, next: number): number {
    let state = next;
    if (max === Number.POSITIVE_INFINITY) {
      state = this.#add({ ranges: [], next: 0, free: [next] });
      this.states[state]!.free.push(this.from(part, state));
    } else {
      for (let i = min; i < max; i++)
        state = this.#add({ ranges: [], next: 0, free: [next, this.from(part, state)] });
    }
    for (let i = 0; i < min; i++) state = this.from(part, state);
    return state;
  }
}

/** Length limits of a string, in characters. */
export interface Lengths {
  min: number;
  /** Infinity for none. */
  max: number;
}

/** The string's characters, then `next`. */
export function patternState(
  builder: ProgramBuilder,
  regex: Regex,
  lengths: Lengths,
  next: MaybeState,
  pointer: string,
): MaybeState {
  const automaton = new CharAutomaton(pointer);
  const start = automaton.from(regex, 0);
  const { min, max } = lengths;
  // Without an upper limit, lengths beyond the lower one need not be told apart.
  const last = max === Number.POSITIVE_INFINITY ? min : max;
  const n = automaton.states.length;
  if (last > 0 && n * (last + 1) > LIMITS.counted_pattern_states_max)
    throw refuse(pointer, "pattern (or format) with this minLength or maxLength is too large", {
      hint: "say the length in the pattern itself",
    });
  const made = new Map<number, State>();
  const open: [state: number, length: number][] = [];
  const at = (state: number, length: number): State => {
    const key = length * n + state;
    const known = made.get(key);
    if (known !== undefined) return known;
    const reserved = builder.reserve();
    made.set(key, reserved);
    open.push([state, length]);
    return reserved;
  };
  const begin = at(start, 0);
  for (let item = open.pop(); item !== undefined; item = open.pop()) {
    const [state, length] = item;
    const { ranges, next: after, free } = automaton.states[state]!;
    const reserved = made.get(length * n + state)!;
    if (state === 0) builder.define(reserved, length >= min ? next : null);
    else if (ranges.length === 0)
      builder.define(reserved, builder.split(free.map((f) => at(f, length))));
    else if (length < last || max === Number.POSITIVE_INFINITY) {
      const target = at(after, Math.min(length + 1, last));
      builder.define(reserved, builder.bytes(charEdges(builder, ranges, target)));
    }
  }
  return begin;
}
