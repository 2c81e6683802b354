/** The values of enum and const that the keywords beside them leave. */
import { refuse } from "./errors.ts";
import type { Json, JsonObject, TypeName } from "./keywords.ts";

const NUMERIC: Record<string, (value: number, bound: number) => boolean> = {
  minimum: (value, bound) => value >= bound,
  maximum: (value, bound) => value <= bound,
  exclusiveMinimum: (value, bound) => value > bound,
  exclusiveMaximum: (value, bound) => value < bound,
};
const LENGTHS: Record<string, (length: number, bound: number) => boolean> = {
  minLength: (length, bound) => length >= bound,
  maxLength: (length, bound) => length <= bound,
};

function isOfType(value: Json, type: TypeName): boolean {
  if (value === null) return type === "null";
  if (Array.isArray(value)) return type === "array";
  if (typeof value === "number")
    return type === "number" || (type === "integer" && Number.isInteger(value));
  return typeof value === type;
}

function meets(value: Json, schema: JsonObject, pointer: string): boolean {
  if (schema.type !== undefined) {
    const types = [schema.type].flat() as TypeName[];
    if (!types.some((type) => isOfType(value, type))) return false;
  }
  for (const [keyword, bound] of Object.entries(schema)) {
    if (["type", "enum", "const"].includes(keyword)) continue;
    if (typeof value === "number" && Object.hasOwn(NUMERIC, keyword)) {
      if (!NUMERIC[keyword]!(value, bound as number)) return false;
    } else if (typeof value === "string" && Object.hasOwn(LENGTHS, keyword)) {
      if (!LENGTHS[keyword]!([...value].length, bound as number)) return false;
    } else if (concerns(keyword, value)) {
      throw refuse(pointer, `keyword ${keyword} beside enum or const is not supported`);
    }
  }
  return true;
}

const CONCERN: Record<string, readonly string[]> = {
  string: ["pattern", "format"],
  number: ["multipleOf"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  object: ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
};
function concerns(keyword: string, value: Json): boolean {
  const type = Array.isArray(value) ? "array" : typeof value;
  return value !== null && (CONCERN[type]?.includes(keyword) ?? false);
}

/** Undefined where the schema lists no values. */
export function listedValues(schema: JsonObject, pointer: string): readonly Json[] | undefined {
  if (schema.enum === undefined && schema.const === undefined) return undefined;
  const listed = (schema.enum ?? [schema.const!]) as readonly Json[];
  const of_const = (value: Json) =>
    schema.const === undefined || Bun.deepEquals(value, schema.const);
  return listed.filter((value) => of_const(value) && meets(value, schema, pointer));
}
