/** Training on several weighted sources: from paths to checkpoint, per-source figures, resume. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { MagnetError } from "../../src/core/errors.ts";
import { MixedReader } from "../../src/model/batch-reader.ts";
import { Checkpoint } from "../../src/model/checkpoint.ts";
import { openData, prepareData } from "../../src/model/data.ts";
import { evaluateCheckpoint } from "../../src/model/evaluate-checkpoint.ts";
import { openMixture, prepareMixture } from "../../src/model/mixed-data.ts";
import { sampleParts } from "../../src/model/mixture-sample.ts";
import { parseSources } from "../../src/model/source-list.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { type TrainFromFilesOptions, trainFromFiles } from "../../src/model/train-from-files.ts";
import { chapters, tickingClock } from "./training-fixture.ts";

let root = "";
let english = "";
let korean = "";
let tokenizer: Tokenizer;
let made = 0;
const fresh = (name: string) => path.join(root, `${name}-${made++}`);

/** Sentences of a few dozen Korean words, in an order that no window repeats. */
function koreanText(sentences: number): string {
  const words =
    "작은 배가 바다를 건너 갑니다 바람이 불면 돛을 올리고 비가 오면 덮개를 씌워요".split(" ");
  const sentence = (i: number) =>
    Array.from({ length: 9 }, (_, k) => words[(i * 31 + k * k * 7 + i * k) % words.length]);
  return Array.from({ length: sentences }, (_, i) => `${sentence(i).join(" ")}.`).join("\n\n");
}

beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-mixture-"));
  english = path.join(root, "en");
  korean = path.join(root, "ko");
  for (const folder of [english, korean]) fs.mkdirSync(folder);
  for (const { name, bytes } of chapters(12))
    fs.writeFileSync(path.join(english, `${name}.txt`), bytes);
  for (let i = 0; i < 8; i++) fs.writeFileSync(path.join(korean, `${i}.txt`), koreanText(20 + i));
  tokenizer = await Tokenizer.train(
    chapters(4).map((c) => c.bytes),
    { vocab_size: 400 },
  );
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const failure = (run: Promise<unknown>): Promise<MagnetError> =>
  run.then(
    () => expect.unreachable(),
    (error) => error,
  );
function train(out_dir: string, change: Partial<TrainFromFilesOptions> = {}) {
  const { settings, ...rest } = change;
  return trainFromFiles({
    model: "tiny",
    data: [`${english}=3`, `${korean}=1`],
    out_dir,
    settings: { steps: 16, batch: 8, eval_interval: 0, lr: 3e-3, seed: 5, ...settings },
    clock: tickingClock(),
    ...rest,
  });
}

describe("naming sources", () => {
  test("a weight is one only where no file has that name", async () => {
    const odd = path.join(root, "odd=2");
    fs.writeFileSync(odd, "text");
    expect(await parseSources([odd])).toBeNull();
    expect(await parseSources([`${odd}=0.5`])).toEqual([{ path: odd, weight: 0.5, name: "odd=2" }]);
    expect(await parseSources(["a/en=1e-3", "b/en/=2"])).toEqual([
      { path: "a/en", weight: 0.001, name: "a/en" },
      { path: "b/en/", weight: 2, name: "b/en/" },
    ]);
    expect(await parseSources(["x=y.txt", "b.txt"])).toBeNull();
    expect(await parseSources([])).toBeNull();
  });

  test.each([
    ["no weight", ["a=1", "b"]],
    ["a weight of 0", ["a=0"]],
    ["a negative weight", ["a=-1"]],
    ["an empty weight", ["a="]],
    ["an endless weight", ["a=1e999"]],
    ["the same path twice", ["a=1", "./a/=2"]],
  ])("%s is refused", async (_, given) => {
    const error = await failure(parseSources(given));
    expect(error).toMatchObject({ code: "BAD_DATA_SOURCE", exit: "usage" });
    expect(error.hint).toBeString();
  });

  test("the tokenizer sees sources by weight; small ones count several times", () => {
    const of = (size_bytes: number, weight: number) => ({ path: "p", weight, size_bytes });
    const bytes = (parts: { sample_bytes: number; repeats: number }[]) =>
      parts.map((p) => p.sample_bytes * p.repeats);
    expect(bytes(sampleParts([of(900, 1), of(900, 3)], 400))).toEqual([100, 300]);
    expect(bytes(sampleParts([of(900, 1), of(100, 1)], 10_000))).toEqual([500, 400]);
    expect(bytes(sampleParts([of(900, 3), of(100, 1)], 10_000))).toEqual([750, 300]);
  });
});

