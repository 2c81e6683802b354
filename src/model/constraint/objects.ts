/**
 * Objects: listed properties in their order, then others. How many were written is told apart only as
 * far as it matters: for the comma, and for minProperties and maxProperties.
 */
import { type JsonRules, otherKey } from "./json-values.ts";
import type { MaybeState, ProgramBuilder } from "./program.ts";

export interface Property {
  name: string;
  /** Rule of its value; null: it cannot be written. */
  rule: MaybeState;
  required: boolean;
}

export interface ObjectShape {
  properties: readonly Property[];
  /** Rule of the values of other keys; null: there are none. */
  additional: MaybeState;
  min: number;
  max: number;
}

/** The object, then `next`. */
export function objectState(
  builder: ProgramBuilder,
  rules: JsonRules,
  shape: ObjectShape,
  next: MaybeState,
): MaybeState {
  const { properties, additional, min, max } = shape;
  const n = properties.length;
  const counts = max !== Number.POSITIVE_INFINITY || min > 1;
  const names = properties.map(({ name }) => name);
  const member =
    additional === null ? null : otherKey(builder, names, rules.colon(additional, builder.leave));
  return rules.bracketed("{", "}", next, (closing) => {
    const after = rules.comma(member);
    // From the last property back; states by the number of properties written so far.
    let rows: MaybeState[] = [];
    const most = counts ? n : 1;
    for (let written = 0; written <= most; written++) {
      // Other keys may repeat each other, so only one of them counts for the least.
      const missing = Math.max(0, min - written);
      const room = counts ? max - written : Number.POSITIVE_INFINITY;
      const more = builder.repeat(after, closing, 0, room - 1);
      const others =
        room < 1 || missing > 1
          ? null
          : builder.call(written === 0 ? rules.space(member) : after, more);
      rows.push(builder.split([missing === 0 && room >= 0 ? closing : null, others]));
    }
    for (let i = n; i-- > 0; ) {
      const { name, rule, required } = properties[i]!;
      const row: MaybeState[] = [];
      for (let written = 0; written <= Math.min(most, i); written++) {
        const then = rows[Math.min(most, written + 1)] ?? null;
        const value = builder.text(JSON.stringify(name), rules.colon(rule, then));
        const here = written === 0 ? rules.space(value) : rules.comma(value);
        row.push(builder.split([here, required ? null : (rows[written] ?? null)]));
      }
      rows = row;
    }
    return rows[0] ?? null;
  });
}
