import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { MagnetError } from "../../src/core/errors.ts";
import { openData, prepareData } from "../../src/model/data.ts";
import { evaluateCheckpoint } from "../../src/model/evaluate-checkpoint.ts";
import { order2BitsPerByte } from "../../src/model/order2.ts";
import { RunLock } from "../../src/model/run-lock.ts";
import { tokeniseParts } from "../../src/model/tokenise.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { type TrainFromFilesOptions, trainFromFiles } from "../../src/model/train-from-files.ts";
import { chapters, tickingClock } from "./training-fixture.ts";

let root = "";
let texts = "";
let made = 0;
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-files-"));
  texts = path.join(root, "texts");
  fs.mkdirSync(texts);
  for (const { name, bytes } of chapters(30))
    fs.writeFileSync(path.join(texts, `${name}.txt`), bytes);
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
const out = () => path.join(root, `run-${made++}`);
const failure = (run: Promise<unknown>): Promise<MagnetError> =>
  run.then(
    () => expect.unreachable(),
    (error) => error,
  );

function train(out_dir: string, change: Partial<TrainFromFilesOptions> = {}) {
  const { settings, ...rest } = change;
  return trainFromFiles({
    model: "tiny",
    data: [texts],
    out_dir,
    settings: { steps: 20, batch: 4, eval_interval: 0, lr: 3e-3, seed: 5, ...settings },
    clock: tickingClock(),
    ...rest,
  });
}

