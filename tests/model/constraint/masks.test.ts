/**
 * Token masks against their definition: a token is allowed exactly where the text with its bytes can
 * still be completed. Small vocabulary and Llama-3's; tokens that end within a character among them.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { toByteAlphabet } from "../../../src/model/byte-alphabet.ts";
import { NativeGrammar, NativeVocabulary } from "../../../src/native/constraint.ts";
import { llama3Peer } from "../llama3-vocabulary.ts";
import {
  compileJsonSchema,
  END,
  newConstraints,
  randomNumbers,
  SOURCE,
  TOKENS,
  write,
} from "./fixtures.ts";

const SCHEMAS: Record<string, unknown> = {
  "any object": { type: "object" },
  "named fields": {
    type: "object",
    properties: {
      name: { type: "string", minLength: 1, maxLength: 6 },
      age: { type: "integer", minimum: 0, maximum: 150 },
      kind: { enum: ["a", "ab", "é", "한국어"] },
    },
    required: ["name", "kind"],
    additionalProperties: { type: "boolean" },
  },
  "a pattern": { type: "string", pattern: "^(?:[가-힣🦙]{2}|\\w+)-\\d{2,4}$" },
  numbers: { type: "array", items: { type: "number", minimum: -2.5, maximum: 99 }, minItems: 2 },
  recursion: {
    $defs: {
      node: {
        properties: { next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } },
        required: ["next"],
      },
    },
    $ref: "#/$defs/node",
  },
};

const allows = (mask: Uint8Array, id: number): boolean => ((mask[id >> 3]! >> (id & 7)) & 1) === 1;

/** Whether a text can go on to a complete one within `bytes_left` bytes. */
function canGoOn(grammar: NativeGrammar, text: Uint8Array, bytes_left: number): boolean {
  try {
    return grammar.inspect(text).cost <= bytes_left;
  } catch {
    return false;
  }
}

function checkMask(
  grammar: NativeGrammar,
  text: Uint8Array,
  draws_left: number,
  tokens: readonly Uint8Array[],
  ids: Iterable<number>,
  end: number,
): void {
  const { mask, complete, cost } = grammar.inspect(text, draws_left);
  const bound =
    draws_left > 0 && cost + 1 <= draws_left ? draws_left - 2 : Number.POSITIVE_INFINITY;
  expect(allows(mask, end)).toBe(complete);
  const wrong: number[] = [];
  for (const id of ids) {
    if (id === end) continue;
    const bytes = tokens[id]!;
    const expected = bytes.length > 0 && canGoOn(grammar, Buffer.concat([text, bytes]), bound);
    if (allows(mask, id) !== expected) wrong.push(id);
  }
  expect({ text: Buffer.from(text).toString("latin1"), draws_left, wrong }).toMatchObject({
    wrong: [],
  });
}

describe("every token of a small vocabulary, along random texts", () => {
  const tokens = TOKENS.map((token, id) => (SOURCE.isSpecial(id) ? new Uint8Array(0) : token));
  const vocabulary = new NativeVocabulary(tokens, [END]);
  const constraints = newConstraints();
  const all = tokens.map((_, id) => id);
  afterAll(() => {
    constraints.close();
    vocabulary.close();
  });

  test.each(Object.keys(SCHEMAS))("%s", (name) => {
    const constraint = compileJsonSchema(SCHEMAS[name]);
    const grammar = new NativeGrammar(vocabulary, constraint.program);
    for (const seed of [1, 2]) {
      const { tokens: written } = write(constraints, constraint, seed, { budget: 40 });
      let text = Buffer.alloc(0);
      for (const [i, id] of written.entries()) {
        checkMask(grammar, text, i % 3 === 0 ? 0 : 40 - i, tokens, all, END);
        text = Buffer.concat([text, tokens[id]!]);
      }
      checkMask(grammar, text, 0, tokens, all, END);
    }
    grammar.close();
  });
});

describe("Llama-3's vocabulary", () => {
  let tokens: Uint8Array[] = [];
  let vocabulary: NativeVocabulary;
  const end = 128_001;
  beforeAll(async () => {
    const { vocabById } = await llama3Peer();
    const bytes = new Map(
      Array.from({ length: 256 }, (_, b) => [toByteAlphabet(Uint8Array.of(b)), b]),
    );
    tokens = vocabById.map((name, id) =>
      id >= 128_000 ? new Uint8Array(0) : Uint8Array.from([...name], (c) => bytes.get(c)!),
    );
    vocabulary = new NativeVocabulary(tokens, [end]);
  });
  afterAll(() => vocabulary.close());

  test("masks agree on sampled tokens, those cut within characters among them", () => {
    const random = randomNumbers(7);
    const cut = tokens.flatMap((token, id) =>
      Buffer.from(token).toString().includes("�") ? [id] : [],
    );
    expect(cut.length).toBeGreaterThan(500);
    const texts = [
      "",
      '{"',
      '{"name": "',
      '{"name":"\u00e9',
      '{"name": "ab", "kind": "',
      '"한',
      "[1, ",
    ];
    for (const schema of Object.values(SCHEMAS)) {
      const grammar = new NativeGrammar(vocabulary, compileJsonSchema(schema).program);
      for (const text of texts) {
        const bytes = Buffer.from(text);
        if (!canGoOn(grammar, bytes, Number.POSITIVE_INFINITY)) continue;
        const { mask } = grammar.inspect(bytes);
        const sampled = Array.from({ length: 150 }, () => Math.floor(random() * 128_000));
        const cuts = Array.from({ length: 50 }, () => cut[Math.floor(random() * cut.length)]!);
        const allowed: number[] = [];
        for (let id = Math.floor(random() * 500); id < 128_000; id += 37)
          if (allows(mask, id)) allowed.push(id);
        checkMask(grammar, bytes, 0, tokens, [...sampled, ...cuts, ...allowed.slice(0, 100)], end);
      }
      grammar.close();
    }
  }, 60_000);
});
