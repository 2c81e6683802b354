/**
 * The inference section of the C ABI as the CPU's library and the GPU's both have it, called directly: to
 * compare the two, and to pass what the engine never would.
 */
import { type ModelConfig, packModelConfig } from "../../src/model/config.ts";
import { type Address, addressSlot, bind, takeAddress } from "../../src/native/ffi.ts";

const BATCH = ["handle", "handle", "u32", "buffer", "u64", "buffer", "buffer", "u64"] as const;
const DECLARATIONS = {
  mg_gguf_parse: ["buffer", "u64", "buffer"],
  mg_gguf_free: ["buffer"],
  mg_infer_from_params: ["buffer", "buffer", "u64", "u32", "buffer"],
  mg_infer_from_gguf: ["handle", "u32", "u32", "buffer"],
  mg_infer_free: ["buffer"],
  mg_infer_config: ["buffer", "buffer"],
  mg_infer_bytes: ["buffer", "buffer"],
  mg_kv_create: ["buffer", "u32", "u32", "buffer"],
  mg_kv_free: ["buffer"],
  mg_kv_block_bytes: ["buffer", "buffer"],
  mg_kv_release: ["buffer", "buffer", "u64"],
  mg_session_create: ["buffer", "buffer", "buffer"],
  mg_session_free: ["buffer"],
  mg_session_eval: ["buffer", "buffer", "u64", "u64", "buffer", "cancel"],
  mg_session_decode: ["buffer", "buffer", "u64", "buffer", "cancel"],
  mg_session_length: ["buffer", "buffer"],
  mg_session_truncate: ["buffer", "u64"],
  mg_batch_eval: [...BATCH, "buffer", "buffer", "cancel"],
  mg_batch_step: [
    ...[...BATCH, "buffer", "u64", "buffer", "buffer", "buffer", "buffer"],
    ...["buffer", "cancel"],
  ],
  mg_sampler_create: ["u64", "buffer", "buffer", "buffer", "u64", "buffer", "buffer"],
  mg_sampler_free: ["buffer"],
  mg_live_handles: ["buffer"],
} as const;

export interface Row {
  token: number;
  position: number;
  sequence: number;
  output: "none" | "logits" | "hidden";
}
const OUTPUTS = { none: 0, logits: 1, hidden: 2 } as const;

export class InferAbi {
  readonly call;

  constructor(file?: string) {
    this.call = bind(DECLARATIONS as never, file) as unknown as Record<
      keyof typeof DECLARATIONS,
      (...args: unknown[]) => void
    >;
  }

  #make(symbol: keyof typeof DECLARATIONS, ...args: unknown[]): Address {
    const slot = addressSlot();
    this.call[symbol](...args, slot);
    return takeAddress(slot);
  }
  fromParams(config: ModelConfig, params: Float32Array, device = 0): Address {
    const packed = packModelConfig(config);
    return this.#make("mg_infer_from_params", packed, params, params.length, device);
  }
  fromGguf(bytes: Uint8Array, head: number): Address {
    const file = this.#make("mg_gguf_parse", bytes, bytes.length);
    try {
      return this.#make("mg_infer_from_gguf", file, 0, head);
    } finally {
      this.call.mg_gguf_free(file);
    }
  }
  session(model: Address, options: { context?: number; rounding?: number; kv_bits?: number } = {}) {
    const { context = 0, rounding = 0, kv_bits = 16 } = options;
    const packed = new Uint32Array([context, rounding, kv_bits, 0]);
    return this.#make("mg_session_create", model, packed);
  }
  pool = (model: Address, blocks: number, kv_bits = 16) =>
    this.#make("mg_kv_create", model, blocks, kv_bits);

  /** Logits of all tokens but the first `skip`. */
  eval(session: Address, tokens: Int32Array, vocab: number, skip = 0): Float32Array {
    const logits = new Float32Array((tokens.length - skip) * vocab);
    this.call.mg_session_eval(session, tokens, tokens.length, skip, logits);
    return logits;
  }
  length(session: Address): number {
    const out = new BigUint64Array(1);
    this.call.mg_session_length(session, out);
    return Number(out[0]);
  }
  liveHandles(): number {
    const out = new BigUint64Array(1);
    this.call.mg_live_handles(out);
    return Number(out[0]);
  }
  batch(model: Address, pool: Address, rows: Row[], tables: number[][], config: ModelConfig) {
    const count = (kind: Row["output"]) => rows.filter(({ output }) => output === kind).length;
    const logits = new Float32Array(count("logits") * config.vocab_size);
    const hidden = new Float32Array(count("hidden") * config.d_model);
    const arrays = batchArrays(rows, tables);
    this.call.mg_batch_eval(model, pool, 0, ...arrays, logits, hidden);
    return { logits, hidden };
  }
}

/** Rows, tables and starts as mg_batch_eval takes them. */
export function batchArrays(rows: Row[], tables: number[][]) {
  const packed = Int32Array.from(
    rows.flatMap(({ token, position, sequence, output }) => [
      ...[token, position, sequence],
      OUTPUTS[output],
    ]),
  );
  const starts = new Uint32Array(tables.length + 1);
  for (const [i, table] of tables.entries()) starts[i + 1] = starts[i]! + table.length;
  return [packed, rows.length, Uint32Array.from(tables.flat()), starts, tables.length] as const;
}
