/**
 * Compiles a JSON schema to the program of a constraint: every text that it allows is JSON that the
 * schema accepts. The subset is listed in keywords.ts. A subschema is a rule, compiled once however
 * often it is referred to, so that a schema's program is not much larger than the schema.
 */
import type { Constraint } from "../engine/types.ts";
import { areDisjoint } from "./disjoint.ts";
import { malformed, refuse } from "./errors.ts";
import { FORMAT_NAMES, formatRegex } from "./formats.ts";
import { JsonRules } from "./json-values.ts";
import {
  checkKeywords,
  isObject,
  type Json,
  type JsonObject,
  KEYWORDS_OF,
  restricts,
  type Schema,
  step,
  type TypeName,
} from "./keywords.ts";
import { LIMITS } from "./limits.ts";
import { listedValues } from "./listed.ts";
import { mergeSchemas } from "./merge.ts";
import { INTEGER_MAX, integerState, type NumberRange, numberState } from "./numbers.ts";
import { objectState } from "./objects.ts";
import { patternState } from "./pattern.ts";
import { type MaybeState, ProgramBuilder, type State } from "./program.ts";
import { parseRegex } from "./regex.ts";

const OR_KEYWORDS = ["anyOf", "oneOf"] as const;
const BRANCHES_MAX = 128;
/** Properties that are counted for minProperties and maxProperties. */
const COUNTED_MAX = 100;

const without = (schema: JsonObject, ...keywords: string[]): JsonObject =>
  Object.fromEntries(Object.entries(schema).filter(([key]) => !keywords.includes(key)));
const says = (schema: JsonObject): boolean => Object.keys(schema).some(restricts);

const tooManyMerges = (pointer: string) =>
  refuse(pointer, "merging its $ref, allOf and anyOf takes too many steps", {
    hint: "write the schema with less allOf, or name fewer alternatives within it",
  });

class SchemaCompiler {
  readonly #root: Schema;
  readonly #builder = new ProgramBuilder();
  readonly #json = new JsonRules(this.#builder);
  /** By the schema itself, or, where it was made by merging, by its text. */
  readonly #rules = new Map<Schema | string, State>();
  #merge_steps = 0;
  #merged_chars = 0;

  constructor(root: Schema) {
    this.#root = root;
  }

  program(): Uint8Array {
    const start = this.#json.space(
      this.#builder.call(this.rule(this.#root, ""), this.#builder.leave),
    );
    if (start === null || !this.#builder.hasText(start))
      throw refuse("", "no value meets it", {
        hint: "look for required properties that are false, or that hold each other without end",
      });
    return this.#builder.build(start);
  }

  /** The rule of a schema's values; null where there are none. */
  rule(schema: Schema, pointer: string): MaybeState {
    if (schema === false) return null;
    if (schema === true) return this.#json.value();
    const key = schema.allOf === undefined ? schema : this.#textOf(schema, pointer);
    const known = this.#rules.get(key);
    if (known !== undefined) return known;
    if (this.#rules.size >= LIMITS.rules_max)
      throw refuse(pointer, `the schema has more than ${LIMITS.rules_max} subschemas once merged`);
    const reserved = this.#builder.reserve();
    this.#rules.set(key, reserved);
    this.#builder.define(reserved, this.#branches(schema, pointer));
    return reserved;
  }

  #textOf(schema: JsonObject, pointer: string): string {
    const text = JSON.stringify(schema);
    this.#merged_chars += text.length;
    if (this.#merged_chars > LIMITS.merged_chars_max) throw tooManyMerges(pointer);
    return text;
  }

  #target(ref: string, pointer: string): [Schema, string] {
    let path = ref.slice(1);
    try {
      path = decodeURIComponent(path);
    } catch {
      throw malformed(pointer, "$ref", "a reference whose escapes are UTF-8");
    }
    if (!ref.startsWith("#") || (path !== "" && !path.startsWith("/")))
      throw refuse(pointer, `$ref ${ref} is supported within the schema only`, {
        hint: 'put the schema under $defs and write "#/$defs/name"',
      });
    let at: Json | undefined = this.#root;
    for (const part of path.split("/").slice(1)) {
      const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
      const found: unknown =
        typeof at === "object" && at !== null && Object.hasOwn(at, key)
          ? (at as Record<string, Json>)[key]
          : undefined;
      at = found as Json | undefined;
    }
    if (typeof at === "boolean" || isObject(at)) return [at, path];
    throw refuse(pointer, `$ref ${ref} leads to no schema`, { hint: "check the name" });
  }

