/**
 * JSON values of any shape, and the pieces that all objects and arrays are made of. White space is
 * bounded, so that no model can stay in it: after { [ , : and before } ] at most one space, or one line
 * end with its indentation.
 */
import { anyChar, asciiEdges } from "./characters.ts";
import { LIMITS } from "./limits.ts";
import { anyNumber } from "./numbers.ts";
import type { MaybeState, ProgramBuilder, State } from "./program.ts";

/** Rules that schemas share; each is made when it is first asked for. */
export class JsonRules {
  readonly #builder: ProgramBuilder;
  #space: MaybeState = null;
  #char: MaybeState = null;
  #value: State | undefined;

  constructor(builder: ProgramBuilder) {
    this.#builder = builder;
  }

  /** Optional white space, then `next`. */
  space(next: MaybeState): MaybeState {
    const b = this.#builder;
    if (this.#space === null) {
      const indent = (char: string, most: number): MaybeState => {
        let state: MaybeState = b.leave;
        for (let i = 0; i < most; i++) state = b.split([b.leave, b.text(char, state)]);
        return state;
      };
      const [spaces, tabs] = [indent(" ", LIMITS.indent_max), indent("\t", LIMITS.indent_max / 8)];
      this.#space = b.split([b.leave, b.text(" ", b.leave), b.text("\n", b.split([spaces, tabs]))]);
    }
    return b.call(this.#space, next);
  }

  /** min to max characters of a string, then `next`. */
  chars(min: number, max: number, next: MaybeState): MaybeState {
    this.#char ??= anyChar(this.#builder, this.#builder.leave);
    return this.#builder.repeat(this.#char, next, min, max);
  }

  string(next: MaybeState): MaybeState {
    return this.#builder.text('"', this.chars(0, Infinity, this.#builder.text('"', next)));
  }

  /** `open`, what `inside` builds before the closing, `close`. */
  bracketed(
    open: string,
    close: string,
    next: MaybeState,
    inside: (closing: MaybeState) => MaybeState,
  ): MaybeState {
    const closing = this.space(this.#builder.text(close, next));
    return this.#builder.text(open, inside(closing));
  }

  comma(next: MaybeState): MaybeState {
    return this.#builder.text(",", this.space(next));
  }

  /** Any object, or array, then `next`. */
  object(next: MaybeState): MaybeState {
    return this.bracketed("{", "}", next, (closing) =>
      this.list(
        this.string(this.colon(this.#valueRule(), this.#builder.leave)),
        closing,
        0,
        Infinity,
      ),
    );
  }
  array(next: MaybeState): MaybeState {
    return this.bracketed("[", "]", next, (closing) =>
      this.list(this.#valueRule(), closing, 0, Infinity),
    );
  }

  /** min to max of `item` (a rule) with commas, then `closing`; begins behind the bracket. */
  list(item: MaybeState, closing: MaybeState, min: number, max: number): MaybeState {
    const b = this.#builder;
    const rest = b.repeat(this.comma(item), closing, Math.max(0, min - 1), max - 1);
    const some = max < 1 ? null : this.space(b.call(item, rest));
    return b.split([min === 0 ? closing : null, some]);
  }

  /** ":" and a value of `rule`, then `next`. */
  colon(rule: MaybeState, next: MaybeState): MaybeState {
    return this.#builder.text(":", this.space(this.#builder.call(rule, next)));
  }

  #valueRule(): State {
    if (this.#value !== undefined) return this.#value;
    const b = this.#builder;
    const rule = b.reserve();
    this.#value = rule;
    const { leave } = b;
    const numbers = anyNumber(b, leave);
    const words = b.texts(["true", "false", "null"], leave);
    b.define(
      rule,
      b.split([this.object(leave), this.array(leave), this.string(leave), numbers, words]),
    );
    return rule;
  }

  /** Any value, as a rule. */
  value(): State {
    return this.#valueRule();
  }
}

/** UTF-8 as an automaton: of each state, what may be read and where it leads; 0 begins a character. */
const UTF8: readonly (readonly (readonly [low: number, high: number, next: number])[])[] = [
  [
    [0x20, 0x21, 0],
    [0x23, 0x5b, 0],
    [0x5d, 0x7f, 0],
    [0xc2, 0xdf, 1],
    [0xe0, 0xe0, 4],
    [0xe1, 0xec, 2],
    [0xed, 0xed, 5],
    [0xee, 0xef, 2],
    [0xf0, 0xf0, 6],
    [0xf1, 0xf3, 3],
    [0xf4, 0xf4, 7],
  ],
  [[0x80, 0xbf, 0]],
  [[0x80, 0xbf, 1]],
  [[0x80, 0xbf, 2]],
  [[0xa0, 0xbf, 1]],
  [[0x80, 0x9f, 1]],
  [[0x90, 0xbf, 2]],
  [[0x80, 0x8f, 2]],
];

/**
 * A key other than `names`, with its quotes, then `next`. Such keys have no escapes, so that none can
 * spell a name in another way.
 */
export function otherKey(
  builder: ProgramBuilder,
  names: readonly string[],
  next: MaybeState,
): MaybeState {
  const quote = asciiEdges('"', next);
  const free = UTF8.map(() => builder.reserve());
  for (const [i, moves] of UTF8.entries()) {
    const edges = moves.map(([low, high, to]) => ({ low, high, target: free[to]! }));
    builder.define(free[i]!, builder.bytes(i === 0 ? [...edges, ...quote] : edges));
  }
  const sorted = names.map((name) => Buffer.from(name)).sort(Buffer.compare);
  const from = (group: readonly Buffer[], at: number, utf8: number): MaybeState => {
    const ends = group[0]?.length === at;
    const longer = group.filter((name) => name.length > at);
    if (longer.length === 0 && !ends) return free[utf8]!;
    const own = new Map(Map.groupBy(longer, (name) => name[at]!));
    const edges = UTF8[utf8]!.flatMap(([low, high, to]) => {
      const out = [];
      for (let byte = low; byte <= high; byte++) {
        const names_on = own.get(byte);
        out.push({
          low: byte,
          high: byte,
          target: names_on ? from(names_on, at + 1, to) : free[to]!,
        });
      }
      return out;
    });
    return builder.bytes([...merged(edges), ...(ends || utf8 !== 0 ? [] : quote)]);
  };
  return builder.text('"', from(sorted, 0, 0));
}

function merged<E extends { low: number; high: number; target: MaybeState }>(edges: E[]): E[] {
  const out: E[] = [];
  for (const edge of edges) {
    const last = out.at(-1);
    if (last && last.target === edge.target && last.high + 1 === edge.low) last.high = edge.high;
    else out.push(edge);
  }
  return out;
}
