/**
 * One model in training: parameters, the optimizer's moments and gradient in native memory, and the
 * calls that advance them (paper 4). All arithmetic is native and gives the same bits for every thread
 * count and CPU path; a GPU gives the same bits every time, but not those of the CPU. One call at a
 * time: a second one while the first runs is refused, and so is any call after close.
 */
import { invariant, MagnetError } from "../core/errors.ts";
import { CPU } from "../native/device.ts";
import { type Address, addressSlot, cString, floatsAt, NULL, takeAddress } from "../native/ffi.ts";
import { modelAsync } from "../native/model.ts";
import { roundBindings } from "../native/rounds.ts";
import { type TrainerBindings, trainerBindings } from "../native/train.ts";
import { type ModelConfig, packModelConfig, paramCount, tensorInfos } from "./config.ts";
import { OPTIMIZERS, type OptimizerStep, packOptimizer, secondMoments } from "./optimizer.ts";
import {
  checkLabelled,
  type LabelledTokens,
  ORPO_RESULT_BYTES,
  type OrpoResult,
  type PairTokens,
  unpackOrpoResult,
} from "./orpo.ts";
import { memoryParts, totalBytes } from "./trainer-memory.ts";
import { ARENAS, type Arena, TrainerRound } from "./trainer-round.ts";
import { type Snapshot, Snapshots } from "./trainer-snapshot.ts";
import {
  PRECISIONS,
  type StepProfile,
  type StepResult,
  type StreamStats,
  type TensorStats,
  type TrainerOptions,
} from "./trainer-types.ts";

/** Room for the profile's JSON: about 60 entries of 100 bytes. */
const PROFILE_BYTES = 16_384;

/** The 32 bytes of mg_trainer_options. */
function packOptions(o: TrainerOptions): Uint8Array {
  const words = new Uint32Array(8);
  const kind = OPTIMIZERS.indexOf(o.optimizer ?? "adamw");
  const precision = PRECISIONS.indexOf(o.precision ?? "backend");
  const device = o.device?.kind === "cuda" ? o.device.index : 0;
  words.set([o.batch, o.context, o.threads, o.recompute ? 1 : 0, kind, precision, device]);
  return new Uint8Array(words.buffer);
}

function unpackResult(bytes: Uint8Array): StepResult {
  const view = new DataView(bytes.buffer);
  return {
    loss: view.getFloat64(0, true),
    grad_norm: view.getFloat64(8, true),
    tokens: Number(view.getBigUint64(16, true)),
  };
}

export class Trainer {
  /** Number of parameters: the length of every arena. */
  readonly param_count: number;
  /** A round of training together, on this trainer's arrays. */
  readonly round: TrainerRound;
  #handle: Address;
  #busy = false;
  readonly #snapshots: Snapshots;
  readonly #native: TrainerBindings;

