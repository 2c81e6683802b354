/**
 * Numbers in a range as automata over their digits. Integers have at most 15 digits, numbers with
 * bounds at most 15 significant ones: then every text is another float64, in the same order, and a
 * bound holds for the parsed value exactly when it holds for the digits.
 */
import { asciiEdges } from "./characters.ts";
import { LIMITS } from "./limits.ts";
import type { ByteEdge, MaybeState, ProgramBuilder } from "./program.ts";

const DIGITS_MAX = LIMITS.integer_digits_max;
export const INTEGER_MAX = 10 ** DIGITS_MAX - 1;

/** Digits of a bound: before and after the point. */
interface Decimal {
  whole: string;
  fraction: string;
}

/** Magnitude of a float64 in plain digits, as its shortest text. */
export function decimalOf(value: number): Decimal {
  const [digits, exponent] = Math.abs(value).toExponential().split("e") as [string, string];
  const all = digits.replace(".", "");
  const point = Number(exponent) + 1;
  if (point <= 0) return { whole: "0", fraction: "0".repeat(-point) + all };
  const padded = all.padEnd(point, "0");
  return { whole: padded.slice(0, point), fraction: padded.slice(point).replace(/0+$/, "") };
}

/** Bounds of a magnitude; `open` ones are left out. */
interface Magnitudes {
  low: Decimal;
  low_open: boolean;
  high: Decimal;
  high_open: boolean;
}

/** Builds the digits of one sign, from the last to the first. */
class DigitAutomaton {
  readonly #builder: ProgramBuilder;
  readonly #bounds: Magnitudes;
  readonly #fraction_digits: number;
  readonly #multiple_of: number;
  readonly #next: MaybeState;
  readonly #known = new Map<string, MaybeState>();

  constructor(
    builder: ProgramBuilder,
    bounds: Magnitudes,
    fraction_digits: number,
    multiple_of: number,
    next: MaybeState,
  ) {
    this.#builder = builder;
    this.#bounds = bounds;
    this.#fraction_digits = fraction_digits;
    this.#multiple_of = multiple_of;
    this.#next = next;
  }

