/** JSON from strangers: what is refused, and that everything else is read as JSON.parse reads it. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { ApiError } from "../../src/http/serve/api-error.ts";
import { JSON_DEPTH_MAX } from "../../src/http/serve/limits.ts";
import { parseStrictJson } from "../../src/http/serve/strict-json.ts";

const parse = (text: string) => parseStrictJson(new TextEncoder().encode(text));
const reason = (text: string | Uint8Array): string => {
  try {
    typeof text === "string" ? parse(text) : parseStrictJson(text);
  } catch (error) {
    if (error instanceof ApiError && error.status === 400 && error.code === "invalid_json")
      return error.message;
    throw error;
  }
  return "taken";
};

test("what JSON.parse lets pass in silence is refused with its reason", () => {
  const deep = "[".repeat(JSON_DEPTH_MAX);
  for (const [text, why] of [
    ['{"a":1,"b":{"c":2},"a":3}', "twice"],
    ['{"x":[{"b":1,"\\u0062":2}]}', "twice"],
    ['{"a" \n\t :1,"a":2}', "twice"],
    ['{"__proto__":{"x":1}}', "__proto__"],
    ['{"a":{"\\u005f_proto__":1}}', "__proto__"],
    ['{"a":1e999}', "out of range"],
    ['{"a":[-1e999]}', "out of range"],
    ['{"a":"\\ud800"}', "surrogate"],
    ['{"a":{"b":["x\\udc00y"]}}', "surrogate"],
    [`{"a":${deep}`, "nested deeper"],
    [`{"a":${"[".repeat(3_000_000)}`, "nested deeper"],
    [`${'{"a":'.repeat(1_000_000)}`, "nested deeper"],
    [`{"a":[${"1,".repeat(2_000_001)}1]}`, "more than"],
    ["", "empty"],
    ["  \n", "empty"],
    ["[]", "must be a JSON object"],
    ["null", "must be a JSON object"],
    ['"x"', "must be a JSON object"],
    ['{"a":"b', "no end"],
    ['{"a":1}}', "not JSON"],
    ['{"a":1} {"b":2}', "not JSON"],
    ["{'a':1}", "not JSON"],
    ['{"a":01}', "not JSON"],
    ['{"a":NaN}', "not JSON"],
    ["\ufeff{}", "taken"], // a byte order mark is no text: the decoder drops it
  ] as const)
    expect([text.slice(0, 40), reason(text)]).toEqual([
      text.slice(0, 40),
      expect.stringContaining(why),
    ]);
  expect(reason(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]))).toContain("not UTF-8");
});

test("equal names in different objects, and names like methods, are taken", () => {
  const text = '{"a":{"a":1},"b":[{"a":1},{"a":2}],"constructor":{"toString":"a:b,{\\"a\\":1"}}';
  expect(parse(text)).toEqual(JSON.parse(text));
});

test("any JSON object is read as JSON.parse reads it", () => {
  const value = fc.jsonValue({ maxDepth: 5 });
  fc.assert(
    fc.property(fc.dictionary(fc.string(), value), fc.nat(2), (object, indent) => {
      const text = JSON.stringify(object, null, indent);
      fc.pre(text.isWellFormed() && !text.includes("\\ud") && !text.includes("__proto__"));
      expect(parse(text)).toEqual(JSON.parse(text));
    }),
    { numRuns: 300 },
  );
});

test("no bytes do more than be refused", () => {
  const near = fc.string({ unit: fc.constantFrom(...'{}[]":,\\ue-0159ntf_ \n'), maxLength: 60 });
  fc.assert(
    fc.property(near, fc.uint8Array({ maxLength: 40 }), (text, bytes) => {
      reason(text);
      reason(`{"a":${text}}`);
      reason(bytes);
      reason(`{"a":${Buffer.from(bytes).toString("latin1")}}`);
    }),
    { numRuns: 2000 },
  );
});
