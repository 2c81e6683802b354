/**
 * Whether two branches of oneOf can have no value in common. Only what is certain counts: different
 * types, constants that differ, or objects that require one property with schemas without a common
 * value.
 */
import {
  isObject,
  type Json,
  type JsonObject,
  type Schema,
  TYPES,
  type TypeName,
} from "./keywords.ts";

/** Resolves a schema's references and allOf; undefined where that leads to several branches. */
type Resolve = (schema: Schema) => Schema | undefined;

const DEPTH_MAX = 4;

function typeOf(value: Json): TypeName {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value as TypeName;
}

function typesOf(schema: JsonObject): Set<TypeName> {
  if (schema.const !== undefined) return new Set([typeOf(schema.const)]);
  if (Array.isArray(schema.enum)) return new Set(schema.enum.map(typeOf));
  if (schema.type === undefined) return new Set(TYPES);
  return new Set((Array.isArray(schema.type) ? schema.type : [schema.type]) as TypeName[]);
}

/** The values of a schema where they are listed. */
function listed(schema: JsonObject): readonly Json[] | undefined {
  if (schema.const !== undefined) return [schema.const];
  return schema.enum as readonly Json[] | undefined;
}

const asNumber = (value: Json | undefined, fallback: number): number =>
  typeof value === "number" ? value : fallback;

/** Numbers whose ranges do not meet. */
function apart(a: JsonObject, b: JsonObject): boolean {
  const below = (x: JsonObject, y: JsonObject) => {
    const high = asNumber(x.maximum, Infinity);
    const open_high = asNumber(x.exclusiveMaximum, Infinity);
    const low = asNumber(y.minimum, -Infinity);
    const open_low = asNumber(y.exclusiveMinimum, -Infinity);
    return high < low || open_high <= low || high <= open_low || open_high <= open_low;
  };
  return below(a, b) || below(b, a);
}

export function areDisjoint(a: Schema, b: Schema, resolve: Resolve, depth = 0): boolean {
  const [left, right] = [resolve(a), resolve(b)];
  if (left === false || right === false) return true;
  if (!isObject(left) || !isObject(right)) return false;
  const values = [listed(left), listed(right)];
  if (values[0] && values[1])
    return !values[0].some((x) => values[1]!.some((y) => Bun.deepEquals(x, y)));
  const others = typesOf(right);
  const meets = (type: TypeName) =>
    others.has(type) ||
    (type === "integer" && others.has("number")) ||
    (type === "number" && others.has("integer"));
  const common = [...typesOf(left)].filter(meets);
  if (common.length === 0) return true;
  if (common.every((type) => type === "integer" || type === "number")) return apart(left, right);
  if (common.length !== 1 || common[0] !== "object" || depth === DEPTH_MAX) return false;
  const required = (schema: JsonObject) => (schema.required ?? []) as readonly string[];
  const properties = [left.properties ?? {}, right.properties ?? {}] as JsonObject[];
  const closed = (schema: JsonObject) => schema.additionalProperties === false;
  // A property that one requires and the other does not allow tells them apart, too.
  const refused = (by: JsonObject, known: JsonObject, from: JsonObject) =>
    closed(by) && required(from).some((name) => !Object.hasOwn(known, name));
  if (refused(left, properties[0]!, right) || refused(right, properties[1]!, left)) return true;
  return required(left).some((name) => {
    if (!required(right).includes(name)) return false;
    const [x, y] = properties.map((p) => (Object.hasOwn(p, name) ? (p[name] as Schema) : true));
    return areDisjoint(x!, y!, resolve, depth + 1);
  });
}