  private constructor(
    readonly config: ModelConfig,
    readonly options: Readonly<TrainerOptions>,
    native: TrainerBindings,
    handle: Address,
  ) {
    this.#native = native;
    this.#handle = handle;
    this.param_count = paramCount(config);
    this.#snapshots = new Snapshots({
      is_gpu: options.device?.kind === "cuda",
      native,
      views: () => ({ params: this.params, m: this.m, v: this.v }),
      handle: () => this.#open(),
      exclusive: (call) => this.#exclusive(call),
    });
    this.round = new TrainerRound({
      param_count: this.param_count,
      exclusive: (call) => this.#exclusive(call),
      bindings: () => roundBindings(options.device ?? CPU),
    });
  }

  /**
   * Allocates everything a step needs; parameters start at zero, see `initialise`. Throws
   * OUT_OF_MEMORY with the number of bytes, NO_CUDA, or the error of a configuration that is out of
   * range.
   */
  static create(config: ModelConfig, options: TrainerOptions): Trainer {
    const slot = addressSlot();
    const native = trainerBindings(options.device ?? CPU);
    native.mg_trainer_create(packModelConfig(config), packOptions(options), slot);
    return new Trainer(config, { ...options }, native, takeAddress(slot));
  }

  /** The memory that training will take, for the estimate before a run. */
  static memoryParts(config: ModelConfig, options: TrainerOptions) {
    const native = trainerBindings(options.device ?? CPU);
    return memoryParts(native, packModelConfig(config), packOptions(options));
  }
  /** Of the device. */
  static bytesNeeded(config: ModelConfig, options: TrainerOptions): number {
    return totalBytes(Trainer.memoryParts(config, options).device);
  }
  /** Of a GPU's host; 0 on the CPU. */
  static hostBytesNeeded(config: ModelConfig, options: TrainerOptions): number {
    return totalBytes(Trainer.memoryParts(config, options).host);
  }

  /**
   * Views over the native arenas, all in the order of `tensorInfos`. They are valid until `close`
   * (reading one afterwards is a use of freed memory) and must not be touched while a call is
   * running. Of a GPU they show copies in the host's memory: `pull` before reading, `push` after
   * writing, which cost nothing on the CPU.
   */
  arena(which: Arena): Float32Array {
    const slot = addressSlot();
    this.#native.mg_trainer_arena(this.#open(), ARENAS.indexOf(which), slot);
    return floatsAt(takeAddress(slot), this.param_count);
  }
  get params(): Float32Array {
    return this.arena("params");
  }
  /** First moment of AdamW, momentum of Muon. */
  get m(): Float32Array {
    return this.arena("m");
  }
  /** Second moment of AdamW; zero for the matrices of Muon. */
  get v(): Float32Array {
    return this.arena("v");
  }
  /** Gradient of the last `step` (before clipping) or `gradient`. */
  get grad(): Float32Array {
    return this.arena("grad");
  }

  /** Brings what the device holds into the views. */
  async pull(...arenas: Arena[]): Promise<void> {
    await this.#copy("mg_trainer_pull", arenas);
  }
  /** Brings what the views hold to the device. */
  async push(...arenas: Arena[]): Promise<void> {
    await this.#copy("mg_trainer_push", arenas);
  }
  async #copy(symbol: "mg_trainer_pull" | "mg_trainer_push", arenas: Arena[]): Promise<void> {
    if ((this.options.device ?? CPU).kind === "cpu") return;
    const copy = this.#native.async[symbol];
    await this.#exclusive(async (handle) => {
      this.#snapshots.requireReleased();
      for (const arena of arenas) await copy(undefined, handle, ARENAS.indexOf(arena));
    });
  }

  /** The arenas as they are now: see trainer-snapshot.ts. */
  snapshot(): Promise<Snapshot> {
    return this.#snapshots.take();
  }

  /** Takes these for its parameters; moments stay. */
  async setParams(params: Float32Array): Promise<void> {
    this.params.set(params);
    await this.push("params");
  }
  /** The parameters as they are now: a view, as `params`. */
  async currentParams(): Promise<Float32Array> {
    await this.pull("params");
    return this.params;
  }

  #open(): Address {
    if (this.#handle === NULL)
      throw new MagnetError("TRAINER_CLOSED", "this trainer has been closed");
    return this.#handle;
  }

  async #exclusive<T>(call: (handle: Address) => Promise<T>): Promise<T> {
    const handle = this.#open();
    if (this.#busy)
      throw new MagnetError("TRAINER_BUSY", "this trainer is already running a call", {
        hint: "await the running call first",
        retryable: true,
      });
    this.#snapshots.requireReleased({ copies_too: false });
    this.#busy = true;
    try {
      return await call(handle);
    } finally {
      this.#busy = false;
    }
  }

  #checkTokens(tokens: Int32Array, sequences: number): void {
    const expected = sequences * (this.options.context + 1);
    if (tokens.length !== expected)
      throw new MagnetError(
        "SHAPE_MISMATCH",
        `${tokens.length} tokens given, ${sequences} sequences of context + 1 need ${expected}`,
      );
  }

  /**
   * Gaussian initial parameters from a 64-bit seed, the same bits on every host; moments to zero.
   */
  async initialise(seed: bigint): Promise<void> {
    await this.#exclusive(async () => {
      const packed = packModelConfig(this.config);
      await modelAsync.mg_model_init(undefined, packed, seed, this.params, this.param_count);
      this.m.fill(0);
      const { v } = this;
      for (const { offset, rows, cols } of secondMoments(this.config, this.options.optimizer))
        v.fill(0, offset, offset + rows * cols);
    });
    await this.push("params", "m", "v");
  }

  /**
   * One optimizer step over `accumulate` micro-batches. tokens: (accumulate, batch, context + 1).
   * Throws NOT_A_NUMBER (parameters and moments unchanged) or CANCELLED (the same).
   */
  step(
    tokens: Int32Array,
    accumulate: number,
    optimizer: OptimizerStep,
    signal?: AbortSignal,
  ): Promise<StepResult> {
    return this.#exclusive(async (handle) => {
      this.#checkTokens(tokens, accumulate * this.options.batch);
      const out = new Uint8Array(32);
      const packed = packOptimizer(optimizer);
      await this.#native.async.mg_trainer_step(signal, handle, tokens, accumulate, packed, out);
      return unpackResult(out);
    });
  }

  /** Forward and backward of one micro-batch into `grad`; parameters and moments stay. */
  gradient(tokens: Int32Array, signal?: AbortSignal): Promise<StepResult> {
    return this.#exclusive(async (handle) => {
      this.#checkTokens(tokens, this.options.batch);
      const out = new Uint8Array(32);
      await this.#native.async.mg_trainer_gradient(signal, handle, tokens, out);
      return unpackResult(out);
    });
  }

  /**
   * Sum of negative log-likelihoods (nats) of `rows` <= batch sequences. tokens: (rows, context +
   * 1).
   */
  evaluate(
    tokens: Int32Array,
    rows: number,
    signal?: AbortSignal,
  ): Promise<{ nll_sum: number; count: number }> {
    return this.#exclusive(async (handle) => {
      this.#checkTokens(tokens, rows);
      const sum = new Float64Array(1);
      const count = new BigUint64Array(1);
      await this.#native.async.mg_trainer_eval(signal, handle, tokens, rows, sum, count);
      return { nll_sum: sum[0]!, count: Number(count[0]) };
    });
  }

  /**
   * One step of ORPO on preference pairs, or with optimizer null only its gradient. Errors as `step`.
   */
  orpo(
    batch: PairTokens,
    options: { beta: number; optimizer: OptimizerStep | null },
    signal?: AbortSignal,
  ): Promise<OrpoResult> {
    return this.#exclusive(async (handle) => {
      const { tokens, labels, pairs, width, accumulate } = batch;
      checkLabelled(batch, 2 * pairs * accumulate);
      const out = new Uint8Array(ORPO_RESULT_BYTES);
      const packed = options.optimizer && packOptimizer(options.optimizer);
      await this.#native.async.mg_trainer_orpo(
        signal,
        handle,
        tokens,
        labels,
        pairs,
        width,
        accumulate,
        options.beta,
        packed,
        out,
      );
      return unpackOrpoResult(out);
    });
  }

  /** Log-probs (nats) of the labels of each sequence: their sum and their number. */
  logProbs(
    batch: LabelledTokens,
    sequences: number,
    signal?: AbortSignal,
  ): Promise<{ sums: Float64Array; counts: Float64Array }> {
    return this.#exclusive(async (handle) => {
      const { tokens, labels, width } = batch;
      checkLabelled(batch, sequences);
      const sums = new Float64Array(sequences);
      const counts = new BigUint64Array(sequences);
      await this.#native.async.mg_trainer_logps(
        signal,
        handle,
        tokens,
        labels,
        sequences,
        width,
        sums,
        counts,
      );
      return { sums, counts: Float64Array.from(counts, Number) };
    });
  }

  /**
   * The loss (nats) of every target of `rows` <= batch sequences, (rows, context), 0 where a target is
   * not counted; and the residual stream at the entry of each block and behind the last.
   */
  tokenLosses(
    tokens: Int32Array,
    rows: number,
    signal?: AbortSignal,
  ): Promise<{ losses: Float32Array; streams: StreamStats[] }> {
    return this.#exclusive(async (handle) => {
      this.#checkTokens(tokens, rows);
      const losses = new Float32Array(rows * this.options.context);
      const out = new Float64Array(2 * (this.config.n_layers + 1));
      await this.#native.async.mg_trainer_token_losses(signal, handle, tokens, rows, losses, out);
      const streams = Array.from({ length: this.config.n_layers + 1 }, (_, i) => ({
        rms: out[2 * i]!,
        largest: out[2 * i + 1]!,
      }));
      return { losses, streams };
    });
  }

  /** Weights and the last gradient by tensor, in the order of `tensorInfos`. */
  tensorStats(): TensorStats[] {
    const tensors = tensorInfos(this.config);
    const out = new Float64Array(4 * tensors.length);
    invariant(!this.#busy, "weights are looked at while a call runs");
    this.#native.mg_trainer_tensor_stats(this.#open(), out);
    return tensors.map(({ name, is_ternary }, i) => {
      const [weight_rms, gradient_rms, scale, zero_share] = out.subarray(4 * i, 4 * i + 4);
      return {
        ...{ name, is_ternary, weight_rms: weight_rms!, gradient_rms: gradient_rms! },
        ...{ scale: scale!, zero_share: zero_share! },
      };
    });
  }

  /** Logits of every position of one sequence: (tokens.length, vocab_size), row-major. */
  logits(tokens: Int32Array): Promise<Float32Array> {
    return this.#exclusive(async (handle) => {
      const out = new Float32Array(tokens.length * this.config.vocab_size);
      await this.#native.async.mg_trainer_logits(undefined, handle, tokens, tokens.length, out);
      return out;
    });
  }

  /** Where the time of the steps since the last `resetProfile` went. */
  profile(): StepProfile {
    return this.#profile(0);
  }
  /** A GPU tells parts of a step only after `by_part`, and takes longer for a step then. */
  resetProfile({ by_part = false } = {}): void {
    this.#profile(by_part ? 2 : 1);
  }
  #profile(reset: 0 | 1 | 2): StepProfile {
    const text = new Uint8Array(PROFILE_BYTES);
    this.#native.mg_trainer_profile(this.#open(), reset, text, text.length);
    return JSON.parse(cString(text)) as StepProfile;
  }

  /** Frees all native memory; a second close is a no-op. Not while a call runs. */
  close(): void {
    invariant(!this.#busy, "a trainer is closed while a call runs");
    this.#snapshots.requireReleased();
    this.#native.mg_trainer_free(this.#handle);
    this.#handle = NULL;
  }
}