  all(): MaybeState {
    const [shortest, longest] = [this.#bounds.low.whole.length, this.#bounds.high.whole.length];
    const states: MaybeState[] = [];
    for (let length = shortest; length <= longest; length++)
      states.push(this.#whole(length, length, length === shortest, length === longest, 0));
    return this.#builder.split(states);
  }

  /** Remaining digits before the point. low, high: whether all before were those of the bound. */
  #whole(length: number, left: number, low: boolean, high: boolean, residue: number): MaybeState {
    if (left === 0) return this.#point(low, high, residue);
    // Digits that no bound limits any more are the same for every length.
    const key = `${low || high ? length : ""} ${left} ${low} ${high} ${residue} ${left === length}`;
    if (this.#known.has(key)) return this.#known.get(key)!;
    const at = length - left;
    const least = low ? Number(this.#bounds.low.whole[at]) : at === 0 && length > 1 ? 1 : 0;
    const most = high ? Number(this.#bounds.high.whole[at]) : 9;
    const edges: ByteEdge[] = [];
    for (let digit = least; digit <= most; digit++) {
      const rest = (residue * 10 + digit) % this.#multiple_of;
      const target = this.#whole(
        length,
        left - 1,
        low && digit === least,
        high && digit === most,
        rest,
      );
      edges.push({ low: 48 + digit, high: 48 + digit, target });
    }
    const state = this.#builder.bytes(joined(edges));
    this.#known.set(key, state);
    return state;
  }

  #point(low: boolean, high: boolean, residue: number): MaybeState {
    if (residue !== 0) return null;
    const ended = this.#ends(low, high, 0);
    if (this.#fraction_digits === 0) return ended;
    const fraction = this.#fraction(0, low, high);
    const point = this.#builder.bytes([{ low: 46, high: 46, target: fraction }]);
    return this.#builder.split([ended, point]);
  }

  #fraction(at: number, low: boolean, high: boolean): MaybeState {
    if (at === this.#fraction_digits) return null;
    const key = `. ${at} ${low} ${high}`;
    if (this.#known.has(key)) return this.#known.get(key)!;
    const { low: lower, high: upper } = this.#bounds;
    const least = low ? Number(lower.fraction[at] ?? "0") : 0;
    const most = high ? Number(upper.fraction[at] ?? "0") : 9;
    const edges: ByteEdge[] = [];
    for (let digit = least; digit <= most; digit++) {
      const [l, h] = [low && digit === least, high && digit === most];
      const target = this.#builder.split([this.#ends(l, h, at + 1), this.#fraction(at + 1, l, h)]);
      edges.push({ low: 48 + digit, high: 48 + digit, target });
    }
    const state = this.#builder.bytes(joined(edges));
    this.#known.set(key, state);
    return state;
  }

  /** Where the number may end after `digits` digits of fraction. */
  #ends(low: boolean, high: boolean, digits: number): MaybeState {
    const { low: lower, low_open, high: upper, high_open } = this.#bounds;
    const rest_is_zero = (bound: Decimal) => !/[1-9]/.test(bound.fraction.slice(digits));
    if (low && (!rest_is_zero(lower) || low_open)) return null;
    if (high && high_open && rest_is_zero(upper)) return null;
    return this.#next;
  }
}

/** Neighbouring digits with one target as one edge. */
function joined(edges: readonly ByteEdge[]): ByteEdge[] {
  const out: ByteEdge[] = [];
  for (const edge of edges) {
    const last = out.at(-1);
    if (last && last.target === edge.target) out[out.length - 1] = { ...last, high: edge.high };
    else out.push(edge);
  }
  return out;
}

/** What numbers are asked for; Infinity where there is no bound. */
export interface NumberRange {
  low: number;
  low_open: boolean;
  high: number;
  high_open: boolean;
  multiple_of: number;
}

function rangeState(
  builder: ProgramBuilder,
  { low, low_open, high, high_open, multiple_of }: NumberRange,
  fraction_digits: number,
  next: MaybeState,
): MaybeState {
  const state = (bounds: Magnitudes) =>
    new DigitAutomaton(builder, bounds, fraction_digits, multiple_of, next).all();
  const states: MaybeState[] = [];
  if (high > 0 || (high === 0 && !high_open && low <= 0))
    if (low < high || (!low_open && !high_open))
      states.push(
        state({
          low: decimalOf(Math.max(low, 0)),
          low_open: low >= 0 && low_open,
          high: decimalOf(high),
          high_open,
        }),
      );
  if (low < 0 && (low < high || (!low_open && !high_open))) {
    const magnitudes = state({
      low: decimalOf(Math.min(high, 0)),
      low_open: high >= 0 || high_open, // there is no -0
      high: decimalOf(low),
      high_open: low_open,
    });
    states.push(builder.text("-", magnitudes));
  }
  return builder.split(states);
}

/** Integers of a range; null where there is none. */
export function integerState(
  builder: ProgramBuilder,
  range: NumberRange,
  next: MaybeState,
): MaybeState {
  const low = Math.ceil(Math.max(range.low, -INTEGER_MAX));
  const high = Math.floor(Math.min(range.high, INTEGER_MAX));
  const closed = {
    low: range.low_open && low === range.low ? low + 1 : low,
    low_open: false,
    high: range.high_open && high === range.high ? high - 1 : high,
    high_open: false,
    multiple_of: range.multiple_of,
  };
  if (closed.low > closed.high) return null;
  if (closed.low === -INTEGER_MAX && closed.high === INTEGER_MAX && range.multiple_of === 1)
    return anyInteger(builder, next);
  return rangeState(builder, closed, 0, next);
}

/** The next digit may be left out, and so on. */
function digits(builder: ProgramBuilder, count: number, next: MaybeState): MaybeState {
  let state = next;
  for (let i = 0; i < count; i++)
    state = builder.split([next, builder.bytes(asciiEdges("0-9", state))]);
  return state;
}

function anyInteger(builder: ProgramBuilder, next: MaybeState): MaybeState {
  const rest = digits(builder, DIGITS_MAX - 1, next);
  const magnitude = [...asciiEdges("0", next), ...asciiEdges("1-9", rest)];
  return builder.bytes([...magnitude, ...asciiEdges("-", builder.bytes(magnitude))]);
}

/** Numbers without bounds: with fraction and exponent. */
export function anyNumber(builder: ProgramBuilder, next: MaybeState): MaybeState {
  const exponent = builder.bytes(asciiEdges("0-9", digits(builder, 1, next)));
  const signed = builder.split([
    exponent,
    builder.bytes([...asciiEdges("+", exponent), ...asciiEdges("-", exponent)]),
  ]);
  const scaled = builder.split([next, builder.bytes(asciiEdges("eE", signed))]);
  const fraction = builder.bytes(asciiEdges("0-9", digits(builder, DIGITS_MAX - 1, scaled)));
  return anyInteger(builder, builder.split([scaled, builder.text(".", fraction)]));
}

/** Largest magnitude on a side that has no bound, beside one that has. */
const UNBOUNDED_MAX = 999_999_999;
const FRACTION_DIGITS = 6;

/**
 * Numbers of a range, without exponent. Undefined where a bound has so many digits that float64
 * could round across it; null where the range is empty.
 */
export function numberState(
  builder: ProgramBuilder,
  range: NumberRange,
  next: MaybeState,
): MaybeState | undefined {
  if (range.low === -Infinity && range.high === Infinity) return anyNumber(builder, next);
  // A bound beyond 15 digits bounds less than leaving it out does.
  const low_bound = range.low < -INTEGER_MAX ? -Infinity : range.low;
  const high_bound = range.high > INTEGER_MAX ? Infinity : range.high;
  const low = high_bound < -UNBOUNDED_MAX ? -INTEGER_MAX : -UNBOUNDED_MAX;
  const high = low_bound > UNBOUNDED_MAX ? INTEGER_MAX : UNBOUNDED_MAX;
  const cut = {
    ...range,
    low: low_bound === -Infinity ? low : low_bound,
    high: high_bound === Infinity ? high : high_bound,
  };
  const ends = [decimalOf(cut.low), decimalOf(cut.high)];
  const room = DIGITS_MAX - Math.max(...ends.map((end) => end.whole.length));
  const needed = Math.max(...ends.map((end) => end.fraction.length));
  if (room < 0 || needed > room) return undefined;
  if (cut.low > cut.high) return null;
  return rangeState(builder, cut, Math.max(needed, Math.min(FRACTION_DIGITS, room)), next);
}
