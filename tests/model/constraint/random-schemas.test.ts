/**
 * Whatever a model writes under a constraint parses and meets the schema, as an independent validator
 * says; and it ends within its budget of tokens wherever a text fits at all.
 */
import { afterAll, expect, test } from "bun:test";
import fc from "fast-check";
import { toMagnetError } from "../../../src/core/errors.ts";
import { NativeGrammar, NativeVocabulary } from "../../../src/native/constraint.ts";
import {
  compileJsonSchema,
  END,
  newConstraints,
  SOURCE,
  TOKENS,
  validates,
  write,
} from "./fixtures.ts";
import { randomSchema } from "./random-schema.ts";

/** MAGNET_SCHEMAS=20000 bun test ... for more than the suite takes time for. */
const SCHEMAS = Number(process.env.MAGNET_SCHEMAS ?? 1000);
const SEED = Number(process.env.MAGNET_SEED ?? 20_261_121);

const constraints = newConstraints();
const vocabulary = new NativeVocabulary(
  TOKENS.map((token, id) => (SOURCE.isSpecial(id) ? new Uint8Array(0) : token)),
  [END],
);
afterAll(() => {
  constraints.close();
  vocabulary.close();
});

const cases = fc.sample(fc.tuple(randomSchema, fc.nat(2 ** 31), fc.integer({ min: 2, max: 220 })), {
  numRuns: SCHEMAS,
  seed: SEED,
});

test(`${SCHEMAS} random schemas: every text that ends is valid, and every one that can end does`, () => {
  let [finished_texts, refused] = [0, 0];
  for (const [schema, seed, budget] of cases) {
    const about = JSON.stringify({ schema, seed, budget });
    let constraint: ReturnType<typeof compileJsonSchema>;
    try {
      constraint = compileJsonSchema(schema);
    } catch (error) {
      refused++;
      const { code, message } = toMagnetError(error);
      expect({ about, code, message }).toMatchObject({ code: "UNSUPPORTED_SCHEMA" });
      continue;
    }
    const grammar = new NativeGrammar(vocabulary, constraint.program);
    const { cost } = grammar.inspect(new Uint8Array(0));
    grammar.close();
    const { text, finished } = write(constraints, constraint, seed, { budget });
    if (cost + 1 <= budget)
      expect({ about, text, finished }).toEqual({ about, text, finished: true });
    if (!finished) continue;
    finished_texts++;
    const problem = validates(schema, JSON.parse(text));
    expect({ about, text, problem }).toEqual({ about, text, problem: undefined });
  }
  expect(refused).toBeLessThan(0.15 * SCHEMAS);
  expect(finished_texts).toBeGreaterThan(0.7 * SCHEMAS);
}, 600_000);
