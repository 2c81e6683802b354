/**
 * The subset of JSON Schema (draft 2020-12) that constraints support. Every keyword is listed here, by
 * the type of value it concerns; any other is refused by name.
 *
 * | keyword | support |
 * |---|---|
 * | type | all seven, and arrays of them; left out: guessed from the other keywords, else any value |
 * | enum, const | any JSON values; beside them only keywords that narrow them are checked |
 * | properties, required | written in the order of `properties`; absent unless required: optional |
 * | additionalProperties | false, true, a schema; left out: false where there are `properties` |
 * | minProperties, maxProperties | the least: at most one more than are listed |
 * | items, prefixItems, minItems, maxItems | all |
 * | minLength, maxLength | all; with pattern or format up to a size |
 * | pattern | see regex.ts |
 * | format | date, time, date-time, uuid, ipv4, email |
 * | minimum, maximum, exclusiveMinimum, exclusiveMaximum | up to 15 digits |
 * | multipleOf | whole numbers: up to 360, larger ones where few multiples are in range |
 * | anyOf | all |
 * | oneOf | where no value meets two branches: other types, constants, or a property that tells |
 * | allOf, $ref with siblings | where the schemas can be merged: no two patterns, formats, ... |
 * | $ref, $defs, definitions | within the schema ("#/..."), recursion too |
 * | uniqueItems | false |
 * | title, description, default, examples, $comment, $schema, $id (outermost), ... | no effect |
 */
import { malformed, refuse } from "./errors.ts";

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}
export type Schema = boolean | JsonObject;

export const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"] as const;
export type TypeName = (typeof TYPES)[number];

/** Without effect on which values are valid. */
const ANNOTATIONS = new Set([
  "title",
  "description",
  "default",
  "examples",
  "example",
  "$comment",
  "$schema",
  "deprecated",
  "readOnly",
  "writeOnly",
  "$defs",
  "definitions",
]);

/** Keywords of one type of value. */
export const KEYWORDS_OF: Record<"object" | "array" | "string" | "number", readonly string[]> = {
  object: ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems", "uniqueItems"],
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
};
const GENERAL = ["type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"];
const SUPPORTED = new Set([...GENERAL, ...Object.values(KEYWORDS_OF).flat()]);

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isSchema = (value: Json | undefined): value is Schema =>
  typeof value === "boolean" || isObject(value);
const isCount = (value: Json): boolean =>
  typeof value === "number" && Number.isInteger(value) && value >= 0;
const isStrings = (value: Json): boolean =>
  Array.isArray(value) && value.every((item) => typeof item === "string");

const COUNT: readonly [string, (value: Json) => boolean] = ["a whole number", isCount];
const NUMBER: typeof COUNT = ["a number", (value) => typeof value === "number"];
const TEXT: typeof COUNT = ["a string", (value) => typeof value === "string"];
const SCHEMA: typeof COUNT = ["a schema", isSchema];
const SCHEMAS: typeof COUNT = [
  "a list of schemas",
  (value) => Array.isArray(value) && value.length > 0 && value.every(isSchema),
];
const SHAPES: Record<string, typeof COUNT> = {
  type: [
    `one of ${TYPES.join(", ")}, or a list of them`,
    (value) => {
      const names = Array.isArray(value) ? value : [value];
      return names.length > 0 && names.every((name) => TYPES.includes(name as TypeName));
    },
  ],
  enum: ["a list of values", (value) => Array.isArray(value) && value.length > 0],
  anyOf: SCHEMAS,
  oneOf: SCHEMAS,
  allOf: SCHEMAS,
  prefixItems: SCHEMAS,
  $ref: TEXT,
  pattern: TEXT,
  format: TEXT,
  properties: ["schemas by name", (v) => isObject(v) && Object.values(v).every(isSchema)],
  required: ["a list of names", isStrings],
  additionalProperties: SCHEMA,
  items: SCHEMA,
  minProperties: COUNT,
  maxProperties: COUNT,
  minItems: COUNT,
  maxItems: COUNT,
  minLength: COUNT,
  maxLength: COUNT,
  minimum: NUMBER,
  maximum: NUMBER,
  exclusiveMinimum: NUMBER,
  exclusiveMaximum: NUMBER,
  multipleOf: ["a number above 0", (value) => typeof value === "number" && value > 0],
};

/** Throws UNSUPPORTED_SCHEMA or BAD_SCHEMA naming the keyword; subschemas are checked in their turn. */
export function checkKeywords(schema: JsonObject, pointer: string): void {
  for (const [keyword, value] of Object.entries(schema)) {
    if (ANNOTATIONS.has(keyword) || (keyword === "$id" && pointer === "")) continue;
    if (!SUPPORTED.has(keyword)) throw refuse(pointer, `keyword ${keyword} is not supported`);
    const shape = Object.hasOwn(SHAPES, keyword) ? SHAPES[keyword] : undefined;
    if (shape && !shape[1](value)) throw malformed(pointer, keyword, shape[0]);
    if (keyword === "uniqueItems" && value !== false)
      throw refuse(pointer, "keyword uniqueItems is supported with the value false only");
  }
}

/** Whether a keyword restricts values. */
export const restricts = (keyword: string): boolean => SUPPORTED.has(keyword);

/** Escapes a key for a JSON pointer. */
export const step = (key: string | number): string =>
  `/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