  /** The same schema without $ref and allOf, one level deep; it may have anyOf and oneOf. */
  #resolve(schema: Schema, pointer: string, depth = 0): Schema {
    if (typeof schema === "boolean") return schema;
    if (depth > LIMITS.schema_depth_max)
      throw refuse(pointer, "$ref and allOf lead to each other without end");
    checkKeywords(schema, pointer);
    if (schema.$ref === undefined && schema.allOf === undefined) return schema;
    if (++this.#merge_steps > LIMITS.merge_steps_max) throw tooManyMerges(pointer);
    const rest = without(schema, "$ref", "allOf");
    const parts: [Schema, string][] = says(rest) ? [[rest, pointer]] : [];
    if (schema.$ref !== undefined) parts.push(this.#target(schema.$ref as string, pointer));
    for (const [i, part] of ((schema.allOf ?? []) as Schema[]).entries())
      parts.push([part, `${pointer}/allOf/${i}`]);
    return parts
      .map(([part, at]) => this.#resolve(part, at, depth + 1))
      .reduce((a, b) => this.#merge(a, b, pointer));
  }

  #merge(a: Schema, b: Schema, pointer: string): Schema {
    if (a === true || b === true) return a === true ? b : a;
    if (a === false || b === false) return false;
    for (const [own, other] of [
      [a, b],
      [b, a],
    ] as const) {
      const or = OR_KEYWORDS.find((keyword) => own[keyword] !== undefined);
      if (or === undefined) continue;
      const rest = [without(own, or), other].filter(says);
      if (rest.length === 0) return own;
      // (x or y) and z = (x and z) or (y and z)
      const branches = own[or] as readonly Schema[];
      return { [or]: branches.map((branch) => ({ allOf: [...rest, branch] })) };
    }
    return mergeSchemas(a, b, pointer);
  }

  #branches(schema: JsonObject, pointer: string): MaybeState {
    const resolved = this.#resolve(schema, pointer);
    if (typeof resolved === "boolean")
      return this.#builder.call(this.rule(resolved, pointer), this.#builder.leave);
    const or = OR_KEYWORDS.find((keyword) => resolved[keyword] !== undefined);
    if (or === undefined) return this.#single(resolved, pointer);
    const branches = resolved[or] as readonly Schema[];
    if (branches.length > BRANCHES_MAX)
      throw refuse(pointer, `${or} has more than ${BRANCHES_MAX} branches`);
    if (or === "oneOf") this.#checkDisjoint(branches, pointer);
    const rest = without(resolved, or);
    const states = branches.map((branch, i) => {
      const whole = says(rest) ? { allOf: [rest, branch] } : branch;
      return this.#builder.call(this.rule(whole, `${pointer}/${or}/${i}`), this.#builder.leave);
    });
    return this.#builder.split(states);
  }

  #checkDisjoint(branches: readonly Schema[], pointer: string): void {
    const resolve = (schema: Schema): Schema | undefined => {
      const resolved = this.#resolve(schema, pointer);
      const several = isObject(resolved) && OR_KEYWORDS.some((or) => resolved[or] !== undefined);
      return several ? undefined : resolved;
    };
    for (let i = 0; i < branches.length; i++)
      for (let k = 0; k < i; k++)
        if (!areDisjoint(branches[k]!, branches[i]!, resolve))
          throw refuse(pointer, `oneOf: a value could meet both branch ${k} and branch ${i}`, {
            hint: "use anyOf, or require a property with another const in every branch",
          });
  }

