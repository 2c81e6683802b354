import { describe, expect, test } from "bun:test";
import type { Hash } from "../../src/core/types.ts";
import { evaluateTokens, tokenByteLengths } from "../../src/model/evaluate.ts";
import { memorySink, TokenWriter } from "../../src/model/token-writer.ts";

/** A file of tokens 0, 1, 2, ... modulo 7. */
async function countingFile(token_count: number) {
  const sink = memorySink();
  const tokenizer_hash = "e".repeat(64) as Hash;
  const writer = await TokenWriter.start(sink, { vocab_size: 7, tokenizer_hash });
  writer.startDocument();
  await writer.add(
    Int32Array.from({ length: token_count }, (_, i) => i % 7),
    token_count,
  );
  await writer.finish();
  return sink.open("counting");
}

/** A model that pays `id` nats for each target `id`, and remembers what it was asked. */
function payingModel(batch: number, context: number) {
  const asked: number[][] = [];
  const trainer = {
    options: { batch, context, threads: 1 },
    async evaluate(tokens: Int32Array, rows: number) {
      expect(tokens.length).toBe(rows * (context + 1));
      expect(rows).toBeLessThanOrEqual(batch);
      let nll_sum = 0;
      let count = 0;
      for (let row = 0; row < rows; row++) {
        const sequence = [...tokens.subarray(row * (context + 1), (row + 1) * (context + 1))];
        asked.push(sequence);
        for (const id of sequence.slice(1).filter((t) => t >= 0)) {
          nll_sum += id;
          count++;
        }
      }
      return { nll_sum, count };
    },
  };
  return { trainer, asked };
}

const byte_lengths = Uint16Array.of(0, 1, 2, 3, 4, 5, 6); // id 0 is special: no text

describe("evaluating", () => {
  test("counts every target exactly once, the cut last window included", async () => {
    for (const token_count of [2, 5, 10, 11, 12, 101]) {
      const { trainer } = payingModel(3, 10);
      const file = await countingFile(token_count);
      const result = await evaluateTokens({ trainer, file, byte_lengths });
      const targets = Array.from({ length: token_count - 1 }, (_, i) => (i + 1) % 7);
      const sum = targets.reduce((a, b) => a + b, 0);
      expect(result.tokens).toBe(token_count - 1);
      expect(result.text_bytes).toBe(sum); // the byte lengths are the ids
      expect(result.loss).toBeCloseTo(sum / targets.length, 12);
      expect(result.perplexity).toBeCloseTo(Math.exp(sum / targets.length), 6);
      expect(result.bits_per_byte).toBeCloseTo(1 / Math.LN2, 12); // nats = bytes here
    }
  });

  test("a limit takes windows spread over the whole file, always the same", async () => {
    const file = await countingFile(10_001);
    const run = async () => {
      const { trainer, asked } = payingModel(4, 10);
      const result = await evaluateTokens({ trainer, file, byte_lengths, tokens_max: 95 });
      expect(result.tokens).toBe(100);
      return asked;
    };
    const asked = await run();
    expect(asked.map((s) => s[0])).toEqual(Array.from({ length: 10 }, (_, i) => (i * 1000) % 7));
    expect(await run()).toEqual(asked);
  });

  test("a file without a target is refused", async () => {
    const { trainer } = payingModel(4, 10);
    const file = await countingFile(1);
    await expect(evaluateTokens({ trainer, file, byte_lengths })).rejects.toMatchObject({
      code: "DATA_TOO_SMALL",
    });
  });

  test("special tokens have no bytes", () => {
    const tokens = () => ["a", "bc", "<|end|>"].map((t) => new TextEncoder().encode(t));
    const lengths = tokenByteLengths({ tokens, specials: [{ id: 2, content: "<|end|>" }] });
    expect([...lengths]).toEqual([1, 2, 0]);
  });
});
