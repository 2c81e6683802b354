/**
 * Limits of constraints. Schemas come from strangers over HTTP: what is beyond a limit is refused with
 * UNSUPPORTED_SCHEMA before it costs anything.
 */
export const LIMITS = {
  /** 256 KiB of JSON: the largest schemas of published APIs. */
  schema_bytes_max: 1 << 18,
  /** Objects, arrays and scalars of the schema's JSON. */
  schema_values_max: 50_000,
  /** Levels of the schema's JSON; keeps the compiler's recursion short. */
  schema_depth_max: 96,
  /** UTF-8 of a property's name. */
  name_bytes_max: 512,
  /** Rules, that is, distinct subschemas; merging (allOf) can make more of them than are written. */
  rules_max: 2_000,
  /** Schemas looked at while $ref and allOf are merged: they can name each other 2^n times. */
  merge_steps_max: 10_000,
  /** Characters of merged schemas, which are told apart by their text. */
  merged_chars_max: 1 << 21,
  /** States of the program: some tenths of a second of compilation at worst. */
  states_max: 25_000,
  /** States of one pattern's automaton, its bounded repeats written out. */
  pattern_states_max: 2_000,
  pattern_bytes_max: 4_096,
  /** The same, times the lengths that minLength and maxLength tell apart. */
  counted_pattern_states_max: 20_000,
  /** Frames of the automaton: an object or array within another takes two, so 60 levels always fit. */
  stack_depth_max: 128,
  /** Digits of an integer: every one of them is exact in float64. */
  integer_digits_max: 15,
  /** Divisors whose multiples are told apart digit by digit. */
  multiple_of_max: 360,
  /** Multiples of a larger divisor that are listed one by one. */
  multiples_listed_max: 1_000,
  /** Spaces (or an eighth as many tabs) that may indent a line. */
  indent_max: 40,
} as const;