  /** Without $ref, allOf, anyOf, oneOf. */
  #single(schema: JsonObject, pointer: string): MaybeState {
    const { leave } = this.#builder;
    const values = listedValues(schema, pointer);
    if (values)
      return this.#builder.texts(
        values.map((value) => JSON.stringify(value)),
        leave,
      );
    const guessed = (Object.keys(KEYWORDS_OF) as (keyof typeof KEYWORDS_OF)[]).filter((type) =>
      KEYWORDS_OF[type].some((keyword) => schema[keyword] !== undefined),
    );
    const named = schema.type === undefined ? guessed : ([schema.type].flat() as TypeName[]);
    if (named.length === 0) return this.#builder.call(this.#json.value(), leave);
    const types = new Set(named);
    if (types.has("number")) types.delete("integer");
    return this.#builder.split([...types].map((type) => this.#typed(type, schema, pointer)));
  }

  #typed(type: TypeName, schema: JsonObject, pointer: string): MaybeState {
    const { leave } = this.#builder;
    switch (type) {
      case "null":
        return this.#builder.text("null", leave);
      case "boolean":
        return this.#builder.texts(["true", "false"], leave);
      case "integer":
      case "number":
        return this.#number(type, schema, pointer);
      case "string":
        return this.#string(schema, pointer);
      case "array":
        return this.#array(schema, pointer);
      case "object":
        return this.#object(schema, pointer);
    }
  }

  #number(type: "integer" | "number", schema: JsonObject, pointer: string): MaybeState {
    const { leave } = this.#builder;
    const bound = (keyword: string, none: number) =>
      (schema[keyword] as number | undefined) ?? none;
    const [minimum, over] = [bound("minimum", -Infinity), bound("exclusiveMinimum", -Infinity)];
    const [maximum, under] = [bound("maximum", Infinity), bound("exclusiveMaximum", Infinity)];
    const range: NumberRange = {
      low: Math.max(minimum, over),
      low_open: over >= minimum && over !== -Infinity,
      high: Math.min(maximum, under),
      high_open: under <= maximum && under !== Infinity,
      multiple_of: bound("multipleOf", 1),
    };
    const { multiple_of } = range;
    if (!Number.isInteger(multiple_of))
      throw refuse(pointer, "multipleOf is supported for whole numbers only", {
        hint: "validators disagree about fractions; use integers of the smaller unit",
      });
    if (type === "number" && schema.multipleOf === undefined) {
      const state = numberState(this.#builder, range, leave);
      if (state === undefined)
        throw refuse(
          pointer,
          `a bound of the number has more than ${LIMITS.integer_digits_max} digits`,
        );
      return state;
    }
    if (multiple_of <= LIMITS.multiple_of_max) return integerState(this.#builder, range, leave);
    const first = Math.ceil(Math.max(range.low, -INTEGER_MAX) / multiple_of);
    const last = Math.floor(Math.min(range.high, INTEGER_MAX) / multiple_of);
    if (last - first > LIMITS.multiples_listed_max)
      throw refuse(
        pointer,
        `multipleOf above ${LIMITS.multiple_of_max} with so many multiples in range`,
      );
    const texts: string[] = [];
    for (let i = first; i <= last; i++) {
      const value = i * multiple_of;
      const inside =
        (!range.low_open || value > range.low) && (!range.high_open || value < range.high);
      if (inside) texts.push(String(value === 0 ? 0 : value));
    }
    return this.#builder.texts(texts, leave);
  }

  #string(schema: JsonObject, pointer: string): MaybeState {
    const min = (schema.minLength as number | undefined) ?? 0;
    const max = (schema.maxLength as number | undefined) ?? Infinity;
    const closing = this.#builder.text('"', this.#builder.leave);
    const { pattern, format } = schema as { pattern?: string; format?: string };
    if (pattern !== undefined && format !== undefined)
      throw refuse(pointer, "pattern and format together are not supported");
    if (pattern === undefined && format === undefined)
      return this.#builder.text('"', this.#json.chars(min, max, closing));
    const regex = format === undefined ? parseRegex(pattern!, pointer) : formatRegex(format);
    if (regex === undefined)
      throw refuse(pointer, `format ${format} is not supported`, {
        hint: `supported: ${FORMAT_NAMES.join(", ")}`,
      });
    const inside = patternState(this.#builder, regex, { min, max }, closing, pointer);
    return this.#builder.text('"', inside);
  }

  #array(schema: JsonObject, pointer: string): MaybeState {
    const b = this.#builder;
    const min = (schema.minItems as number | undefined) ?? 0;
    const first = (schema.prefixItems ?? []) as readonly Schema[];
    const items = this.rule((schema.items as Schema | undefined) ?? true, `${pointer}/items`);
    const most = (schema.maxItems as number | undefined) ?? Infinity;
    const max = items === null ? Math.min(most, first.length) : most;
    return this.#json.bracketed("[", "]", b.leave, (closing) => {
      if (first.length === 0) return this.#json.list(items, closing, min, max);
      const n = first.length;
      let state = b.repeat(this.#json.comma(items), closing, Math.max(0, min - n), max - n);
      for (let i = n; i-- > 0; ) {
        const item = b.call(
          this.rule(first[i]!, `${pointer}/prefixItems/${i}`),
          i + 1 <= max ? state : null,
        );
        const some = i === 0 ? this.#json.space(item) : this.#json.comma(item);
        state = b.split([i >= min && i <= max ? closing : null, some]);
      }
      return state;
    });
  }

  #object(schema: JsonObject, pointer: string): MaybeState {
    const listed = (schema.properties ?? {}) as Record<string, Schema>;
    const required = new Set((schema.required ?? []) as readonly string[]);
    const others = (schema.additionalProperties as Schema | undefined) ?? true;
    const names = [...new Set([...Object.keys(listed), ...required])];
    for (const name of names)
      if (Buffer.byteLength(name) > LIMITS.name_bytes_max)
        throw refuse(pointer, `a property's name is longer than ${LIMITS.name_bytes_max} bytes`);
    const other_rule = () => this.rule(others, `${pointer}/additionalProperties`);
    const properties = names.map((name) => {
      const own = Object.hasOwn(listed, name);
      const rule = own
        ? this.rule(listed[name]!, `${pointer}/properties${step(name)}`)
        : other_rule();
      return { name, rule, required: required.has(name) };
    });
    const min = (schema.minProperties as number | undefined) ?? 0;
    const max = (schema.maxProperties as number | undefined) ?? Infinity;
    const open = schema.additionalProperties !== undefined || schema.properties === undefined;
    const additional = open ? other_rule() : null;
    if (min > names.length + (additional === null ? 0 : 1))
      throw refuse(
        pointer,
        "minProperties above the number of listed properties is not supported",
        {
          hint: "list the properties",
        },
      );
    if ((max !== Infinity || min > 1) && names.length > COUNTED_MAX)
      throw refuse(
        pointer,
        `minProperties and maxProperties with more than ${COUNTED_MAX} properties`,
      );
    return objectState(
      this.#builder,
      this.#json,
      { properties, additional, min, max },
      this.#builder.leave,
    );
  }
}

