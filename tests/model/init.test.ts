/** Starting a run from given weights: formats, shards, what is refused, and that runs go on exactly. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import { Checkpoint } from "../../src/model/checkpoint.ts";
import { type ModelConfig, paramCount, tensorInfos } from "../../src/model/config.ts";
import { exportHf } from "../../src/model/export-hf.ts";
import { hostFileSystem, replaceFile } from "../../src/model/file-system.ts";
import { openInit } from "../../src/model/init-weights.ts";
import { loadLatentModel } from "../../src/model/load-model.ts";
import {
  bytesOf,
  type Dtype,
  type TensorData,
  writeSafetensors,
} from "../../src/model/safetensors.ts";
import type { Tokenizer } from "../../src/model/tokenizer.ts";
import { type TrainFromFilesOptions, trainFromFiles } from "../../src/model/train-from-files.ts";
import { bookText, bookTokenizer, randomParams, TINY } from "./small-models.ts";
import { tickingClock } from "./training-fixture.ts";

const config: ModelConfig = { ...TINY, vocab_size: 300 };
const infos = tensorInfos(config);
let root = "";
let text = "";
let tokenizer: Tokenizer;
let params: Float32Array;
let base = "";
let made = 0;
const fresh = () => path.join(root, `case-${made++}`);

beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-init-"));
  text = path.join(root, "book.txt");
  fs.writeFileSync(text, bookText().subarray(0, 60_000));
  tokenizer = await bookTokenizer(config.vocab_size);
  params = await randomParams(config, 3n);
  base = path.join(root, "base");
  await exportHf({ config, params, tokenizer, folder: base });
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** Nearest-even rounding to the format and back, in TypeScript: the oracle of the conversions. */
function rounded(dtype: Dtype, values: Float32Array): { stored: Uint8Array; read: Float32Array } {
  if (dtype === "F32") return { stored: bytesOf(values.slice()), read: values };
  if (dtype === "F16") {
    const half = Uint16Array.from(values, (v) => {
      const view = new DataView(new ArrayBuffer(2));
      view.setFloat16(0, v, true);
      return view.getUint16(0, true);
    });
    return { stored: bytesOf(half), read: values.map((v) => Math.f16round(v)) };
  }
  const bits = new Uint32Array(values.slice().buffer);
  const kept = bits.map((b) => (b + 0x7fff + ((b >>> 16) & 1)) & 0xffff_0000);
  return {
    stored: bytesOf(Uint16Array.from(kept, (b) => b >>> 16)),
    read: new Float32Array(kept.buffer),
  };
}

const tensors = (dtype: Dtype): TensorData[] =>
  infos.map(({ name, offset, rows, cols, is_matrix }) => ({
    name,
    dtype,
    shape: is_matrix ? [rows, cols] : [cols],
    data: rounded(dtype, params.subarray(offset, offset + rows * cols)).stored,
  }));
const write = (file: string, content: readonly TensorData[]) =>
  replaceFile(hostFileSystem, file, (out) => writeSafetensors(out, content));
const one = (name: string, shape: number[], values: Float32Array, dtype: Dtype = "F32") => ({
  name,
  dtype,
  shape,
  data: rounded(dtype, values).stored,
});

/** A folder like `base`, with other fields in config.json or other tensors. */
async function variant(change: {
  config?: Record<string, unknown>;
  tensors?: readonly TensorData[];
}): Promise<string> {
  const folder = fresh();
  fs.cpSync(base, folder, { recursive: true });
  const file = path.join(folder, "config.json");
  const hf = JSON.parse(fs.readFileSync(file, "utf8"));
  fs.writeFileSync(file, JSON.stringify({ ...hf, ...change.config }));
  if (change.tensors) await write(path.join(folder, "model.safetensors"), change.tensors);
  return folder;
}

async function loaded(source: string): Promise<Float32Array> {
  const arena = new Float32Array(paramCount(config)).fill(Number.NaN);
  await (await openInit(source)).load(config, arena);
  return arena;
}
const failure = async (run: () => Promise<unknown>): Promise<MagnetError> => {
  try {
    await run();
  } catch (error) {
    if (error instanceof MagnetError) return error;
    throw error;
  }
  return expect.unreachable();
};

