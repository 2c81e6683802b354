/**
 * Inference (paper 4): a model with packed ternary weights, and sessions (one sequence with its KV
 * cache), on the CPU or on a GPU. The bits of a row of logits do not depend on how tokens are cut into
 * calls, on which sessions are decoded together, on threads, or on the CPU path; those of a GPU are
 * not the CPU's. All arithmetic is native.
 */
import { invariant, MagnetError } from "../core/errors.ts";
import { asRefusal, CPU, type Device } from "../native/device.ts";
import { type Address, addressSlot, NULL, takeAddress } from "../native/ffi.ts";
import { type InferLibrary, inferLibrary, requireLibrary } from "../native/infer.ts";
import { type ModelConfig, packModelConfig } from "./config.ts";
import type { GgufFile } from "./gguf-file.ts";

/**
 * How activations are rounded: `bitnet` per token to int8, as in training (the default); `llamacpp`
 * wherever llama.cpp rounds, for comparisons with it (GGUF models only, slower).
 */
export const ROUNDINGS = ["bitnet", "llamacpp"] as const;
export type Rounding = (typeof ROUNDINGS)[number];

/**
 * How the head (the largest matrix, read for every token) is kept: as the file has it, or rounded
 * to int8 with a scale per row, or to int4 with one per 32 columns.
 */
export const HEAD_FORMATS = ["file", "int8", "int4"] as const;
export type HeadFormat = (typeof HEAD_FORMATS)[number];

export interface SessionOptions {
  /** Longest sequence, tokens; the model's context unless given. */
  context?: number;
  rounding?: Rounding;
  /** Precision of cached keys and values. 32 is what the trainer computes; only with `bitnet`. */
  kv_bits?: 16 | 32;
}

/** The fields of mg_model_config. */
function unpackConfig(bytes: Uint8Array): ModelConfig {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (offset: number) => view.getUint32(offset, true);
  return {
    variant: u32(0) === 1 ? "bitnet" : "llama",
    vocab_size: u32(4),
    d_model: u32(8),
    n_layers: u32(12),
    n_heads: u32(16),
    n_kv_heads: u32(20),
    head_dim: u32(24),
    d_ff: u32(28),
    context: u32(32),
    rope_theta: view.getFloat32(36, true),
    norm_eps: view.getFloat32(40, true),
    ...(u32(44) === 1 ? { quant: "none" } : {}),
  };
}

/** What stands for `threads` in a GPU's library: the number of the GPU. */
const placeOf = (device: Device, threads: number): number =>
  device.kind === "cuda" ? device.index : threads;

export class InferenceModel {
  readonly config: ModelConfig;
  /** Bytes of weights read for one decoded token. */
  readonly bytes_per_token: number;
  #handle: Address;

  private constructor(
    readonly device: Device,
    readonly library: InferLibrary,
    handle: Address,
  ) {
    this.#handle = handle;
    const config = new Uint8Array(48);
    const bytes = new BigUint64Array(1);
    library.mg_infer_config(handle, config);
    library.mg_infer_bytes(handle, bytes);
    this.config = unpackConfig(config);
    this.bytes_per_token = Number(bytes[0]);
  }

  /**
   * Ternarises and packs latent parameters (order: `tensorInfos`). They are copied; they must not
   * change until the promise settles. threads: 0 = all online CPUs.
   */
  static async fromParams(
    config: ModelConfig,
    params: Float32Array,
    threads = 0,
    device: Device = CPU,
  ): Promise<InferenceModel> {
    const slot = addressSlot();
    const packed = packModelConfig(config);
    const library = inferLibrary(device);
    const where = placeOf(device, threads);
    const { length } = params;
    try {
      await library.async.mg_infer_from_params(undefined, packed, params, length, where, slot);
    } catch (error) {
      throw asRefusal(error, device);
    }
    return new InferenceModel(device, library, takeAddress(slot));
  }

  /**
   * From an open GGUF file of the device's library, which may be closed afterwards; see
   * HEAD_FORMATS. Throws BAD_FORMAT or UNSUPPORTED.
   */
  static async fromGguf(
    file: GgufFile,
    threads = 0,
    head: HeadFormat = "file",
    device: Device = CPU,
  ): Promise<InferenceModel> {
    const slot = addressSlot();
    const library = inferLibrary(device);
    const handle = file.handleOf(library);
    try {
      const format = HEAD_FORMATS.indexOf(head);
      const where = placeOf(device, threads);
      await library.async.mg_infer_from_gguf(undefined, handle, where, format, slot);
    } catch (error) {
      const refusal = asRefusal(error, device);
      if (refusal !== error || !(error instanceof MagnetError)) throw refusal;
      throw new MagnetError(error.code, `${file.name}: ${error.message}`, {
        hint: "magnet runs GGUF models of arch llama or bitnet with ternary or F16/F32 weights",
        exit: "verification",
        cause: error,
      });
    }
    return new InferenceModel(device, library, takeAddress(slot));
  }

