/**
 * The engine's steps in bitnet.cpp or llama.cpp: forward passes there, sampling here. Its caches
 * know sequences instead of blocks (sequence-slots.ts), so prefixes are not shared between them.
 */
import { MagnetError } from "../../core/errors.ts";
import { BitnetCpp, type BitnetCppOptions } from "../../native/bitnet-cpp.ts";
import { type Address, floatsAt } from "../../native/ffi.ts";
import { cpuInfer } from "../../native/infer.ts";
import { drawToken, liveHandles, TOP_LOGPROBS_MAX } from "../../native/sample.ts";
import type { Constraints } from "../constraint/constraints.ts";
import type { SamplerRequest, StepBackend, StepResults, StepSampler } from "./backend.ts";
import { BLOCK_TOKENS } from "./block-store.ts";
import { BATCH_ROWS } from "./scheduler.ts";
import { SequenceSlots } from "./sequence-slots.ts";
import type { StepArrays } from "./step-arrays.ts";
import { stepSampler } from "./step-sampler.ts";

export interface BitnetCppBackendOptions extends Pick<BitnetCppOptions, "threads"> {
  /** Blocks of tokens that are cached in all. */
  blocks: number;
  /** Sequences that run at once. */
  sequences_max: number;
  /** Longest sequence. */
  context: number;
  /** The bits that --rounding llamacpp repeats need it off. */
  flash_attention: boolean;
  /** Of the model's tokenizer; closed with the backend. */
  constraints: Constraints;
}

export class BitnetCppBackend implements StepBackend {
  readonly context: number;
  readonly vocab_size: number;
  readonly d_model: number;
  readonly blocks: number;
  readonly #library: BitnetCpp;
  readonly #slots: SequenceSlots;
  readonly #constraints: Constraints;
  /** Not known to be done: those of a failed step are done again with the next. */
  #forgets = new Int32Array(0);
  readonly #logits = new BigUint64Array(BATCH_ROWS);
  readonly #results: StepResults = {
    tokens: new Int32Array(BATCH_ROWS),
    logprobs: new Float32Array(BATCH_ROWS),
    top_ids: new Int32Array(BATCH_ROWS * TOP_LOGPROBS_MAX),
    top_logprobs: new Float32Array(BATCH_ROWS * TOP_LOGPROBS_MAX),
    hidden: new Float32Array(0),
  };

  private constructor(
    library: BitnetCpp,
    slots: number,
    { blocks, context, constraints }: BitnetCppBackendOptions,
  ) {
    this.context = Math.min(library.context, context);
    this.#constraints = constraints;
    this.vocab_size = library.vocab_size;
    this.d_model = library.width;
    this.blocks = blocks;
    this.#library = library;
    this.#slots = new SequenceSlots(slots);
  }

  /** Opens a GGUF file. */
  static async open(file: string, options: BitnetCppBackendOptions): Promise<BitnetCppBackend> {
    const { blocks, sequences_max, threads, flash_attention } = options;
    const sequences = 2 * sequences_max;
    const library = await BitnetCpp.open(file, {
      cells: blocks * BLOCK_TOKENS,
      batch_rows: BATCH_ROWS,
      ...{ sequences, threads, flash_attention },
    });
    return new BitnetCppBackend(library, sequences, options);
  }

  createSampler(request: SamplerRequest): StepSampler {
    return stepSampler(cpuInfer, this.vocab_size, request, this.#constraints);
  }

  async step(arrays: StepArrays, signal: AbortSignal): Promise<StepResults> {
    const results = this.#results;
    const floats = arrays.n_hidden * this.d_model;
    if (results.hidden.length < floats) results.hidden = new Float32Array(floats);
    const { rows, n_rows } = arrays;
    const { hidden } = results;
    const { slots, forgets } = this.#slots.assign(arrays);
    this.#forgets = Int32Array.of(...this.#forgets, ...forgets);
    const call = { rows, n_rows, slots, forgets: this.#forgets, logits: this.#logits, hidden };
    await this.#library.step(call, signal);
    this.#forgets = new Int32Array(0);
    for (let i = 0; i < arrays.n_outputs; i++) this.#draw(i, Number(arrays.samplers[i]) as Address);
    return results;
  }

  #draw(index: number, sampler: Address): void {
    const { tokens, logprobs, top_ids, top_logprobs } = this.#results;
    const logits = floatsAt(Number(this.#logits[index]) as Address, this.vocab_size);
    const [from, to] = [index * TOP_LOGPROBS_MAX, (index + 1) * TOP_LOGPROBS_MAX];
    const alternatives = [top_ids.subarray(from, to), top_logprobs.subarray(from, to)] as const;
    try {
      const drawn = drawToken(cpuInfer, sampler, logits, ...alternatives);
      tokens[index] = drawn.token;
      logprobs[index] = drawn.logprob;
    } catch (error) {
      if (!(error instanceof MagnetError)) throw error;
      tokens[index] = -1; // this sequence alone ends
    }
  }

  liveHandles(): number {
    return liveHandles();
  }

  close(): void {
    this.#constraints.close();
    this.#library.close();
  }
}