/** Size and depth, before anything recurses or is copied. */
function checkSize(schema: unknown): void {
  let values = 1;
  const open: [value: unknown, depth: number][] = [[schema, 1]];
  for (let item = open.pop(); item !== undefined; item = open.pop()) {
    const [value, depth] = item;
    if (typeof value !== "object" || value === null) continue;
    if (depth >= LIMITS.schema_depth_max)
      throw refuse("", `it is nested more than ${LIMITS.schema_depth_max} levels deep`);
    const inner: unknown[] = Array.isArray(value) ? value : Object.values(value);
    values += inner.length;
    if (values > LIMITS.schema_values_max)
      throw refuse("", `it has more than ${LIMITS.schema_values_max} values`);
    for (const part of inner) open.push([part, depth + 1]);
  }
  if (JSON.stringify(schema).length > LIMITS.schema_bytes_max)
    throw refuse("", `it is longer than ${LIMITS.schema_bytes_max} bytes`);
}

/**
 * The constraint whose texts are JSON that meets the schema. Throws UNSUPPORTED_SCHEMA naming the place
 * and the keyword, BAD_SCHEMA where a keyword's value is not what JSON Schema says.
 */
export function compileJsonSchema(schema: unknown): Constraint {
  if (typeof schema !== "boolean" && !isObject(schema as Json))
    throw malformed("", "a schema", "an object or a boolean");
  checkSize(schema);
  return { program: new SchemaCompiler(schema as Schema).program() };
}

/** Any JSON object: what response_format json_object asks for. */
export function jsonObjectConstraint(): Constraint {
  return compileJsonSchema({ type: "object" });
}
