/** The decoder against strangers: known shapes, property tests, thousands of mutated frames. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { z } from "zod";
import { decodeBody, encodeBody, structureError } from "../../src/network/codec.ts";
import { type Frame, KIND, parseFrame, Session } from "../../src/network/envelope.ts";
import { TokenBucket } from "../../src/network/rate-limit.ts";
import { noteMessage } from "./network-fixture.ts";

const SEED = 20_261_121;
const options = { seed: SEED, numRuns: 3000 };
const hex = (text: string) => new Uint8Array(Buffer.from(text, "hex"));

test("structure errors by name", () => {
  const cases: [string, string | undefined][] = [
    ["", "truncated"],
    ["c0", undefined],
    ["c0c0", "trailing_bytes"],
    ["c1", "forbidden_type"],
    ["d40000", "forbidden_type"],
    ["c7010000", "forbidden_type"],
    ["a5616263", "truncated"],
    ["c6ffffffff00", "truncated"],
    ["dfffffffff", "truncated"],
    ["810101", "key_not_a_string"],
    ["82a16101a16102", "duplicate_key"],
    ["81a95f5f70726f746f5f5f80", "forbidden_key"],
    ["81ab636f6e7374727563746f7201", "forbidden_key"],
    [`${"91".repeat(16)}c0`, undefined],
    [`${"91".repeat(17)}c0`, "too_deep"],
    [`${"81a161".repeat(17)}c0`, "too_deep"],
    ["80", undefined],
    ["90", undefined],
    ["92c080", undefined],
  ];
  for (const [bytes, error] of cases)
    expect([bytes, structureError(hex(bytes))]).toEqual([bytes, error]);
  const many = encodeBody(new Array(70_000).fill(0));
  expect(structureError(many)).toBe("too_many_elements");
});

/** Plain data up to a moderate depth, as messages hold it. */
const { value: plainData } = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.string(),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }),
    fc.boolean(),
    fc.constant(null),
  ),
  key: fc
    .string({ maxLength: 12 })
    .filter((k) => !["__proto__", "constructor", "prototype"].includes(k)),
  value: fc.oneof(
    { maxDepth: 5 },
    tie("leaf"),
    fc.array(tie("value"), { maxLength: 5 }),
    fc.dictionary(tie("key") as fc.Arbitrary<string>, tie("value"), {
      maxKeys: 5,
      noNullPrototype: true,
    }),
  ),
}));

test("whatever is encoded decodes to itself", () => {
  const spec = { ...noteMessage, schema: z.unknown(), limit_bytes: 1 << 20 };
  fc.assert(
    fc.property(plainData, (value) => {
      expect(decodeBody(spec, encodeBody(value))).toEqual({ ok: true, body: value });
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test("undefined fields are left out, and the limit is checked before anything else", () => {
  const body = encodeBody({ text: "x", list: undefined });
  expect(decodeBody(noteMessage, body)).toEqual({ ok: true, body: { text: "x" } });
  const long = new Uint8Array(noteMessage.limit_bytes + 1).fill(0xc1);
  expect(decodeBody(noteMessage, long)).toEqual({ ok: false, reason: "oversize" });
});

test("random and mutated bodies never throw, and what passes fits the schema", () => {
  const valid = encodeBody({ text: "some text", list: [1, 2, 70_000, -5] });
  const mutated = fc
    .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
    .map((changes) => {
      const bytes = Uint8Array.from(valid);
      for (const [at, value] of changes) bytes[at] = value;
      return bytes;
    });
  const cut = fc.nat(valid.length).map((n) => valid.slice(0, n));
  const anything = fc.uint8Array({ maxLength: 200 });
  fc.assert(
    fc.property(fc.oneof(mutated, cut, anything), (bytes) => {
      const decoded = decodeBody(noteMessage, bytes);
      if (decoded.ok) expect(noteMessage.schema.safeParse(decoded.body).success).toBe(true);
      else expect(decoded.reason.length).toBeGreaterThan(0);
    }),
    options,
  );
});

const session = () => {
  const [one, two] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  const a = new Session({ send: one, receive: two });
  return { a, b: new Session({ send: two, receive: one }) };
};
const frame: Frame = {
  kind: KIND.request,
  request_id: 4_000_000_000,
  type: "test.note",
  body: encodeBody({ text: "x" }),
};

test("sealed frames open once, in order, in one direction; every changed byte is noticed", () => {
  const { a, b } = session();
  const sealed = [a.seal(frame), a.seal(frame)];
  expect(a.open(sealed[0]!)).toBe("forged"); // reflected
  expect(b.open(sealed[1]!)).toBe("forged"); // out of order
  expect(b.open(sealed[0]!)).toMatchObject({ ...frame, body: expect.anything() });
  expect(b.open(sealed[0]!)).toBe("forged"); // repeated
  const next = sealed[1]!;
  for (let at = 0; at < next.length; at++) {
    const changed = Uint8Array.from(next);
    changed[at]! ^= 1;
    expect(b.open(changed)).toBe("forged");
  }
  expect(b.open(next)).toMatchObject({ request_id: 4_000_000_000 });
});

test("random frames never throw, sealed or parsed", () => {
  const { b } = session();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(b.open(bytes)).toBe("forged");
      const parsed = parseFrame(bytes);
      if (parsed) expect(parsed.type.length).toBeLessThanOrEqual(64);
    }),
    options,
  );
});

test("token bucket: burst, refill, a clock set back gives nothing", () => {
  const bucket = new TokenBucket(10, 5, 0);
  for (let i = 0; i < 5; i++) expect(bucket.take(1, 0)).toBe(true);
  expect(bucket.take(1, 0)).toBe(false);
  expect(bucket.take(1, 100)).toBe(true);
  expect(bucket.take(1, 50)).toBe(false);
  expect(bucket.take(6, 10_000)).toBe(false);
  expect(bucket.take(5, 10_000)).toBe(true);
});