describe("from text to a trained model", () => {
  test("a tokenizer is trained on the train side, the model takes its size, and it learns", async () => {
    const out_dir = out();
    const progress: number[] = [];
    const result = await train(out_dir, {
      settings: { steps: 80 },
      onPrepare: ({ done_bytes, total_bytes }) => progress.push(done_bytes / total_bytes),
    });
    expect(progress.at(-1)).toBe(1);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(progress[0]!).toBeLessThan(0.1);
    expect(result).toMatchObject({ ended: "completed", step: 80, vocab_size: 512, out_dir });
    expect(result.heldout!.loss).toBeLessThan(result.heldout_before!.loss * 0.9);
    const data = await openData(path.join(out_dir, "data"));
    const tokenizer = Tokenizer.fromJson(data.tokenizer_json);
    expect(tokenizer.hash).toBe(result.tokenizer_hash);
    expect(data.train.tokens(0, 1)[0]).toBe(tokenizer.bos_id!);
    const first = data.train.tokens(0, data.train.documentStart(1));
    expect(first.at(-1)).toBe(tokenizer.eos_id!);
    const raw = fs.readFileSync(path.join(texts, "chapter 1.txt"), "utf8");
    const heads = Array.from({ length: data.train.header.document_count }, (_, i) =>
      tokenizer.decode(data.train.tokens(data.train.documentStart(i) + 1, 20)),
    );
    expect(heads.some((head) => raw.startsWith(head))).toBe(true);
    data.close();

    // `magnet eval` on the prepared folder, on its file and on the same text gives the same
    // figures.
    const folder = await evaluateCheckpoint({ model: out_dir, data: path.join(out_dir, "data") });
    const file = await evaluateCheckpoint({
      model: result.checkpoint,
      data: path.join(out_dir, "data", "heldout.mgt"),
    });
    expect(file).toEqual(folder);
    expect(folder.checkpoint_hash).toBe(result.checkpoint_hash);
    expect(folder.perplexity).toBeCloseTo(Math.exp(folder.loss), 9);
    expect(folder.text_bytes).toBe(data.summary.heldout!.text_bytes);
    expect(folder.tokens).toBe(data.summary.heldout!.tokens - 1);
    const bits = (folder.loss * folder.tokens) / Math.LN2 / folder.text_bytes;
    expect(folder.bits_per_byte).toBeCloseTo(bits, 9);
    const text = await evaluateCheckpoint({ model: out_dir, data: texts, tokens_max: 2000 });
    expect(text.tokens).toBeLessThan(2200);
  });

  test("resuming needs only the folder, and gives the hash of a run that never stopped", async () => {
    const straight = await train(out());
    const out_dir = out();
    const abort = new AbortController();
    const half = await train(out_dir, {
      signal: abort.signal,
      onEvent: (event) => event.type === "step" && event.step === 9 && abort.abort(),
    });
    expect(half).toMatchObject({ ended: "aborted", step: 9 });
    const rest = await trainFromFiles({
      out_dir,
      resume: out_dir,
      settings: {},
      clock: tickingClock(),
    });
    expect(rest.step).toBe(20);
    expect(rest.checkpoint_hash).toBe(straight.checkpoint_hash);
    const error = await failure(
      trainFromFiles({ out_dir, resume: out_dir, settings: { lr: 1 }, clock: tickingClock() }),
    );
    expect(error.code).toBe("RESUME_MISMATCH");
  });

  test("a prepared folder is used as it is; another tokenizer is refused", async () => {
    const prepared = path.join(root, "prepared");
    const sample = chapters(8).map((c) => c.bytes);
    const tokenizer = await Tokenizer.train(sample, { vocab_size: 400 });
    await prepareData({ inputs: [texts], tokenizer, out_dir: prepared, heldout_fraction: 0 });
    const result = await train(out(), { data: [prepared], settings: { steps: 2 } });
    expect(result).toMatchObject({ vocab_size: 400, heldout: null, heldout_before: null });
    const other = path.join(root, "other.json");
    const small = await Tokenizer.train(sample, { vocab_size: 300 });
    fs.writeFileSync(other, small.toJson());
    const refused = await failure(train(out(), { data: [prepared], tokenizer: other }));
    expect(refused).toMatchObject({ code: "TOKENIZER_MISMATCH", exit: "verification" });
    const evaluated = await failure(
      evaluateCheckpoint({ model: result.checkpoint, data: prepared }),
    );
    expect(evaluated.code).toBe("DATA_EMPTY"); // it holds nothing out
  });

  test("what needs no data to be seen is refused before any is prepared", async () => {
    const out_dir = out();
    const steps = await failure(train(out_dir, { settings: { steps: undefined as never } }));
    expect(steps).toMatchObject({ code: "BAD_TRAINING_CONFIG", hint: "give --steps N" });
    const momentum = await failure(
      train(out_dir, { settings: { optimizer: "adamw", momentum: 0.9 } }),
    );
    expect(momentum.message).toBe("AdamW has no momentum to set");
    for (const bad of [{ lr: 0 }, { beta2: 1 }, { clip: 1e12 }, { accumulate: 70_000 }])
      expect(await failure(train(out_dir, { settings: bad }))).toMatchObject({
        code: "BAD_TRAINING_CONFIG",
        message: expect.stringContaining(Object.keys(bad)[0]!),
      });
    expect(fs.existsSync(out_dir)).toBe(false);
    const prepared = path.join(root, "prepared-before");
    const small = await Tokenizer.train([chapters(1)[0]!.bytes], { vocab_size: 300 });
    const inputs = [path.join(root, "texts")];
    await prepareData({ inputs, tokenizer: small, out_dir: prepared });
    const heldout = await failure(train(out_dir, { data: [prepared], heldout_fraction: 0.2 }));
    expect(heldout.hint).toBe("leave --heldout out, or give the text itself");
    // Another run in the folder: its data would be replaced.
    fs.mkdirSync(out_dir);
    const lock = await RunLock.take(out_dir);
    expect((await failure(train(out_dir))).code).toBe("OUT_BUSY");
    await lock.release();
    expect(fs.readdirSync(out_dir)).toEqual([]);
  });

  test("a vocabulary size beside a tokenizer that has another", async () => {
    const file = path.join(root, "own.json");
    const sample = chapters(3).map(({ bytes }) => bytes);
    fs.writeFileSync(file, (await Tokenizer.train(sample, { vocab_size: 300 })).toJson());
    const refused = await failure(train(out(), { tokenizer: file, vocab_size: 400 }));
    expect(refused).toMatchObject({ code: "VOCABULARY_MISMATCH", exit: "usage" });
    expect(refused.message).toContain("with 300 tokens; --vocab-size says 400");
  });

  test("bad input ends in one clear error and leaves an earlier run alone", async () => {
    const binary = path.join(root, "binary.txt");
    fs.writeFileSync(binary, new Uint8Array(5000));
    const out_dir = out();
    expect((await failure(train(out_dir, { data: [binary] }))).code).toBe("DATA_NOT_TEXT");
    expect((await failure(train(out_dir, { data: [] }))).code).toBe("DATA_EMPTY");
    expect((await failure(train(out_dir, { data: [path.join(root, "no")] }))).code).toBe(
      "NOT_FOUND",
    );
    expect((await failure(train(binary))).code).toBe("NOT_A_FOLDER");
    expect((await failure(train(path.join(binary, "in")))).code).toBe("NOT_A_FOLDER");
    expect((await failure(train(out_dir, { model: "huge" }))).code).toBe("UNKNOWN_PRESET");
    const few = await failure(train(out_dir, { vocab_size: 200_000 }));
    expect(few.code).toBe("CORPUS_TOO_SMALL");
    expect(fs.existsSync(out_dir)).toBe(false);
    expect(fs.existsSync(path.join(out_dir, "checkpoints"))).toBe(false);
    const done = await train(out_dir, { settings: { steps: 1 } });
    expect((await failure(train(out_dir))).code).toBe("OUT_IN_USE");
    const again = await evaluateCheckpoint({ model: out_dir, data: path.join(out_dir, "data") });
    expect(again.checkpoint_hash).toBe(done.checkpoint_hash);
  });
});

test("a special token's name inside a text is text, not the token", async () => {
  const sample = chapters(3).map((c) => c.bytes);
  const tokenizer = await Tokenizer.train(sample, { vocab_size: 320 });
  const bytes = new TextEncoder().encode("before <|end_of_text|> after");
  const file = await tokeniseParts("t", [{ bytes, starts: true, ends: true }], tokenizer);
  const ids = [...file.tokens(0, file.token_count)];
  expect(ids.filter((id) => tokenizer.isSpecial(id))).toEqual([
    tokenizer.bos_id!,
    tokenizer.eos_id!,
  ]);
  expect(order2BitsPerByte(sample[0]!, bytes)).toBeGreaterThan(2);
});
