/** Hostile GGUF files: truncated, mutated, lying about counts, offsets and types. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import { exportGguf } from "../../src/model/export-gguf.ts";
import { GgufFile } from "../../src/model/gguf-file.ts";
import { InferenceModel } from "../../src/model/inference.ts";
import { errorOf } from "./error-of.ts";
import { bookTokenizer, randomParams, TINY } from "./small-models.ts";

const SEED = 42;
const random = seededRandom(SEED);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-gguf-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Errors that a broken file may end with; anything else is a bug. */
const REFUSALS = new Set(["BAD_FORMAT", "UNSUPPORTED", "NOT_A_NUMBER", "OUT_OF_MEMORY"]);
let good: Uint8Array;
let header_end: number;
beforeAll(async () => {
  const file = path.join(folder, "good.gguf");
  const tokenizer = await bookTokenizer(TINY.vocab_size);
  const params = await randomParams(TINY);
  await exportGguf({ config: TINY, params, tokenizer, type: "I2_S", name: "t", path: file });
  good = new Uint8Array(fs.readFileSync(file));
  const gguf = await GgufFile.open(file);
  const weights = gguf.tensors().reduce((sum, t) => sum + Math.ceil(t.size_bytes / 32) * 32, 0);
  header_end = good.length - weights;
  gguf.close();
});

/** "loaded", or the code of the refusal. */
async function attempt(bytes: Uint8Array): Promise<string> {
  let gguf: GgufFile | undefined;
  try {
    gguf = await GgufFile.parse(bytes);
    gguf.metadata();
    gguf.tensors();
    const model = await InferenceModel.fromGguf(gguf, 1);
    const session = model.createSession({ context: 1 });
    await session.append(Int32Array.of(0), 1);
    session.close();
    model.close();
    return "loaded";
  } catch (error) {
    if (!(error instanceof MagnetError)) throw error;
    return error.code;
  } finally {
    gguf?.close();
  }
}

test("every truncation is refused", async () => {
  for (let i = 0; i < 600; i++) {
    const length = i < 300 ? random.below(header_end) : random.below(good.length - 32);
    expect(await attempt(good.subarray(0, length))).toBe("BAD_FORMAT");
  }
});

test("mutated headers are refused or load; nothing crashes", async () => {
  const outcomes = new Map<string, number>();
  for (let i = 0; i < 3000; i++) {
    const bytes = good.slice();
    for (let n = 1 + random.below(3); n > 0; n--) {
      // Half of the hits go to the tensor table at the end of the header.
      const at =
        random.below(2) === 0 ? header_end - 1 - random.below(1000) : random.below(header_end);
      bytes[at] = [0, 0xff, 0x80, random.below(256)][random.below(4)]!;
    }
    const outcome = await attempt(bytes);
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    if (outcome !== "loaded") expect([...REFUSALS]).toContain(outcome);
  }
  expect(outcomes.get("BAD_FORMAT") ?? 0).toBeGreaterThan(300);
  expect(outcomes.get("loaded") ?? 0).toBeGreaterThan(300);
}, 30_000);

test("mutated weights load with some numbers or are refused; nothing crashes", async () => {
  for (let i = 0; i < 300; i++) {
    const bytes = good.slice();
    for (let n = 0; n < 20; n++)
      bytes[header_end + random.below(good.length - header_end)] = random.below(256);
    const outcome = await attempt(bytes);
    if (outcome !== "loaded") expect([...REFUSALS]).toContain(outcome);
  }
});

const u32 = (...values: number[]) => [...new Uint8Array(Uint32Array.from(values).buffer)];
const u64 = (value: bigint) => [...new Uint8Array(BigUint64Array.of(value).buffer)];
const text = (value: string) => [...u64(BigInt(value.length)), ...Buffer.from(value)];
const start = (tensors: bigint, keys: bigint) => [
  ...Buffer.from("GGUF"),
  ...u32(3),
  ...u64(tensors),
  ...u64(keys),
];
test.each([
  ["no magic", [...Buffer.from("GGML"), 0, 0, 0, 0], "magic"],
  ["version 2", [...Buffer.from("GGUF"), ...u32(2)], "version 2"],
  ["too many tensors", start(2n ** 63n, 0n), "limits"],
  ["a key longer than the file", [...start(0n, 1n), ...u64(2n ** 40n)], "limit 1024"],
  ["an unknown value type", [...start(0n, 1n), ...text("a"), ...u32(13)], "value type 13"],
  ["a boolean of 2", [...start(0n, 1n), ...text("a"), ...u32(7), 2], "boolean"],
  ["an array of arrays", [...start(0n, 1n), ...text("a"), ...u32(9, 9), ...u64(1n)], "array"],
  [
    "an array of 2^40 bytes",
    [...start(0n, 1n), ...text("a"), ...u32(9, 0), ...u64(2n ** 40n)],
    "limit",
  ],
  [
    "an array longer than the file",
    [...start(0n, 1n), ...text("a"), ...u32(9, 10), ...u64(4096n)],
    "file ends",
  ],
  [
    "a key twice",
    [...start(0n, 2n), ...text("a"), ...u32(4, 1), ...text("a"), ...u32(4, 1)],
    "twice",
  ],
  [
    "an alignment of 3",
    [...start(0n, 1n), ...text("general.alignment"), ...u32(4, 3)],
    "power of two",
  ],
  ["no dimensions", [...start(1n, 0n), ...text("t"), ...u32(0)], "dimensions"],
  [
    "dimensions that overflow",
    [...start(1n, 0n), ...text("t"), ...u32(2), ...u64(2n ** 30n), ...u64(2n ** 62n)],
    "dimension",
  ],
  [
    "a gap before a tensor",
    [...start(1n, 0n), ...text("t"), ...u32(1), ...u64(1n), ...u32(0), ...u64(32n)],
    "gap or overlap",
  ],
  [
    "a tensor beyond the end",
    [...start(1n, 0n), ...text("t"), ...u32(1), ...u64(1n), ...u32(0), ...u64(0n)],
    "truncated",
  ],
  [
    "a tensor type that is not read",
    [...start(1n, 0n), ...text("t"), ...u32(1), ...u64(32n), ...u32(6), ...u64(0n)],
    "type 6 (Q5_0)",
  ],
  [
    "a tensor type that was removed",
    [...start(1n, 0n), ...text("t"), ...u32(1), ...u64(32n), ...u32(31), ...u64(0n)],
    "type 31 (Q4_0_4_4, removed)",
  ],
  [
    "a tensor type that nobody has",
    [...start(1n, 0n), ...text("t"), ...u32(1), ...u64(32n), ...u32(99), ...u64(0n)],
    "type 99 (a type that magnet has no name for)",
  ],
  ["bytes after the end", [...start(0n, 0n), ...new Array<number>(64).fill(0)], "after the last"],
] as [string, number[], string][])("refuses %s", async (_, bytes, message) => {
  const error = await errorOf(GgufFile.parse(Uint8Array.from(bytes)));
  expect(error.message).toContain(message);
  expect(REFUSALS.has(error.code)).toBe(true);
});
