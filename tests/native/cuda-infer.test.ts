/**
 * Inference on a GPU, in the emulation: the CPU's logits within the rounding of 16-bit caches and heads,
 * the same bits however rows are batched and cut, and a refusal of all that the CPU's library refuses.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { seededRandom } from "../../src/core/random.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { exportGguf } from "../../src/model/export-gguf.ts";
import type { Address } from "../../src/native/ffi.ts";
import { bookTokenizer, randomParams, SMALL } from "../model/small-models.ts";
import { BUILD_TIMEOUT_MS, build, emulatedFile } from "./emulated.ts";
import { batchArrays, InferAbi, type Row } from "./infer-abi.ts";

/** Emulated threads are slow. */
const TIMEOUT_MS = 300_000;
/**
 * Rounding activations to int8 makes steps of the smallest difference, most of all in models that were
 * not trained: the CPU's own logits with caches of 16 and of 32 bits are up to 2e-2 apart. A GPU is no
 * further from 32 bits than the CPU's 16 bits are, but for chance, whether fp16 holds the embedding or not.
 */
const TIMES_OWN = 1.2;
/** Where the CPU's two caches agree by chance. */
const LEAST_TOLERANCE = 2e-3;

const base: ModelConfig = {
  ...{ variant: "bitnet", vocab_size: 257, d_model: 64, n_layers: 2, n_heads: 4, n_kv_heads: 2 },
  ...{ head_dim: 16, d_ff: 176, context: 96, rope_theta: 10_000, norm_eps: 1e-5 },
};
const CONFIGS: Record<string, ModelConfig> = {
  bitnet: base,
  llama: { ...base, variant: "llama" },
  // Nothing is a multiple of anything; one kv head.
  odd: {
    ...{ ...base, vocab_size: 97, d_model: 50, n_heads: 3, n_kv_heads: 1, head_dim: 10, d_ff: 88 },
  },
};

const cpu = new InferAbi();
let gpu: InferAbi;
beforeAll(() => {
  build("emulated");
  gpu = new InferAbi(emulatedFile);
}, BUILD_TIMEOUT_MS);

const random = seededRandom(7n);
const tokensOf = (config: ModelConfig, n: number) =>
  Int32Array.from({ length: n }, () => random.below(config.vocab_size));
const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);

