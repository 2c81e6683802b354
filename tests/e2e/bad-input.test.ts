/** Bad input to the binary: always one clear error with a code and a hint, and nothing lost. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { type Place, trainedPlace } from "./binary.ts";

let place: Place;
beforeAll(async () => {
  place = await trainedPlace();
  fs.writeFileSync(place.at("empty.txt"), "");
  fs.writeFileSync(place.at("nul.txt"), "text\0text");
  fs.writeFileSync(place.at("broken.txt"), new Uint8Array([0x61, 0xc3, 0x28, 0x62]));
  fs.mkdirSync(place.at("folder"));
  fs.symlinkSync("loop-b", place.at("loop-a"));
  fs.symlinkSync("loop-a", place.at("loop-b"));
  Bun.spawnSync(["mkfifo", place.at("fifo")]);
}, 60_000);
afterAll(() => place.remove());

const CHECKPOINT = "checkpoints/step-00000020";
const chat = (model: string) => ["chat", model, "--prompt", "x", "--max-tokens", "2"];

describe("text", () => {
  test.each([
    ["missing.txt", "NOT_FOUND"],
    ["empty.txt", "DATA_EMPTY"],
    ["nul.txt", "DATA_NOT_TEXT"],
    ["broken.txt", "DATA_NOT_TEXT"],
    ["folder", "DATA_EMPTY"],
    ["loop-a", "NOT_FOUND"],
    ["fifo", "NOT_A_FILE"],
    ["/dev/zero", "NOT_A_FILE"],
  ])("%s: %s", async (file, code) => {
    const tokenizer = ["--tokenizer", "run/data/tokenizer.json"];
    for (const args of [
      ["data", "prepare", file, ...tokenizer, "--out", "never"],
      ["tokenizer", "train", file, "--out", "never.json"],
      ["train", "--model", "tiny", "--data", file, "--steps", "2", "--out", "never"],
    ])
      expect(await place.failure(args)).toEqual({ code, exit: 1 });
    expect(fs.existsSync(place.at("never", "data.json"))).toBe(false);
    expect(fs.existsSync(place.at("never.json"))).toBe(false);
  });
});

/** A copy of the run with one file of its checkpoint changed. */
function damaged(name: string, file: string, change: (bytes: Buffer) => Uint8Array | undefined) {
  fs.rmSync(place.at(name), { recursive: true, force: true });
  fs.cpSync(place.at("run"), place.at(name), { recursive: true });
  const at = place.at(name, CHECKPOINT, file);
  const after = change(fs.readFileSync(at));
  if (after === undefined) fs.rmSync(at);
  else fs.writeFileSync(at, after);
}
const flipped = (bytes: Buffer) => {
  bytes[bytes.length >> 1]! ^= 0x10;
  return bytes;
};

describe("checkpoint", () => {
  const files = [
    "manifest.json",
    "model.safetensors",
    "optimizer.safetensors",
    "tokenizer.json",
  ] as const;
  const damages: [string, (bytes: Buffer) => Uint8Array | undefined][] = [
    ["flipped", flipped],
    ["truncated", (bytes) => bytes.subarray(0, bytes.length >> 1)],
    ["missing", () => undefined],
  ];
  test.each(files.flatMap((file) => damages.map(([how, change]) => [file, how, change] as const)))(
    "%s %s: refused by everything that reads it; the run's other files stay",
    async (file, how, change) => {
      damaged("bad", file, change);
      const resume = ["train", "--resume", "--out", "bad", "--data", "run/data", "--steps", "25"];
      // Resuming takes the tokenizer of the prepared data, which must have the hash of the
      // manifest.
      const commands = file === "tokenizer.json" ? [] : [resume];
      if (file !== "optimizer.safetensors")
        commands.push(chat("bad"), ["export", "hf", "bad", "--out", "never-hf"]);
      for (const args of commands) {
        const { code, exit } = await place.failure(args);
        // Without a manifest it is no checkpoint at all; everything else fails verification.
        if (file === "manifest.json" && how === "missing") expect(code).toMatch(/CHECKPOINT/);
        else expect({ code, exit }).toEqual({ code: "CHECKPOINT_CORRUPT", exit: 6 });
      }
      expect(fs.existsSync(place.at("never-hf"))).toBe(false);
      const other = file === "model.safetensors" ? "manifest.json" : "model.safetensors";
      expect(fs.readFileSync(place.at("bad", CHECKPOINT, other))).toEqual(
        fs.readFileSync(place.at("run", CHECKPOINT, other)),
      );
    },
  );

  test("the tokenizer of another model", async () => {
    await place.json(["tokenizer", "train", "text.txt", "--vocab-size", "350", "--out", "o.json"]);
    expect(await place.failure([...chat("run"), "--tokenizer", "o.json"])).toMatchObject({
      code: "TOKENIZER_MISMATCH",
    });
  });
});

