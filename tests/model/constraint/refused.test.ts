/**
 * What is not of the subset is refused by the keyword's name and its place, and hostile schemas cost
 * little: they come from strangers over HTTP.
 */
import { describe, expect, test } from "bun:test";
import { MagnetError } from "../../../src/core/errors.ts";
import { compileJsonSchema } from "../../../src/model/constraint/compile.ts";
import { LIMITS } from "../../../src/model/constraint/limits.ts";

function refusal(schema: unknown): MagnetError {
  try {
    compileJsonSchema(schema);
  } catch (error) {
    if (error instanceof MagnetError) return error;
    throw error;
  }
  throw new Error(`not refused: ${JSON.stringify(schema).slice(0, 200)}`);
}

/** Keyword, and a schema that holds it at /properties/x. */
const KEYWORDS: [name: string, value: unknown][] = [
  ["not", { type: "null" }],
  ["if", {}],
  ["then", {}],
  ["else", {}],
  ["patternProperties", { a: {} }],
  ["propertyNames", { maxLength: 3 }],
  ["dependentRequired", { a: ["b"] }],
  ["dependentSchemas", { a: {} }],
  ["dependencies", {}],
  ["unevaluatedProperties", false],
  ["unevaluatedItems", false],
  ["contains", {}],
  ["minContains", 1],
  ["maxContains", 1],
  ["uniqueItems", true],
  ["additionalItems", false],
  ["contentEncoding", "base64"],
  ["contentMediaType", "text/plain"],
  ["contentSchema", {}],
  ["$anchor", "a"],
  ["$dynamicRef", "#a"],
  ["$dynamicAnchor", "a"],
  ["$id", "https://example.org/x"],
  ["$recursiveRef", "#"],
  ["nullable", true],
  ["discriminator", {}],
  ["enumNames", []],
  ["toString", 1],
];

describe("keywords outside of the subset are refused by name and place", () => {
  test.each(KEYWORDS)("%s", (keyword, value) => {
    const error = refusal({ type: "object", properties: { x: { [keyword]: value } } });
    expect(error.code).toBe("UNSUPPORTED_SCHEMA");
    expect(error.message).toContain("/properties/x");
    expect(error.message).toContain(keyword);
    expect(error.hint).toBeString();
  });
});

describe("values and combinations outside of the subset", () => {
  test.each<[what: string, schema: unknown, says: string]>([
    ["another document", { $ref: "https://example.org/a.json" }, "within the schema"],
    ["an anchor", { $ref: "#name" }, "within the schema"],
    ["no such definition", { $ref: "#/$defs/a", $defs: {} }, "leads to no schema"],
    ["a prototype's property", { $ref: "#/$defs/constructor", $defs: {} }, "leads to no schema"],
    [
      "references in a circle",
      { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } } },
      "without end",
    ],
    ["a format", { type: "string", format: "hostname" }, "format hostname"],
    ["a fraction's multiples", { type: "number", multipleOf: 0.01 }, "multipleOf"],
    ["too many multiples", { type: "integer", multipleOf: 1009 }, "multipleOf"],
    ["a bound of many digits", { type: "number", minimum: 0.1234567890123456 }, "digits"],
    ["oneOf that may overlap", { oneOf: [{ type: "number" }, { type: "integer" }] }, "oneOf"],
    [
      "oneOf of open objects",
      { oneOf: [{ type: "object" }, { type: "object" }] },
      "branch 0 and branch 1",
    ],
    ["two patterns", { allOf: [{ pattern: "^a" }, { pattern: "b$" }] }, "pattern"],
    ["pattern and format", { type: "string", pattern: "^1", format: "date" }, "pattern and format"],
    ["enum beside pattern", { enum: ["a"], pattern: "^b" }, "pattern"],
    ["many keys at least", { type: "object", minProperties: 2 }, "minProperties"],
    ["no value", { type: "array", minItems: 2, maxItems: 1 }, "no value"],
    ["no value of a type", { type: "string", enum: [1, 2] }, "no value"],
    ["no integer in range", { type: "integer", minimum: 0.2, maximum: 0.8 }, "no value"],
    ["false", false, "no value"],
    [
      "a required property that is false",
      { properties: { a: false }, required: ["a"] },
      "no value",
    ],
    ["endless recursion", { properties: { a: { $ref: "#" } }, required: ["a"] }, "no value"],
    ["types without a common value", { allOf: [{ type: "string" }, { type: "null" }] }, "no value"],
  ])("%s", (_what, schema, says) => {
    const error = refusal(schema);
    expect(error.code).toBe("UNSUPPORTED_SCHEMA");
    expect(error.message).toContain(says);
  });

  test.each([
    ["(?=a)", "assertions"],
    ["(?!a)", "assertions"],
    ["(?<=a)b", "assertions"],
    ["(?<!a)b", "assertions"],
    ["(a)\\1", "\\1"],
    ["\\bword\\b", "\\b"],
    ["\\p{L}+", "\\p"],
    ["a^b", "^"],
    ["a$b", "$"],
    ["(^a)", "^"],
    ["a{2", "{n,m}"],
    ["a{3,2}", "{n,m}"],
    ["a**", "repeat of a repeat"],
    ["*a", "nothing to repeat"],
    ["(a", "not closed"],
    ["a)", "unexpected )"],
    ["[a", "not closed"],
    ["[z-a]", "wrong order"],
    ["[\\d-z]", "range"],
    ["\\", "at the end"],
    ["\\u12", "escape"],
    ["a{1001}{1001}", "repeat"],
    ["(?:(?:a{100}){100}){100}", "too large"],
    [`${"(".repeat(60)}a${")".repeat(60)}`, "50 groups"],
    ["a".repeat(5000), "4096 bytes"],
  ])("the pattern %s", (pattern, says) => {
    const error = refusal({ type: "string", pattern });
    expect(error.code).toBe("UNSUPPORTED_SCHEMA");
    expect(error.message).toContain("pattern");
    expect(error.message).toContain(says);
  });

  test.each<[schema: unknown, keyword: string]>([
    [7, "a schema"],
    [null, "a schema"],
    [[], "a schema"],
    [{ type: "text" }, "type"],
    [{ type: [] }, "type"],
    [{ properties: [] }, "properties"],
    [{ properties: { a: 1 } }, "properties"],
    [{ required: "a" }, "required"],
    [{ items: [{}] }, "items"],
    [{ minLength: -1 }, "minLength"],
    [{ maxItems: 1.5 }, "maxItems"],
    [{ minimum: "1" }, "minimum"],
    [{ multipleOf: 0 }, "multipleOf"],
    [{ enum: [] }, "enum"],
    [{ anyOf: [] }, "anyOf"],
    [{ $ref: 1 }, "$ref"],
    [{ $ref: "#/%ff" }, "$ref"],
    [{ pattern: 1 }, "pattern"],
  ])("malformed: %j", (schema, keyword) => {
    const error = refusal(schema);
    expect(error.code).toBe("BAD_SCHEMA");
    expect(error.message).toContain(keyword);
  });
});

