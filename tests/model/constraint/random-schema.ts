/** Random schemas of the supported subset, as fast-check arbitraries. */
import fc from "fast-check";

type Schema = boolean | Record<string, unknown>;

/** Not __proto__: the validator leaves it out. */
const name = fc.constantFrom(
  "a",
  "b",
  "ab",
  "name",
  "kind",
  "é",
  "한국",
  'q"t',
  "\\",
  "constructor",
  "x y",
);
const small = fc.integer({ min: -20, max: 20 });

/** [least, most] of what is counted. */
const counts = (max: number) =>
  fc.tuple(fc.nat(max), fc.nat(max)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
/** Leaves out keys at random. */
const some = (record: Record<string, fc.Arbitrary<unknown>>, required: string[] = []) =>
  fc.record(record, { requiredKeys: required }) as fc.Arbitrary<Record<string, unknown>>;

const strings = fc
  .oneof(
    counts(12).chain(([minLength, maxLength]) =>
      some({ minLength: fc.constant(minLength), maxLength: fc.constant(maxLength) }),
    ),
    fc.record({
      format: fc.constantFrom("date", "time", "date-time", "uuid", "ipv4", "email"),
    }),
    fc.record({
      pattern: fc.constantFrom(
        "^[a-z]+$",
        "^\\d{3}-\\d{4}$",
        "^(?:ab|cd)*x?$",
        "ab",
        '^[^"\\\\]{2,5}$',
        "^.{1,3}\\.(?:png|jpe?g)$",
        "[가-힣]{2}$",
        "^[\\s\\S]{0,4}$",
        "^\\u{1F600}|é$",
        "^[\\w.-]+@[a-z]+\\.com$",
      ),
    }),
    counts(8).map(([minLength, maxLength]) => ({
      pattern: "^[a-zé🦙]*$",
      minLength,
      maxLength,
    })),
    fc.constant({ pattern: "^(?:ab|c)+$", minLength: 3 }),
  )
  .map((s): Schema => ({ type: "string", ...s }));

const bounds = fc.oneof(
  some({ minimum: small }),
  some({ maximum: small }),
  fc.tuple(small, fc.integer({ min: 2, max: 500 })).map(([low, more]) => ({
    minimum: low,
    maximum: low + more,
  })),
  fc.tuple(small, fc.integer({ min: 2, max: 50 })).map(([low, more]) => ({
    exclusiveMinimum: low,
    exclusiveMaximum: low + more,
  })),
);
const integers = fc.oneof(
  bounds,
  fc.integer({ min: 1, max: 12 }).map((multipleOf) => ({ multipleOf })),
  fc.tuple(fc.integer({ min: 2, max: 9 }), small).map(([multipleOf, minimum]) => ({
    multipleOf,
    minimum,
    maximum: minimum + 40,
  })),
  fc
    .integer({ min: 400, max: 900 })
    .map((multipleOf) => ({ multipleOf, minimum: 0, maximum: 9000 })),
);
const fractions = fc
  .tuple(fc.integer({ min: -400, max: 400 }), fc.integer({ min: 1, max: 800 }), fc.boolean())
  .map(([low, more, open]) =>
    open
      ? { exclusiveMinimum: low / 100, exclusiveMaximum: (low + more + 1) / 100 }
      : { minimum: low / 8, maximum: (low + more) / 8 },
  );
const numbers = fc.oneof(
  fc.oneof(integers, bounds).map((s): Schema => ({ type: "integer", ...s })),
  fc.oneof(bounds, fractions).map((s): Schema => ({ type: "number", ...s })),
  fc.constant<Schema>({ type: "number" }),
);

const json = fc
  .jsonValue({ maxDepth: 2, noUnicodeString: false })
  .filter((value) => JSON.stringify(value).length < 60 && !JSON.stringify(value).includes("\\ud"));
const listed = fc.oneof(
  json.map((value): Schema => ({ const: value })),
  fc.array(json, { minLength: 1, maxLength: 6 }).map((values): Schema => ({ enum: values })),
  fc.uniqueArray(name, { minLength: 1, maxLength: 5 }).map(
    (values): Schema => ({
      type: "string",
      enum: values,
    }),
  ),
);
const plain = fc.oneof(
  { weight: 4, arbitrary: strings },
  { weight: 4, arbitrary: numbers },
  { weight: 2, arbitrary: listed },
  { weight: 1, arbitrary: fc.constantFrom<Schema>({ type: "boolean" }, { type: "null" }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Schema>(
      true,
      {},
      { type: ["integer", "null"] },
      { type: ["string", "boolean"] },
    ),
  },
);

function objectOf(inner: fc.Arbitrary<Schema>): fc.Arbitrary<Schema> {
  const properties = fc.uniqueArray(fc.tuple(name, inner), {
    maxLength: 5,
    selector: ([key]) => key,
  });
  const additional = fc.option(fc.oneof(fc.boolean(), inner), { nil: undefined });
  return fc
    .tuple(properties, fc.infiniteStream(fc.boolean()), additional, fc.nat(3), fc.option(fc.nat(4)))
    .map(([entries, flags, additionalProperties, low, more]): Schema => {
      const required = entries.map(([key]) => key).filter(() => flags.next().value);
      const schema: Record<string, unknown> = {
        type: "object",
        properties: Object.fromEntries(entries),
        required,
      };
      if (additionalProperties !== undefined) schema.additionalProperties = additionalProperties;
      if (more === null) return schema;
      schema.minProperties = Math.min(low, entries.length);
      schema.maxProperties = Math.max(low, required.length) + more;
      return schema;
    });
}

function arrayOf(inner: fc.Arbitrary<Schema>): fc.Arbitrary<Schema> {
  const prefix = fc.option(fc.array(inner, { minLength: 1, maxLength: 3 }), { nil: undefined });
  return fc
    .tuple(fc.option(inner, { nil: undefined }), prefix, counts(5), fc.boolean(), fc.boolean())
    .map(
      ([items, prefixItems, [minItems, maxItems], has_min, has_max]): Schema => ({
        type: "array",
        ...(items === undefined ? {} : { items }),
        ...(prefixItems ? { prefixItems } : {}),
        ...(has_min ? { minItems } : {}),
        ...(has_max ? { maxItems } : {}),
      }),
    );
}

/** oneOf by types, or by a property that tells the branches apart. */
function oneOfKinds(inner: fc.Arbitrary<Schema>): fc.Arbitrary<Schema> {
  const branches = fc.array(inner, { minLength: 2, maxLength: 4 }).map(
    (values): Schema => ({
      oneOf: values.map((value, i) => ({
        type: "object",
        properties: { kind: { const: `k${i}` }, value },
        required: ["kind", "value"],
        additionalProperties: false,
      })),
    }),
  );
  const by_type = fc.tuple(strings, numbers).map((values): Schema => ({ oneOf: values }));
  return fc.oneof(branches, by_type);
}

const { node } = fc.letrec<{ node: Schema }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 3, depthSize: "small", withCrossShrink: true },
    { weight: 4, arbitrary: plain },
    { weight: 3, arbitrary: objectOf(tie("node")) },
    { weight: 2, arbitrary: arrayOf(tie("node")) },
    {
      weight: 1,
      arbitrary: fc
        .array(tie("node"), { minLength: 1, maxLength: 3 })
        .map((anyOf): Schema => ({ anyOf })),
    },
    { weight: 1, arbitrary: oneOfKinds(tie("node")) },
    {
      weight: 1,
      arbitrary: fc.tuple(objectOf(tie("node")), objectOf(tie("node"))).map(
        ([a, b]): Schema => ({
          allOf: [a, b],
        }),
      ),
    },
    {
      weight: 1,
      arbitrary: tie("node").map(
        (value): Schema => ({
          $defs: {
            list: {
              type: "object",
              properties: { value, next: { $ref: "#/$defs/list" } },
              required: ["value"],
            },
          },
          $ref: "#/$defs/list",
        }),
      ),
    },
  ),
}));

/** Recursive schemas refer to the outermost $defs, so they stand alone there. */
const hoisted = (schema: Schema): Schema => {
  if (typeof schema === "boolean") return { anyOf: [schema] };
  const defs: Record<string, unknown> = {};
  const text = JSON.stringify(schema, (_key, value) => {
    if (typeof value !== "object" || value === null || value.$defs === undefined) return value;
    const key = `d${Object.keys(defs).length}`;
    const moved = JSON.stringify(value.$defs.list).replaceAll("#/$defs/list", `#/$defs/${key}`);
    defs[key] = JSON.parse(moved);
    return { $ref: `#/$defs/${key}` };
  });
  return { ...(JSON.parse(text) as object), $defs: defs };
};

/** A schema of the subset; a few have no value, or are refused because merging them is. */
export const randomSchema: fc.Arbitrary<Schema> = node.map(hoisted);