function relativeL2(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

/** Logits of a fresh sequence. */
function logitsOf(
  abi: InferAbi,
  model: Address,
  config: ModelConfig,
  tokens: Int32Array,
  kv_bits = 16,
): Float32Array {
  const session = abi.session(model, { kv_bits });
  try {
    return abi.eval(session, tokens, config.vocab_size);
  } finally {
    abi.call.mg_session_free(session);
  }
}

describe.each(Object.keys(CONFIGS))("inference on a GPU, %s", (name) => {
  const config = CONFIGS[name]!;
  const vocab = config.vocab_size;
  let params: Float32Array;
  let model: Address;
  beforeAll(async () => {
    params = await randomParams(config);
    model = gpu.fromParams(config, params);
  }, TIMEOUT_MS);
  afterAll(() => gpu.call.mg_infer_free(model));

  test(
    "gives the CPU's logits",
    () => {
      const tokens = tokensOf(config, config.context);
      const same = params.slice();
      same.set(new Float16Array(params.subarray(0, vocab * config.d_model)));
      for (const [embedding, weights] of Object.entries({ fp16: same, float32: params })) {
        const host = cpu.fromParams(config, weights);
        const device = gpu.fromParams(config, weights);
        const expected = logitsOf(cpu, host, config, tokens, 32);
        const own = relativeL2(logitsOf(cpu, host, config, tokens), expected);
        const error = relativeL2(logitsOf(gpu, device, config, tokens), expected);
        const [far, near] = [error, own].map((x) => x.toExponential(1));
        process.stderr.write(
          `${name}, embedding ${embedding}: GPU against CPU ${far}, the CPU's 16 against 32 bits ${near}\n`,
        );
        expect(error).toBeLessThan(Math.max(LEAST_TOLERANCE, TIMES_OWN * own));
        cpu.call.mg_infer_free(host);
        gpu.call.mg_infer_free(device);
      }
    },
    TIMEOUT_MS,
  );

  test(
    "one token at a time, in pieces and at once give the same bits; truncated, again",
    () => {
      const tokens = tokensOf(config, 41);
      const whole = logitsOf(gpu, model, config, tokens);
      const session = gpu.session(model);
      for (const piece of [1, 7, 20]) {
        for (let at = 0; at < tokens.length; at += piece) {
          const part = tokens.subarray(at, at + piece);
          const expected = whole.slice(at * vocab, (at + part.length) * vocab);
          expect(bits(gpu.eval(session, part, vocab))).toEqual(bits(expected));
        }
        expect(gpu.length(session)).toBe(tokens.length);
        gpu.call.mg_session_truncate(session, 5);
        const next = gpu.eval(session, tokens.subarray(5, 9), vocab, 3);
        expect(bits(next)).toEqual(bits(whole.slice(8 * vocab, 9 * vocab)));
        gpu.call.mg_session_truncate(session, 0);
      }
      gpu.call.mg_session_free(session);
    },
    TIMEOUT_MS,
  );

  test(
    "sessions decoded together, each in its own cache, get the bits that each gets alone",
    () => {
      const tokens = [3, 40, 17].map((n) => tokensOf(config, n + 3));
      const sessions = tokens.map(({ length }, i) =>
        gpu.session(model, { context: i === 1 ? config.context : length }),
      );
      const alone = tokens.map((one) => logitsOf(gpu, model, config, one));
      for (const [i, session] of sessions.entries())
        gpu.eval(session, tokens[i]!.subarray(0, -3), vocab, tokens[i]!.length - 4);
      const handles = BigUint64Array.from(sessions, BigInt);
      for (let step = 3; step >= 1; step--) {
        const logits = new Float32Array(3 * vocab);
        const next = Int32Array.from(tokens, (one) => one.at(-step)!);
        gpu.call.mg_session_decode(handles, next, 3, logits);
        for (const [i, { length }] of tokens.entries()) {
          const expected = alone[i]!.slice((length - step) * vocab, (length - step + 1) * vocab);
          expect(bits(logits.slice(i * vocab, (i + 1) * vocab))).toEqual(bits(expected));
          expect(gpu.length(sessions[i]!)).toBe(length - step + 1);
        }
      }
      // The first is full: nobody gets a token.
      const none = new Float32Array(3 * vocab);
      expect(() => gpu.call.mg_session_decode(handles, new Int32Array(3), 3, none)).toThrow();
      expect(sessions.map((one) => gpu.length(one))).toEqual(tokens.map(({ length }) => length));
      for (const session of sessions) gpu.call.mg_session_free(session);
    },
    TIMEOUT_MS,
  );

  test(
    "a batch gives the bits of each row alone, in blocks of any order, with states beside logits",
    () => {
      const sequences = [70, 3, 17, 1, 32].map((n) => tokensOf(config, n));
      const alone = sequences.map((tokens) => logitsOf(gpu, model, config, tokens));
      const pool = gpu.pool(model, 16);
      const order = [9, 3, 14, 0, 7, 12, 1, 15, 2, 11, 5, 8, 13, 4, 6, 10];
      const tables = sequences.map(({ length }) => order.splice(0, Math.ceil(length / 16)));
      const rows = (from: number, to: (n: number) => number, output: Row["output"]): Row[] =>
        sequences.flatMap((tokens, sequence) =>
          [...tokens]
            .map((token, position) => ({ token, position, sequence, output }))
            .slice(from, to(tokens.length)),
        );
      // All but the last of each, more than one block's worth of rows; then the last ones together.
      const { hidden } = gpu.batch(
        model,
        pool,
        rows(0, (n) => n - 1, "hidden"),
        tables,
        config,
      );
      const last: Row[] = sequences.map((tokens, sequence) => ({
        ...{ token: tokens.at(-1)!, position: tokens.length - 1, sequence, output: "logits" },
      }));
      const { logits } = gpu.batch(model, pool, last, tables, config);
      for (const [i, tokens] of sequences.entries()) {
        const expected = alone[i]!.slice((tokens.length - 1) * vocab);
        expect(bits(logits.slice(i * vocab, (i + 1) * vocab))).toEqual(bits(expected));
      }
      // The head's product of a state is its row of logits.
      expect(hidden.length).toBe((70 + 3 + 17 + 1 + 32 - 5) * config.d_model);
      const embedding = params.subarray(0, vocab * config.d_model);
      const again = new Float32Array(vocab);
      for (let v = 0; v < vocab; v++)
        for (let c = 0; c < config.d_model; c++)
          again[v]! += hidden[c]! * embedding[v * config.d_model + c]!;
      expect(relativeL2(again, alone[0]!.slice(0, vocab))).toBeLessThan(1e-3);
      gpu.call.mg_kv_free(pool);
    },
    TIMEOUT_MS,
  );
});

/** The 64 bytes of mg_sampler_options. */
function sampler(abi: InferAbi, vocab: number, temperature: number, top_logprobs = 0): Address {
  const options = new DataView(new ArrayBuffer(64));
  for (const [i, value] of [temperature, 1, 0, 1].entries()) options.setFloat32(4 * i, value, true);
  options.setBigUint64(24, 11n, true);
  options.setUint32(56, top_logprobs, true);
  const slot = new BigUint64Array(1);
  abi.call.mg_sampler_create(vocab, new Uint8Array(options.buffer), null, null, 0, null, slot);
  return Number(slot[0]) as Address;
}

describe("inference on a GPU", () => {
  const config = base;
  let params: Float32Array;
  let model: Address;
  beforeAll(async () => {
    params = await randomParams(config);
    model = gpu.fromParams(config, params);
  }, TIMEOUT_MS);
  afterAll(() => gpu.call.mg_infer_free(model));

  test(
    "mg_batch_step draws what the sampler draws from the logits",
    () => {
      const tokens = tokensOf(config, 3);
      const rows: Row[] = [...tokens].map((token, sequence) => ({
        ...{ token, position: 0, sequence, output: "logits" },
      }));
      const tables = [[0], [1], [2]];
      const pool = gpu.pool(model, 3);
      const { logits } = gpu.batch(model, pool, rows, tables, config);
      const samplers = [0, 0.8, 0].map((t, i) =>
        sampler(gpu, config.vocab_size, t, i === 2 ? 5 : 0),
      );
      const drawn = new Int32Array(3);
      const logprobs = new Float32Array(3);
      const [ids, tops] = [new Int32Array(60), new Float32Array(60)];
      const step = [BigUint64Array.from(samplers, BigInt), 3, drawn, logprobs, ids, tops, null];
      gpu.call.mg_batch_step(model, pool, 0, ...batchArrays(rows, tables), ...step);
      for (const i of [0, 2]) {
        const row = logits.subarray(i * config.vocab_size, (i + 1) * config.vocab_size);
        const top = row.indexOf(Math.max(...row));
        const sum = row.reduce((total, x) => total + Math.exp(x - row[top]!), 0);
        expect(drawn[i]).toBe(top);
        expect(logprobs[i]).toBeCloseTo(-Math.log(sum), 5);
      }
      expect(drawn[1]).toBeGreaterThanOrEqual(0);
      expect([...ids.subarray(0, 2)]).toEqual([-1, -1]);
      expect(ids[40]).toBe(drawn[2]!);
      expect(ids[45]).toBe(-1);
      for (const s of samplers) gpu.call.mg_sampler_free(s);
      gpu.call.mg_kv_free(pool);
    },
    TIMEOUT_MS,
  );

  test("refuses in the CPU's words what the CPU refuses", () => {
    const host = cpu.fromParams(config, params);
    const words = (abi: InferAbi, of: Address) => {
      const said: string[] = [];
      const attempt = (call: () => void) => {
        try {
          call();
          said.push("accepted");
        } catch (error) {
          said.push((error as Error).message);
        }
      };
      const pool = abi.pool(of, 4);
      const session = abi.session(of, { context: 20 });
      const row: Row = { token: 1, position: 0, sequence: 0, output: "logits" };
      const one = (change: Partial<Row>, tables = [[0]]) =>
        attempt(() => abi.batch(of, pool, [{ ...row, ...change }], tables, config));
      for (const token of [-1, 257, -(2 ** 31)]) one({ token });
      for (const position of [16, 96, 2 ** 31 - 1]) one({ position });
      one({ sequence: 1 });
      one({}, [[4]]);
      one({}, [[]]);
      const many = (rows: Row[], tables: number[][]) =>
        attempt(() => abi.batch(of, pool, rows, tables, config));
      many([row, { ...row, position: 2 }], [[0]]);
      many([row, { ...row, sequence: 1 }], [[0], [0]]);
      many([row, { ...row, sequence: 1 }, { ...row, position: 1 }], [[0], [1]]);
      many([], [[0]]);
      attempt(() => abi.eval(session, Int32Array.of(3, 300), config.vocab_size));
      attempt(() => abi.eval(session, new Int32Array(21), config.vocab_size));
      attempt(() => abi.call.mg_session_truncate(session, 1));
      attempt(() => abi.call.mg_session_eval(session, new Int32Array(2), 2, 3, null));
      attempt(() => abi.session(of, { context: 97 }));
      attempt(() => abi.session(of, { rounding: 2 }));
      attempt(() => abi.session(of, { kv_bits: 8 }));
      attempt(() => abi.pool(of, 0));
      attempt(() => abi.pool(of, 1, 8));
      attempt(() => abi.call.mg_kv_release(pool, Uint32Array.of(4), 1));
      const twice = BigUint64Array.of(BigInt(session), BigInt(session));
      const logits = new Float32Array(2 * config.vocab_size);
      attempt(() => abi.call.mg_session_decode(twice, new Int32Array(2), 2, logits));
      for (const symbol of ["mg_infer_bytes", "mg_kv_block_bytes", "mg_session_length"] as const)
        attempt(() => abi.call[symbol](null, new BigUint64Array(1)));
      attempt(() => abi.call.mg_session_eval(null, new Int32Array(1), 1, 1, null));
      for (const symbol of ["mg_infer_free", "mg_kv_free", "mg_session_free"] as const)
        attempt(() => abi.call[symbol](null));
      expect(abi.length(session)).toBe(0);
      abi.call.mg_session_free(session);
      abi.call.mg_kv_free(pool);
      return said;
    };
    const expected = words(cpu, host);
    expect(expected.filter((said) => said === "accepted").length).toBe(3);
    expect(words(gpu, model)).toEqual(expected);
    cpu.call.mg_infer_free(host);
  });

  test("says what only the CPU does", () => {
    expect(() => gpu.session(model, { rounding: 1 })).toThrow(/llamacpp rounding is the CPU's/);
    expect(() => gpu.session(model, { kv_bits: 32 })).toThrow(/16 bits; 32 are the CPU's/);
    expect(() => gpu.pool(model, 1, 32)).toThrow(/16 bits; 32 are the CPU's/);
    expect(() => gpu.fromParams({ ...config, quant: "none" }, params)).toThrow(/take the CPU/);
    expect(() => gpu.fromParams(config, params, 3)).toThrow(/device 3 of 1/);
  });

  test("sessions and pools keep their model alive; nothing is left", () => {
    const before = gpu.liveHandles();
    const mine = gpu.fromParams(config, params);
    const session = gpu.session(mine);
    gpu.call.mg_infer_free(mine);
    expect(gpu.eval(session, Int32Array.of(1, 2), config.vocab_size, 1)).toHaveLength(257);
    gpu.call.mg_session_free(session);
    expect(gpu.liveHandles()).toBe(before);
  });

  test(
    "runs GGUF files, with the head as it is, in int8 and in int4",
    async () => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-gpu-"));
      const shape: ModelConfig = { ...SMALL, n_layers: 1, variant: "llama", context: 32 };
      const tokenizer = await bookTokenizer(shape.vocab_size);
      const file = path.join(folder, "model.gguf");
      const own = await randomParams(shape);
      await exportGguf({
        config: shape,
        params: own,
        tokenizer,
        type: "TQ2_0",
        name: "m",
        path: file,
      });
      const bytes = new Uint8Array(fs.readFileSync(file));
      fs.rmSync(folder, { recursive: true });
      const tokens = tokensOf(shape, 20);
      const sizes: number[] = [];
      for (const head of [0, 1, 2]) {
        const host = cpu.fromGguf(bytes, head);
        const device = gpu.fromGguf(bytes, head);
        const expected = logitsOf(cpu, host, shape, tokens);
        const error = relativeL2(logitsOf(gpu, device, shape, tokens), expected);
        process.stderr.write(`GGUF, head ${head}: relative L2 ${error.toExponential(1)}\n`);
        expect(error).toBeLessThan(1e-2);
        const size = new BigUint64Array(1);
        gpu.call.mg_infer_bytes(device, size);
        sizes.push(Number(size[0]));
        cpu.call.mg_infer_free(host);
        gpu.call.mg_infer_free(device);
      }
      // Two bytes a weight of the head, or one and a scale a row, or half of one and a scale for 32.
      expect(sizes[0]! - sizes[1]!).toBe(1008 * 256 * 2 - 1008 * 256 - 1000 * 4);
      expect(sizes[0]! - sizes[2]!).toBe(1008 * 256 * 2 - 1008 * 128 - 1008 * 8 * 2);
    },
    TIMEOUT_MS,
  );
});
