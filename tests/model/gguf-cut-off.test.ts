/**
 * A GGUF file is mapped: what happens when it is cut off, or changed, between its opening and the
 * reading of its tensors. An error, never a dead process, and never weights that were not checked.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { exportGguf } from "../../src/model/export-gguf.ts";
import { GgufFile } from "../../src/model/gguf-file.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import { errorOf } from "./error-of.ts";
import { bookTokenizer, randomParams, SMALL } from "./small-models.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-gguf-cut-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

let good: Uint8Array;
beforeAll(async () => {
  const tokenizer = await bookTokenizer(SMALL.vocab_size);
  const params = await randomParams(SMALL);
  const file = path.join(folder, "good.gguf");
  await exportGguf({ config: SMALL, params, tokenizer, type: "TQ2_0", name: "t", path: file });
  good = new Uint8Array(fs.readFileSync(file));
});

/** A copy of the good file, opened. */
async function opened(name: string): Promise<{ file: string; gguf: GgufFile }> {
  const file = path.join(folder, name);
  fs.writeFileSync(file, good);
  return { file, gguf: await GgufFile.open(file) };
}

test("a file cut off after its opening is an error for every reader of tensors", async () => {
  const { file, gguf } = await opened("cut.gguf");
  for (const kept of [good.length - 8192, good.length >> 1, 4096, 0]) {
    fs.truncateSync(file, kept);
    for (const threads of [1, 4]) {
      const error = await errorOf(InferenceModel.fromGguf(gguf, threads));
      expect(error.code).toBe("BAD_FORMAT");
      expect(error.message).toContain("cut off while it was read");
    }
    const last = gguf.tensors().at(-1)!.name;
    expect(() => gguf.tensorBytes(last)).toThrow("cut off");
  }
  // The header was copied at the opening.
  expect(gguf.metadata().get("general.architecture")).toBe("bitnet");
  gguf.close();
});

test("codes and scales are checked as they are read, not as they were at the opening", async () => {
  const { file, gguf } = await opened("changed.gguf");
  const { name, size_bytes } = gguf.tensors().find((t) => t.name === "blk.1.ffn_down.weight")!;
  const at = Buffer.from(good).indexOf(gguf.tensorBytes(name));
  expect(at).toBeGreaterThan(0);
  const fd = fs.openSync(file, "r+");
  fs.writeSync(fd, Uint8Array.of(0xff), 0, 1, at + size_bytes - 66); // a code of 3
  fs.closeSync(fd);
  const error = await errorOf(InferenceModel.fromGguf(gguf, 2));
  expect(error.code).toBe("BAD_FORMAT");
  expect(error.message).toContain(name);
  gguf.close();
});

test("a model does not need its file any more", async () => {
  const { file, gguf } = await opened("loaded.gguf");
  const model = await InferenceModel.fromGguf(gguf, 2);
  const tokens = Int32Array.of(1, 2, 3);
  const before = await evalLogits(model, tokens);
  fs.truncateSync(file, 0);
  expect(await evalLogits(model, tokens)).toEqual(before);
  gguf.close();
  model.close();
});

test("an empty file is refused", async () => {
  const file = path.join(folder, "empty.gguf");
  fs.writeFileSync(file, "");
  expect((await errorOf(GgufFile.open(file))).code).toBe("BAD_FORMAT");
});