describe("GGUF", () => {
  test("cut anywhere: refused", async () => {
    const whole = fs.readFileSync(place.at("m.gguf"));
    for (const length of [0, 3, 20, 1000, whole.length >> 1, whole.length - 1]) {
      fs.writeFileSync(place.at("cut.gguf"), whole.subarray(0, length));
      for (const args of [chat("cut.gguf"), ["eval", "logits", "cut.gguf", "--tokens", "1"]])
        expect(await place.failure(args)).toMatchObject({ exit: 6 });
    }
  });

  test("one bit flipped in the header: refused or read, never a crash", async () => {
    for (let at = 0; at < 32; at++) {
      const bytes = fs.readFileSync(place.at("m.gguf"));
      bytes[at]! ^= 1 << (at % 8);
      fs.writeFileSync(place.at("flip.gguf"), bytes);
      const args = ["eval", "logits", "flip.gguf", "--tokens", "1"];
      const { code, stderr } = await place.run(args);
      expect([0, 6]).toContain(code);
      if (code !== 0) expect(stderr).toMatch(/^[A-Z_]+: .* Hint: .*\n$/);
    }
  });

  test.each([
    ["missing.gguf", "NOT_FOUND"],
    ["folder", "NOT_A_CHECKPOINT"],
    ["text.txt", "BAD_FORMAT"],
    ["/dev/zero", "NOT_A_FILE"],
    ["fifo", "NOT_A_FILE"],
    ["loop-a", "NOT_FOUND"],
  ])("%s: %s", async (file, code) => {
    for (const args of [chat(file), ["eval", "logits", file, "--tokens", "1"]])
      expect((await place.failure(args)).code).toBe(code);
  });
});

test("what is of another kind is never replaced", async () => {
  const text = fs.readFileSync(place.at("text.txt"));
  const train = ["tokenizer", "train", "text.txt", "--vocab-size", "300", "--out"];
  const exported = ["export", "gguf", "run", "--type", "f16", "--out"];
  for (const command of [train, exported]) {
    expect((await place.failure([...command, "text.txt"])).code).toBe("FILE_EXISTS");
    for (const file of ["fifo", "folder"])
      expect((await place.failure([...command, file])).code).toBe("NOT_A_FILE");
  }
  const set = ["config", "set", "log.level", "debug", "--config"];
  expect((await place.failure([...set, "fifo"])).code).toBe("NOT_A_FILE");
  expect(fs.readFileSync(place.at("text.txt"))).toEqual(text);
  expect(fs.statSync(place.at("fifo")).isFIFO()).toBe(true);
});

test("numbers beyond what a machine has", async () => {
  const train = ["train", "--model", "tiny", "--data", "text.txt", "--out", "never"];
  for (const flag of ["batch", "accumulate", "context", "vocab-size", "threads", "lr"])
    for (const value of ["-1", "4e9", "9007199254740991", "1e400"])
      expect([2, 3]).toContain((await place.failure([...train, `--${flag}`, value])).exit);
  const tokens = Array.from({ length: 40 }, (_, i) => i).join(",");
  expect(await place.failure(["eval", "logits", "run", "--tokens", tokens])).toEqual({
    code: "PROMPT_TOO_LONG",
    exit: 2,
  });
});

describe("small files that commands read", () => {
  const commands = (file: string) => [
    ["tokenizer", "encode", file, "hi"],
    ["tokenizer", "encode", "run/data/tokenizer.json", "--file", file],
    ["config", "check", file],
    ["network", "show", file],
    ["keys", "import", file],
    ["keys", "sign", "--file", file],
    ["train", "--model", path.join(".", file), "--data", "text.txt", "--out", "never"],
  ];
  test.each(["missing", "fifo", "loop-a", "folder", "/dev/zero"])("%s", async (file) => {
    await place.run(["keys", "create"]);
    for (const args of commands(file)) {
      const { code } = await place.failure(args);
      expect(code).not.toMatch(/BAD_JSON|MEMORY/);
    }
  });
});
