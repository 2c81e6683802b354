/**
 * Both engines on one GGUF file, in one process: bitnet-cpp-engines.ts MODEL. Run by
 * bitnet-cpp.test.ts in a build that has bitnet.cpp. Throws at the first difference.
 */
import assert from "node:assert/strict";
import { openTextModel } from "../../src/model/engine/open-text-model.ts";
import type { Engine, EngineRequest } from "../../src/model/engine/types.ts";
import { GgufFile } from "../../src/model/gguf-file.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import { liveHandles } from "../../src/native/sample.ts";

/**
 * llama.cpp's logits differ by so much between a prompt at once, token by token, and in a batch: a
 * last bit of a sum flips the rounding of an activation.
 */
const TOLERANCE = 0.05;
const TOKENS = 24;
const [file = ""] = process.argv.slice(2);
const options = { threads: 1, rounding: "llamacpp" } as const;

const request = (prompt: ArrayLike<number>, more: Partial<EngineRequest> = {}): EngineRequest => ({
  prompt: Int32Array.from(prompt),
  max_tokens: TOKENS,
  sampling: { temperature: 0 },
  end_tokens: new Set(),
  ...more,
});

async function tokensOf(engine: Engine, asked: EngineRequest): Promise<[number, number][]> {
  const tokens: [number, number][] = [];
  for await (const { token, logprob } of engine.generate(asked)) tokens.push([token, logprob]);
  return tokens;
}

/** Every greedy token is ours too, but where ours leads by next to nothing. */
async function checkGreedy(model: InferenceModel, prompt: number[], drawn: [number, number][]) {
  const tokens = [...prompt, ...drawn.map(([token]) => token)];
  const logits = await evalLogits(model, Int32Array.from(tokens), "llamacpp");
  const vocab = model.config.vocab_size;
  let exact = 0;
  for (const [i, [token]] of drawn.entries()) {
    const row = logits.subarray((prompt.length + i - 1) * vocab, (prompt.length + i) * vocab);
    const best = Math.max(...row);
    assert.ok(best - row[token]! <= TOLERANCE, `token ${i} trails by ${best - row[token]!}`);
    if (row[token] === best) exact++;
  }
  assert.ok(exact >= drawn.length - 2, `${exact} of ${drawn.length} greedy tokens are ours`);
}

const theirs = await openTextModel(file, { ...options, engine: "bitnet.cpp", sequences_max: 6 });
const ours = await openTextModel(file, options);
const gguf = await GgufFile.open(file);
const model = await InferenceModel.fromGguf(gguf, 1);
gguf.close();
const { tokenizer } = ours;
assert.deepEqual(theirs.config, ours.config);
const handles = liveHandles();

// From one token on every step is one token: the same bits, so the same tokens and probabilities.
const bos = tokenizer.bos_id!;
for (const sampling of [{ temperature: 0 }, { temperature: 0.9, seed: 5 }]) {
  const alone = await tokensOf(theirs.engine, request([bos], { sampling }));
  assert.equal(alone.length, TOKENS);
  assert.deepEqual(alone, await tokensOf(ours.engine, request([bos], { sampling })));
}

const texts = ["Call me", "the whale", "Some years ago, never mind how long", "a", "It was"];
const prompts = texts.map((text) => [bos, ...tokenizer.encode(text)]);
const together = Array.from({ length: 20 }, (_, i) => prompts[i % prompts.length]!);
const answers = await Promise.all(together.map((p) => tokensOf(theirs.engine, request(p))));
for (const [i, drawn] of answers.entries()) {
  assert.equal(drawn.length, TOKENS);
  await checkGreedy(model, together[i]!, drawn);
}

// Cancelled within a prompt and between tokens; what comes after is not disturbed.
const before = await tokensOf(theirs.engine, request([bos]));
for (const stop_after of [0, 3]) {
  const cancel = new AbortController();
  const long = request(
    Array.from({ length: 90 }, (_, i) => 7 * i),
    { signal: cancel.signal },
  );
  let drawn = 0;
  if (stop_after === 0) queueMicrotask(() => cancel.abort());
  await assert.rejects(
    async () => {
      for await (const _ of theirs.engine.generate(long))
        if (++drawn === stop_after) cancel.abort();
    },
    { code: "CANCELLED" },
  );
  assert.deepEqual(await tokensOf(theirs.engine, request([bos])), before);
}

const tokens = Int32Array.from(prompts[2]!);
const [a, b] = [await theirs.engine.embed(tokens), await ours.engine.embed(tokens)];
const cosine = a.reduce((sum, value, i) => sum + value * b[i]!, 0);
assert.ok(cosine > 0.999, `embeddings point apart: ${cosine}`);

assert.equal(theirs.engine.stats().blocks_in_use, 0);
assert.equal(liveHandles(), handles);
for (const opened of [theirs, ours]) await opened.close();
model.close();