/** Wraps a schema `levels` times. */
function nested(levels: number, wrap: (inner: unknown) => unknown): unknown {
  let schema: unknown = { type: "null" };
  for (let i = 0; i < levels; i++) schema = wrap(schema);
  return schema;
}
const doubled = (keyword: string, n: number) => ({
  $defs: Object.fromEntries(
    Array.from({ length: n }, (_, i) => [
      `d${i}`,
      i === 0
        ? { type: "object", properties: { a: { type: "null" } } }
        : { [keyword]: [{ $ref: `#/$defs/d${i - 1}` }, { $ref: `#/$defs/d${i - 1}` }] },
    ]),
  ),
  $ref: `#/$defs/d${n - 1}`,
});

describe("hostile schemas cost little", () => {
  const wide = (n: number) =>
    Object.fromEntries(Array.from({ length: n }, (_, i) => [`property${i}`, { type: "string" }]));
  test.each<[what: string, schema: unknown]>([
    ["nested 10,000 deep", nested(10_000, (inner) => ({ items: inner }))],
    [
      "nested within the limit",
      nested(45, (inner) => ({ type: "array", items: inner, minItems: 1 })),
    ],
    ["a million values", { enum: Array.from({ length: 1_000_000 }, (_, i) => i) }],
    ["an enum of 20,000", { enum: Array.from({ length: 20_000 }, (_, i) => `value ${i * 7919}`) }],
    ["a long string", { const: "x".repeat(300_000) }],
    ["anyOf doubled 30 times", doubled("anyOf", 30)],
    ["allOf doubled 30 times", doubled("allOf", 30)],
    ["2,000 optional properties", { type: "object", properties: wide(2000) }],
    [
      "counted properties",
      { type: "object", properties: wide(100), minProperties: 50, maxProperties: 60 },
    ],
    ["too many counted properties", { type: "object", properties: wide(2000), maxProperties: 60 }],
    [
      "allOf of anyOf, 2^20 branches",
      {
        allOf: Array.from({ length: 20 }, (_, i) => ({
          anyOf: [{ properties: { [`a${i}`]: {} } }, { properties: { [`b${i}`]: {} } }],
        })),
      },
    ],
    ["a large counted pattern", { type: "string", pattern: "^(?:[^x]{0,40}y)*$", maxLength: 400 }],
    ["a pattern of wide classes", { type: "string", pattern: `^${"[^a]".repeat(1000)}$` }],
    ["a long length", { type: "string", minLength: 1_000_000_000, maxLength: 2_000_000_000 }],
    ["a long array", { type: "array", items: { type: "array", minItems: 1e9 }, minItems: 1e9 }],
    [
      "a divisor for each digit",
      { type: "integer", multipleOf: 359, minimum: -1e14, maximum: 1e14 },
    ],
    ["a long name", { type: "object", properties: { ["n".repeat(200_000)]: {} } }],
    [
      "oneOf of 128",
      {
        oneOf: Array.from({ length: 128 }, (_, i) => ({
          properties: { k: { const: i } },
          required: ["k"],
        })),
      },
    ],
    [
      "merging without end",
      {
        $defs: {
          a: { properties: { n: { $ref: "#/$defs/a" } } },
          b: {
            properties: {
              n: { allOf: [{ $ref: "#/$defs/a" }, { $ref: "#/$defs/b" }] },
              m: { $ref: "#/$defs/b" },
            },
          },
        },
        allOf: [{ $ref: "#/$defs/a" }, { $ref: "#/$defs/b" }],
      },
    ],
  ])(
    "%s",
    (_what, schema) => {
      const begin = process.cpuUsage();
      let bytes = 0;
      try {
        bytes = compileJsonSchema(schema).program.length;
      } catch (error) {
        expect(error).toBeInstanceOf(MagnetError);
        expect((error as MagnetError).code).toBe("UNSUPPORTED_SCHEMA");
      }
      const { user, system } = process.cpuUsage(begin);
      // Some tenths of a second on an idle machine; doubling without end would take minutes.
      expect((user + system) / 1e6).toBeLessThan(5);
      expect(bytes).toBeLessThan(40 * LIMITS.states_max + 20 * LIMITS.states_max);
    },
    20_000,
  );
});