describe("weights on disk", () => {
  test.each(["F32", "F16", "BF16"] as const)(
    "%s: one file, several, and a bare one",
    async (dtype) => {
      const expected = rounded(dtype, params).read;
      const all = tensors(dtype);
      const folder = await variant({ tensors: all });
      expect(await loaded(folder)).toEqual(expected);
      expect((await loadLatentModel(folder)).params).toEqual(expected);
      expect(await loaded(path.join(folder, "model.safetensors"))).toEqual(expected);

      // Shards, whose order is not that of the model; a tensor may not be named by the index.
      fs.rmSync(path.join(folder, "model.safetensors"));
      const names = ["a-00001.safetensors", "b-00002.safetensors", "c-00003.safetensors"];
      const shards = names.map((_, k) => all.filter((__, i) => i % 3 === k).reverse());
      for (const [k, name] of names.entries()) await write(path.join(folder, name), shards[k]!);
      const weight_map = Object.fromEntries(
        shards.flatMap((shard, k) => shard.map((t) => [t.name, names[k]])),
      );
      const index = path.join(folder, "model.safetensors.index.json");
      fs.writeFileSync(index, JSON.stringify({ metadata: {}, weight_map }));
      expect(await loaded(folder)).toEqual(expected);
      expect(await loaded(index)).toEqual(expected);
    },
  );

  test("a head that is the embedding and old RoPE tables say nothing new", async () => {
    const all = tensors("BF16");
    const head = { ...all[0]!, name: "lm_head.weight" };
    const table = one("model.layers.0.self_attn.rotary_emb.inv_freq", [4], new Float32Array(4));
    const untied = { tie_word_embeddings: false };
    const folder = await variant({ config: untied, tensors: [...all, table, head] });
    expect(await loaded(folder)).toEqual(rounded("BF16", params).read);
    const without = await variant({ config: untied });
    expect((await failure(() => loaded(without))).message).toContain("not tied");
  });
});

describe("what is refused, by its name", () => {
  const all = () => tensors("F32");
  const last = () => all().at(-1)!;
  const cases: [string, string, string, () => readonly TensorData[]][] = [
    [
      "a bias",
      "UNSUPPORTED",
      "self_attn.q_proj.bias",
      () => [...all(), one("model.layers.0.self_attn.q_proj.bias", [128], new Float32Array(128))],
    ],
    [
      "a head of its own",
      "UNSUPPORTED",
      "lm_head.weight",
      () => [...all(), one("lm_head.weight", [300, 128], new Float32Array(300 * 128))],
    ],
    [
      "an unknown tensor",
      "UNSUPPORTED",
      "model.layers.0.mlp.experts.0",
      () => [...all(), one("model.layers.0.mlp.experts.0", [1], new Float32Array(1))],
    ],
    [
      "a missing tensor",
      "TENSOR_MISSING",
      "model.norm.weight",
      () => all().filter((t) => t.name !== "model.norm.weight"),
    ],
    [
      "another shape",
      "SHAPE_MISMATCH",
      "[64]",
      () => [...all().slice(0, -1), one(last().name, [64], new Float32Array(64))],
    ],
    [
      "packed weights",
      "UNSUPPORTED",
      "U8",
      () => [
        ...all().slice(0, -1),
        { name: last().name, dtype: "U8", shape: [128], data: new Uint8Array(128) },
      ],
    ],
    [
      "NaN",
      "NOT_A_NUMBER",
      "value 5",
      () => [
        ...all().slice(0, -1),
        one(last().name, [128], new Float32Array(128).fill(Number.NaN, 5)),
      ],
    ],
  ];
  test.each(cases)("%s", async (_, code, named, content) => {
    const folder = await variant({ tensors: content() });
    const error = await failure(() => loaded(folder));
    expect(error).toMatchObject({ code });
    expect(error.message).toContain(named);
    expect(error.message).toContain(folder);
    expect(error.hint).toBeString();
  });

  test.each([
    ["rope_scaling", { rope_scaling: { rope_type: "llama3", factor: 8 } }],
    ["rope_parameters", { rope_parameters: { rope_type: "yarn" } }],
    ["hidden_act", { hidden_act: "relu2" }],
    ["attention_bias", { attention_bias: true }],
    ["mlp_bias", { mlp_bias: true }],
    ["model_type", { model_type: "mistral" }],
    ["quantization_config", { quantization_config: { quant_method: "gptq" } }],
    ["d_model", { hidden_size: 0 }],
  ])("%s in config.json", async (field, change) => {
    const folder = await variant({ config: change });
    const error = await failure(() => openInit(folder));
    expect(error).toMatchObject({ code: "BAD_MODEL_CONFIG", exit: "config" });
    expect(error.message).toContain(field);
  });

  test("indexes that point elsewhere, at nothing, or at a tensor twice", async () => {
    const folder = await variant({});
    const index = path.join(folder, "model.safetensors.index.json");
    const codeOf = async (content: unknown) => {
      fs.writeFileSync(index, typeof content === "string" ? content : JSON.stringify(content));
      return (await failure(() => loaded(folder))).code;
    };
    for (const bad of [
      "{",
      "[]",
      {},
      { weight_map: {} },
      { weight_map: { a: "../x.safetensors" } },
    ])
      expect(await codeOf(bad)).toBe("SAFETENSORS_CORRUPT");
    expect(await codeOf({ weight_map: { a: "/etc/passwd" } })).toBe("SAFETENSORS_CORRUPT");
    expect(await codeOf({ weight_map: { a: "none.safetensors" } })).toBe("NOT_FOUND");
    fs.copyFileSync(path.join(folder, "model.safetensors"), path.join(folder, "b.safetensors"));
    const twice = { weight_map: { a: "model.safetensors", b: "b.safetensors" } };
    expect(await codeOf(twice)).toBe("SAFETENSORS_CORRUPT");
    fs.truncateSync(path.join(folder, "b.safetensors"), 5000);
    expect(await codeOf({ weight_map: { b: "b.safetensors" } })).toBe("SAFETENSORS_CORRUPT");
  });
});