describe("training on two sources", () => {
  test("shares, data passes and held-out figures are reported by source", async () => {
    const out_dir = fresh("run");
    const events: object[] = [];
    const result = await train(out_dir, { onEvent: (event) => events.push(event) });
    const [en, ko] = result.sources;
    expect([en, ko]).toMatchObject([
      { name: "en", share: 0.75, sequences: 96 },
      { name: "ko", share: 0.25, sequences: 32 },
    ]);
    expect(ko!.data_passes).toBeGreaterThan(1); // it has fewer windows than its share
    expect(en!.data_passes).toBeLessThan(1);
    const { sources = [], ...mixed } = result.heldout!;
    expect(sources.map((s) => s.name)).toEqual(["en", "ko"]);
    const loss = 0.75 * sources[0]!.loss + 0.25 * sources[1]!.loss;
    expect(mixed.loss).toBeCloseTo(loss, 9);
    expect(sources[0]!.loss).toBeLessThan(result.heldout_before!.sources![0]!.loss);
    expect(events[0]).toMatchObject({
      type: "started",
      sources: [
        { name: "en", share: 0.75 },
        { name: "ko", share: 0.25 },
      ],
    });
    const lines = fs.readFileSync(path.join(out_dir, "metrics.jsonl"), "utf8").trim().split("\n");
    const last = JSON.parse(lines.at(-1)!);
    expect(Object.keys(last.heldout_sources)).toEqual(["en", "ko"]);
    expect(last.heldout_sources.ko.bits_per_byte).toBe(sources[1]!.bits_per_byte);

    // Evaluating the mixture, and one of its sources, gives the same figures.
    const data = path.join(out_dir, "data");
    const again = await evaluateCheckpoint({ model: out_dir, data });
    expect(again.sources![1]!.bits_per_byte).toBeCloseTo(sources[1]!.bits_per_byte, 9);
    const alone = await evaluateCheckpoint({ model: out_dir, data: path.join(data, "source-2") });
    expect(alone.loss).toBeCloseTo(again.sources![1]!.loss, 9);
    expect(alone.sources).toBeUndefined();

    const checkpoint = await Checkpoint.open(result.checkpoint);
    expect(checkpoint.manifest.data.sources).toMatchObject([
      { weight_parts: 786_432, position: 96 },
      { weight_parts: 262_144, position: 32 },
    ]);
  });

  test("stopped and resumed is never stopped; other weights are refused", async () => {
    const straight = await train(fresh("run"));
    const out_dir = fresh("run");
    const abort = new AbortController();
    const half = await train(out_dir, {
      signal: abort.signal,
      onEvent: (event) => event.type === "step" && event.step === 7 && abort.abort(),
    });
    expect(half).toMatchObject({ ended: "aborted", step: 7 });
    const resume = { out_dir, resume: out_dir, settings: {}, clock: tickingClock() };
    const data = [`${english}=1`, `${korean}=1`];
    const refused = await failure(trainFromFiles({ ...resume, data }));
    expect(refused.code).toBe("RESUME_MISMATCH");
    const rest = await trainFromFiles({ ...resume, data: [`${english}=6`, `${korean}=2`] });
    expect(rest.checkpoint_hash).toBe(straight.checkpoint_hash);
    const other = await train(fresh("run"), { data: [`${english}=2`, `${korean}=1`] });
    expect(other.checkpoint_hash).not.toBe(straight.checkpoint_hash);
  });

  test("a prepared source is used where it is, and gives its tokenizer", async () => {
    const prepared = fresh("prepared");
    await prepareData({ inputs: [english], tokenizer, out_dir: prepared });
    const out_dir = fresh("run");
    const data = [`${prepared}=0.5`, `${korean}=0.5`];
    const result = await train(out_dir, { data, settings: { steps: 2 } });
    expect(result).toMatchObject({ tokenizer_hash: tokenizer.hash, vocab_size: 400 });
    expect(fs.existsSync(path.join(out_dir, "data/source-1"))).toBe(false);
    // Two prepared folders without weights: each by its tokens.
    const second = fresh("prepared");
    await prepareData({ inputs: [korean], tokenizer, out_dir: second });
    const both = await train(fresh("run"), { data: [prepared, second], settings: { steps: 1 } });
    const [en, ko] = both.sources;
    expect(en!.share / ko!.share).toBeCloseTo(en!.tokens / ko!.tokens, 2);

    const small = await Tokenizer.train(
      chapters(3).map((c) => c.bytes),
      { vocab_size: 300 },
    );
    const foreign = fresh("prepared");
    await prepareData({ inputs: [korean], tokenizer: small, out_dir: foreign });
    const mixed = await failure(train(fresh("run"), { data: [`${prepared}=1`, `${foreign}=1`] }));
    expect(mixed).toMatchObject({ code: "TOKENIZER_MISMATCH", exit: "verification" });
    expect(mixed.message).toContain(foreign);
    const nested = await failure(
      train(fresh("run"), { data: [`${out_dir}/data=1`, `${korean}=1`] }),
    );
    expect(nested.code).toBe("BAD_DATA_SOURCE");
    const unclear = await failure(train(fresh("run"), { data: [prepared, korean] }));
    expect(unclear.code).toBe("BAD_DATA_SOURCE");
  });

  test("a mixture whose source was prepared anew is refused, and is replaced whole", async () => {
    const out_dir = fresh("mixture");
    const sources = (await parseSources([`${english}=1`, `${korean}=1`]))!;
    await prepareMixture({ sources, tokenizer, out_dir });
    (await openMixture(out_dir)).close();
    const changed = path.join(out_dir, "source-2");
    await prepareData({ inputs: [english], tokenizer, out_dir: changed });
    expect((await failure(openMixture(out_dir))).code).toBe("TOKENS_CORRUPT");
    fs.writeFileSync(path.join(out_dir, "mixture.json"), '{"schema":"magnet.mixture/1"}');
    expect((await failure(openMixture(out_dir))).code).toBe("TOKENS_CORRUPT");
    // Preparing something else into the folder leaves one kind of data there.
    await prepareData({ inputs: [english], tokenizer, out_dir });
    expect(fs.existsSync(path.join(out_dir, "mixture.json"))).toBe(false);
    await prepareMixture({ sources, tokenizer, out_dir });
    expect(fs.existsSync(path.join(out_dir, "data.json"))).toBe(false);
  });
});

