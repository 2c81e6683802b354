/**
 * Batches over a pool of cached keys and values: the native step of the inference engine. Which
 * sequence owns which blocks is the caller's business (src/model/engine).
 */
import { invariant, MagnetError } from "../core/errors.ts";
import { asRefusal } from "../native/device.ts";
import { type Address, addressSlot, NULL, takeAddress } from "../native/ffi.ts";
import { type InferLibrary, requireLibrary } from "../native/infer.ts";
import { TOP_LOGPROBS_MAX } from "../native/sample.ts";
import { type InferenceModel, ROUNDINGS, type Rounding } from "./inference.ts";

/** MG_KV_BLOCK: positions of a block. */
export const KV_BLOCK = 16;
/** MG_BATCH_ROWS: rows of a batch, at most. */
export const BATCH_ROWS_MAX = 512;
/** 32-bit words of a row: token, position, sequence, output. */
export const ROW_WORDS = 4;
/** MG_OUTPUT_*: what is wanted of a row. */
export const OUTPUT = { none: 0, logits: 1, hidden: 2 } as const;

/** A fixed number of blocks; their memory costs nothing before it is used. */
export class KvPool {
  readonly blocks: number;
  readonly block_bytes: number;
  readonly library: InferLibrary;
  #handle: Address;
  #calls = 0;

  /** kv_bits: 32 is what the trainer computes. */
  constructor(model: InferenceModel, blocks: number, kv_bits: 16 | 32 = 16) {
    const slot = addressSlot();
    const { library } = model;
    try {
      library.mg_kv_create(model.handleOf(library), blocks, kv_bits, slot);
    } catch (error) {
      throw asRefusal(error, model.device);
    }
    this.library = library;
    this.#handle = takeAddress(slot);
    this.blocks = blocks;
    const bytes = new BigUint64Array(1);
    library.mg_kv_block_bytes(this.#handle, bytes);
    this.block_bytes = Number(bytes[0]);
  }

  /** Gives the memory of blocks that hold nothing any more back to the system. */
  release(blocks: Uint32Array): void {
    this.library.mg_kv_release(this.#open(), blocks, blocks.length);
  }

  #open(): Address {
    if (this.#handle === NULL) throw new MagnetError("POOL_CLOSED", "this KV pool is closed");
    return this.#handle;
  }

  /** Runs a call of `library` that reads and writes the pool. */
  async use<T>(library: InferLibrary, call: (handle: Address) => Promise<T>): Promise<T> {
    requireLibrary(library, this.library, "the KV pool");
    const handle = this.#open();
    this.#calls++;
    try {
      return await call(handle);
    } finally {
      this.#calls--;
    }
  }

  /** Frees the memory. Not while a batch runs. A second close is a no-op. */
  close(): void {
    invariant(this.#calls === 0, "a KV pool is closed while a batch runs");
    this.library.mg_kv_free(this.#handle);
    this.#handle = NULL;
  }
}

/** The arrays of mg_batch_eval (cpp/include/magnet_infer.h). They must not change during a call. */
export interface BatchArrays {
  /** ROW_WORDS for each row; the rows of a sequence stand together, in order of position. */
  rows: Int32Array;
  n_rows: number;
  /** Blocks of sequence s, in order of position: tables[starts[s]] to tables[starts[s + 1]]. */
  tables: Uint32Array;
  starts: Uint32Array;
  n_sequences: number;
}

export interface BatchOptions {
  rounding?: Rounding;
  /** Aborted: rejects with CANCELLED; the rows may be run again. */
  signal?: AbortSignal;
}

function checkArrays(b: BatchArrays): void {
  invariant(b.rows.length >= ROW_WORDS * b.n_rows, "fewer rows than n_rows");
  invariant(b.starts.length > b.n_sequences, "starts has n_sequences + 1 entries");
  invariant(b.tables.length >= b.starts[b.n_sequences]!, "the tables end before starts says");
}

/** Rows with an output of one kind. */
function countOutputs(b: BatchArrays, kind: number): number {
  let count = 0;
  for (let i = 0; i < b.n_rows; i++) if (b.rows[ROW_WORDS * i + 3] === kind) count++;
  return count;
}

/**
 * Runs the rows and returns the logits (rows with output logits, vocab_size) and the normed last
 * hidden states (rows with output hidden, d_model). Throws NATIVE_INVALID naming what is wrong.
 */
export async function batchEval(
  model: InferenceModel,
  pool: KvPool,
  b: BatchArrays,
  { rounding = "bitnet", signal }: BatchOptions = {},
): Promise<{ logits: Float32Array; hidden: Float32Array }> {
  checkArrays(b);
  const { vocab_size, d_model } = model.config;
  const logits = new Float32Array(vocab_size * countOutputs(b, OUTPUT.logits));
  const hidden = new Float32Array(d_model * countOutputs(b, OUTPUT.hidden));
  const { library } = model;
  await pool.use(library, (handle) =>
    library.async.mg_batch_eval(
      signal,
      model.handleOf(library),
      handle,
      ROUNDINGS.indexOf(rounding),
      b.rows,
      b.n_rows,
      b.tables,
      b.starts,
      b.n_sequences,
      logits,
      hidden,
    ),
  );
  return { logits, hidden };
}

/** What a step writes: room for as many draws and hidden states as its rows ask for. */
export interface StepOutputs {
  /** By draw; below 0: nothing could be drawn (the status of magnet.h). */
  tokens: Int32Array;
  logprobs: Float32Array;
  /** (draws, TOP_LOGPROBS_MAX), -1 beyond what the sampler was asked for. */
  top_ids: Int32Array;
  top_logprobs: Float32Array;
  /** (rows with output hidden, d_model). */
  hidden: Float32Array;
}

export interface StepBatch extends BatchArrays {
  /** Handles (of the model's library) of the samplers, one for each row with logits, in order. */
  samplers: BigUint64Array;
  n_outputs: number;
}

/** Like batchEval, but draws a token from every row's logits; each sampler accepts its token. */
export async function batchStep(
  model: InferenceModel,
  pool: KvPool,
  b: StepBatch,
  out: StepOutputs,
  { rounding = "bitnet", signal }: BatchOptions = {},
): Promise<void> {
  checkArrays(b);
  invariant(b.samplers.length >= b.n_outputs, "fewer samplers than outputs");
  invariant(Math.min(out.tokens.length, out.logprobs.length) >= b.n_outputs, "no room for tokens");
  const tops = Math.min(out.top_ids.length, out.top_logprobs.length);
  invariant(tops >= TOP_LOGPROBS_MAX * b.n_outputs, "no room for alternatives");
  const hidden = countOutputs(b, OUTPUT.hidden) * model.config.d_model;
  invariant(out.hidden.length >= hidden, "no room for hidden states");
  const { library } = model;
  await pool.use(library, (handle) =>
    library.async.mg_batch_step(
      signal,
      model.handleOf(library),
      handle,
      ROUNDINGS.indexOf(rounding),
      b.rows,
      b.n_rows,
      b.tables,
      b.starts,
      b.n_sequences,
      b.samplers,
      b.n_outputs,
      out.tokens,
      out.logprobs,
      out.top_ids,
      out.top_logprobs,
      out.hidden,
    ),
  );
}