function train(out_dir: string, change: Partial<TrainFromFilesOptions> = {}) {
  const { settings, ...rest } = change;
  return trainFromFiles({
    data: [text],
    out_dir,
    settings: { steps: 6, batch: 4, eval_interval: 0, lr: 1e-3, seed: 5, ...settings },
    clock: tickingClock(),
    ...rest,
  });
}

describe("training from given weights", () => {
  test("starts at them, with their model and tokenizer, and resumes exactly", async () => {
    const straight = await train(fresh(), { init: base });
    expect(straight).toMatchObject({ tokenizer_hash: tokenizer.hash, vocab_size: 300 });
    const { manifest } = await Checkpoint.open(straight.checkpoint);
    expect(manifest.model).toMatchObject(config);
    const sha256 = new Bun.CryptoHasher("sha256").update(bytesOf(params)).digest("hex");
    expect(manifest.init_hash).toBe(sha256);

    const out_dir = fresh();
    const abort = new AbortController();
    await train(out_dir, {
      init: base,
      signal: abort.signal,
      onEvent: (event) => event.type === "step" && event.step === 3 && abort.abort(),
    });
    const resume = { data: undefined, resume: out_dir, settings: {} };
    const refused = await failure(() => train(out_dir, { ...resume, init: base }));
    expect(refused.code).toBe("INIT_AND_RESUME");
    const rest = await train(out_dir, resume);
    expect(rest.checkpoint_hash).toBe(straight.checkpoint_hash);

    // A checkpoint of magnet is a start too: the first evaluation is the last one of its run.
    const further = await train(fresh(), { init: out_dir, settings: { steps: 1 } });
    expect(further.heldout_before!.loss).toBe(straight.heldout!.loss);
  });

  test("a model or tokenizer that does not fit is refused with the difference", async () => {
    const other = path.join(root, "other.json");
    fs.writeFileSync(other, JSON.stringify({ ...config, d_ff: 512, norm_eps: 1e-6 }));
    const model = await failure(() => train(fresh(), { init: base, model: other }));
    expect(model).toMatchObject({ code: "INIT_MISMATCH" });
    expect(model.message).toContain("d_ff is 256 there, --model says 512; norm_eps");
    fs.writeFileSync(other, JSON.stringify({ ...config, context: 16 }));
    const shorter = await train(fresh(), { init: base, model: other, quant: "none" });
    expect((await Checkpoint.open(shorter.checkpoint)).manifest.model).toMatchObject({
      context: 16,
      quant: "none",
    });
    const bare = path.join(base, "model.safetensors");
    expect((await failure(() => train(fresh(), { init: bare }))).code).toBe("NO_TOKENIZER");
    const given = path.join(base, "tokenizer.json");
    const unnamed = await failure(() => train(fresh(), { init: bare, tokenizer: given }));
    expect(unnamed.code).toBe("INIT_MISMATCH");
    fs.writeFileSync(other, JSON.stringify(config));
    const named = { init: bare, tokenizer: given, model: other, settings: { steps: 1 } };
    expect((await train(fresh(), named)).step).toBe(1);
    const preset = await failure(() => train(fresh(), { ...named, model: "tiny" }));
    expect(preset.code).toMatch(/^(SHAPE_MISMATCH|TENSOR_MISSING)$/);
    expect((await failure(() => train(fresh(), { init: fresh() }))).code).toBe("NOT_FOUND");
  });
});