  /** A new, empty sequence. */
  createSession(options: SessionOptions = {}): InferenceSession {
    return new InferenceSession(this, options);
  }

  /** For native calls; MODEL_CLOSED after `close`. */
  handleOf(library: InferLibrary): Address {
    requireLibrary(library, this.library, "the model");
    if (this.#handle === NULL)
      throw new MagnetError("MODEL_CLOSED", "this inference model has been closed");
    return this.#handle;
  }

  /** Frees the weights once the last session is closed too. A second close is a no-op. */
  close(): void {
    this.library.mg_infer_free(this.#handle);
    this.#handle = NULL;
  }
}

export class InferenceSession {
  readonly context: number;
  readonly vocab_size: number;
  readonly library: InferLibrary;
  #handle: Address;
  #busy = false;

  /** Use `InferenceModel.createSession`. */
  constructor(model: InferenceModel, options: SessionOptions) {
    const { library } = model;
    this.library = library;
    this.context = options.context ?? model.config.context;
    this.vocab_size = model.config.vocab_size;
    const packed = new Uint32Array([
      this.context,
      ROUNDINGS.indexOf(options.rounding ?? "bitnet"),
      options.kv_bits ?? 16,
      0,
    ]);
    const slot = addressSlot();
    try {
      library.mg_session_create(model.handleOf(library), packed, slot);
    } catch (error) {
      throw asRefusal(error, model.device);
    }
    this.#handle = takeAddress(slot);
  }

  #open(): Address {
    if (this.#handle === NULL) throw new MagnetError("SESSION_CLOSED", "this session is closed");
    return this.#handle;
  }
  #begin(): Address {
    const handle = this.#open();
    if (this.#busy)
      throw new MagnetError("SESSION_BUSY", "this session is already running a call", {
        hint: "await the running call first",
        retryable: true,
      });
    this.#busy = true;
    return handle;
  }

  /** Tokens held. */
  get length(): number {
    const out = new BigUint64Array(1);
    this.library.mg_session_length(this.#open(), out);
    return Number(out[0]);
  }

  /**
   * Appends tokens and returns the logits of the last `wanted` of them: (wanted, vocab_size).
   * Throws NATIVE_INVALID for a token outside the vocabulary or beyond the context, CANCELLED on
   * abort (the session then holds a prefix, see `length`).
   */
  async append(tokens: Int32Array, wanted: number, signal?: AbortSignal): Promise<Float32Array> {
    invariant(wanted >= 0 && wanted <= tokens.length, "more logits wanted than tokens given");
    const logits = new Float32Array(wanted * this.vocab_size);
    const handle = this.#begin();
    try {
      const first = tokens.length - wanted;
      const { length } = tokens;
      await this.library.async.mg_session_eval(signal, handle, tokens, length, first, logits);
    } finally {
      this.#busy = false;
    }
    return logits;
  }

  /** Forgets all but the first `length` tokens. */
  truncate(length: number): void {
    invariant(!this.#busy, "a session is truncated while a call runs");
    this.library.mg_session_truncate(this.#open(), length);
  }

  /**
   * Appends one token to each of up to 64 sessions of one model in one pass over the weights.
   * Returns logits (sessions.length, vocab_size), row by row the same bits as `append` gives.
   */
  static async decode(
    sessions: readonly InferenceSession[],
    tokens: Int32Array,
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    invariant(sessions.length === tokens.length && sessions.length > 0, "one token per session");
    const begun: InferenceSession[] = [];
    const { library } = sessions[0]!;
    try {
      const handles = new BigUint64Array(sessions.length);
      for (const [i, session] of sessions.entries()) {
        requireLibrary(library, session.library, "a session");
        handles[i] = BigInt(session.#begin());
        begun.push(session);
      }
      const logits = new Float32Array(sessions.length * sessions[0]!.vocab_size);
      const { length } = sessions;
      await library.async.mg_session_decode(signal, handles, tokens, length, logits);
      return logits;
    } finally {
      for (const session of begun) session.#busy = false;
    }
  }

  /** Frees the cache. Not while a call runs. A second close is a no-op. */
  close(): void {
    invariant(!this.#busy, "a session is closed while a call runs");
    this.library.mg_session_free(this.#handle);
    this.#handle = NULL;
  }
}

/** Logits of every position of one fresh sequence: (tokens.length, vocab_size). */
export async function evalLogits(
  model: InferenceModel,
  tokens: Int32Array,
  rounding: Rounding = "bitnet",
  signal?: AbortSignal,
): Promise<Float32Array> {
  const session = model.createSession({ rounding });
  try {
    return await session.append(tokens, tokens.length, signal);
  } finally {
    session.close();
  }
}
