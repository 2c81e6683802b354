/**
 * Constraints under test: a small vocabulary with every byte and tokens that cut JSON where a tokenizer
 * would, texts drawn by a model that knows nothing, and an independent validator.
 */
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { compileJsonSchema } from "../../../src/model/constraint/compile.ts";
import { Constraints } from "../../../src/model/constraint/constraints.ts";
import type { Constraint } from "../../../src/model/engine/types.ts";
import { GREEDY, parseSampling, Sampler } from "../../../src/model/sampling.ts";

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const PIECES = [
  ...['{"', '":', '": ', '", "', '","', '"}', '"]', "{}", "[]", "[[", "}}", "},", "{", '"', '\\"'],
  ...["true", "false", "null", "fal", "123", "0.", ".5", "e+", "-1", "00", "2024-", ":00", "Z"],
  ...[
    " ",
    "\n",
    "\n  ",
    "    ",
    ", ",
    ": ",
    " }",
    "a",
    "name",
    "value",
    "kind",
    "ab",
    "\\u00",
    "\\ud83d",
  ],
  ...["é", "한국", "🦙", "日本語", "an", " the", "ing"],
].map(bytes);
/** Pieces that end within a character, as byte-level tokenizers have them. */
const CUT = [
  [0xed, 0x95],
  [0xf0, 0x9f],
  [0xf0, 0x9f, 0xa6],
  [0x9c, 0xea],
  [0xe6],
  [0x22, 0xe6, 0x97],
].map((values) => Uint8Array.from(values));

export const TOKENS: readonly Uint8Array[] = [
  ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
  ...PIECES,
  ...CUT,
  bytes("<|user|>"),
  bytes("<|end_of_text|>"),
];
export const END = TOKENS.length - 1;
/** Special, so that its bytes must never be taken for text. */
const USER = TOKENS.length - 2;
export const SOURCE = {
  tokens: () => TOKENS,
  isSpecial: (id: number) => id === END || id === USER,
};

/** Pseudo-random numbers in [0, 1). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

export interface Written {
  text: string;
  finished: boolean;
  tokens: number[];
}

/** What a model with random logits writes under a constraint. */
export function write(
  constraints: Constraints,
  constraint: Constraint,
  seed: number,
  options: {
    budget: number;
    known_budget?: boolean;
    greedy?: boolean;
    tokens?: readonly Uint8Array[];
  },
): Written {
  const { budget, known_budget = true, greedy = false, tokens = TOKENS } = options;
  const sampling = greedy ? GREEDY : parseSampling({ temperature: 1, top_k: 0, top_p: 1, seed });
  const sampler = new Sampler(tokens.length, sampling, {
    grammar: constraints.grammar(constraint, tokens.length),
    token_budget: known_budget ? budget : 0,
  });
  const random = randomNumbers(seed);
  const logits = new Float32Array(tokens.length);
  const ids: number[] = [];
  let finished = false;
  try {
    while (ids.length < budget && !finished) {
      for (let i = 0; i < logits.length; i++) logits[i] = 8 * random();
      const { token } = sampler.draw(logits);
      finished = token === tokens.length - 1;
      if (!finished) ids.push(token);
      else break;
    }
  } finally {
    sampler.close();
  }
  const text = new TextDecoder("utf-8", { fatal: finished }).decode(
    Buffer.concat(ids.map((id) => tokens[id]!)),
  );
  return { text, finished, tokens: ids };
}

/** The validator; schemas are checked one by one, so that its cache stays empty. */
export function validates(schema: unknown, value: unknown): string | undefined {
  const ajv = new Ajv2020({ strict: false, ownProperties: true });
  addFormats(ajv);
  const check = ajv.compile(schema as object);
  return check(value) ? undefined : ajv.errorsText(check.errors);
}

export const newConstraints = (): Constraints => new Constraints(SOURCE, new Set([END]));
export { compileJsonSchema };