test("slices of nodes are disjoint in every source and together cover it", async () => {
  const folder = fresh("prepared");
  await prepareData({ inputs: [english], tokenizer, out_dir: folder, heldout_fraction: 0 });
  const { train: en, close } = await openData(folder);
  const sources = [
    { name: "a", weight: 2, train: en, heldout: null },
    { name: "b", weight: 1, train: en, heldout: null },
  ];
  const context = 512;
  const windows = Math.floor((en.token_count - 1) / context);
  const starts = new Map<string, number>();
  for (let i = 0; i < windows; i++) starts.set(String(en.tokens(i * context, context + 1)), i);
  const seen = [new Set<number>(), new Set<number>()];
  for (let slice_index = 0; slice_index < 3; slice_index++) {
    const reader = new MixedReader(sources, { context, seed: 9n, slice_index, slice_count: 3 });
    const own = Math.ceil((windows - slice_index) / 3);
    for (let position = 0; reader.use(position)[1]!.sequences < own; position++) {
      const { source, position: place } = sourceAt(reader, position);
      if (place >= own) continue; // the first source has begun again
      const window = starts.get(String(reader.read(position, 1)))!;
      expect(seen[source]!.has(window)).toBe(false);
      seen[source]!.add(window);
    }
  }
  expect(seen.map((s) => s.size)).toEqual([windows, windows]);
  close();
});

/** From the counts before and after a position: which source it is, and its place there. */
function sourceAt(reader: MixedReader, position: number) {
  const [before, after] = [reader.use(position), reader.use(position + 1)];
  const source = before.findIndex((s, i) => after[i]!.sequences > s.sequences);
  return { source, position: before[source]!.sequences };
}
