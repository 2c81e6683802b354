/**
 * Schemas that hold together (allOf, $ref with siblings) as one: every pair of keywords by its own
 * rule; what has none is refused by name.
 */
import { refuse } from "./errors.ts";
import {
  isObject,
  type Json,
  type JsonObject,
  restricts,
  type Schema,
  type TypeName,
} from "./keywords.ts";

const types = (value: Json): TypeName[] => (Array.isArray(value) ? value : [value]) as TypeName[];

/** Types that are in both lists; integer is within number. */
function commonTypes(a: Json, b: Json): TypeName[] {
  const [left, right] = [types(a), types(b)];
  const has = (list: TypeName[], type: TypeName) =>
    list.includes(type) || (type === "integer" && list.includes("number"));
  const both = [...left, ...right].filter((type) => has(left, type) && has(right, type));
  return [...new Set(both)];
}

const same = (a: Json, b: Json): boolean => Bun.deepEquals(a, b);

/** Both hold: merged when it is compiled, so that recursive schemas end. */
const both = (a: Schema, b: Schema): Schema => {
  if (a === true || same(a, b)) return b;
  if (b === true) return a;
  return a === false || b === false ? false : { allOf: [a, b] };
};

/** A property of one schema as the other, which does not list it, sees it. */
function unlisted(own: Schema, other: JsonObject): Schema {
  const additional = other.additionalProperties;
  return additional === undefined ? own : both(own, additional as Schema);
}

function mergeProperties(a: JsonObject, b: JsonObject): JsonObject {
  const [left, right] = [a.properties ?? {}, b.properties ?? {}] as JsonObject[];
  const merged: [string, Schema][] = [];
  for (const [name, schema] of Object.entries(left!)) {
    const other = Object.hasOwn(right!, name) ? (right![name] as Schema) : undefined;
    const own = schema as Schema;
    merged.push([name, other === undefined ? unlisted(own, b) : both(own, other)]);
  }
  for (const [name, schema] of Object.entries(right!))
    if (!Object.hasOwn(left!, name)) merged.push([name, unlisted(schema as Schema, a)]);
  return Object.fromEntries(merged);
}

/** Of a position that only one side may describe by prefixItems. */
function mergeItems(a: JsonObject, b: JsonObject, pointer: string): JsonObject {
  if (a.prefixItems !== undefined || b.prefixItems !== undefined)
    throw refuse(pointer, "prefixItems cannot be merged with another schema of the array");
  return { items: both(a.items as Schema, b.items as Schema) };
}

/** By keyword: the value that holds where both do. */
const RULES: Record<string, (a: Json, b: Json) => Json | undefined> = {
  required: (a, b) => [...new Set([...(a as string[]), ...(b as string[])])],
  minimum: (a, b) => Math.max(a as number, b as number),
  exclusiveMinimum: (a, b) => Math.max(a as number, b as number),
  minLength: (a, b) => Math.max(a as number, b as number),
  minItems: (a, b) => Math.max(a as number, b as number),
  minProperties: (a, b) => Math.max(a as number, b as number),
  maximum: (a, b) => Math.min(a as number, b as number),
  exclusiveMaximum: (a, b) => Math.min(a as number, b as number),
  maxLength: (a, b) => Math.min(a as number, b as number),
  maxItems: (a, b) => Math.min(a as number, b as number),
  maxProperties: (a, b) => Math.min(a as number, b as number),
  enum: (a, b) => (a as Json[]).filter((x) => (b as Json[]).some((y) => same(x, y))),
  multipleOf: (a, b) => {
    const [x, y] = [a as number, b as number];
    if (x % y === 0) return x;
    return y % x === 0 ? y : undefined;
  },
};

/** Neither may hold $ref, allOf, anyOf or oneOf. `false` where no value meets both. */
export function mergeSchemas(a: JsonObject, b: JsonObject, pointer: string): Schema {
  const merged: Record<string, Json> = {};
  for (const keyword of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const [left, right] = [a[keyword], b[keyword]];
    if (!restricts(keyword)) continue;
    if (left === undefined || right === undefined || same(left, right)) {
      merged[keyword] = (left ?? right)!;
      continue;
    }
    if (["properties", "additionalProperties", "items", "prefixItems"].includes(keyword)) continue;
    if (keyword === "type") {
      const common = commonTypes(left, right);
      if (common.length === 0) return false;
      merged.type = common;
      continue;
    }
    const value = keyword === "const" ? undefined : RULES[keyword]?.(left, right);
    if (keyword === "const" || (keyword === "enum" && (value as Json[]).length === 0)) return false;
    if (value === undefined)
      throw refuse(pointer, `two values of ${keyword} (allOf) cannot be merged`);
    merged[keyword] = value;
  }
  const objects = [a, b].some((s) => isObject(s.properties));
  if (objects) merged.properties = mergeProperties(a, b);
  const additional = [a, b].map((s) => s.additionalProperties as Schema | undefined);
  // A schema without it, but with properties, allows any others: of the two, the stricter holds.
  if (additional[0] !== undefined && additional[1] !== undefined)
    merged.additionalProperties = both(additional[0], additional[1]);
  if (a.items !== undefined && b.items !== undefined)
    Object.assign(merged, mergeItems(a, b, pointer));
  else if (a.prefixItems !== undefined || b.prefixItems !== undefined) {
    if ([a, b].every((s) => s.items !== undefined || s.prefixItems !== undefined))
      mergeItems(a, b, pointer);
  }
  return merged;
}
