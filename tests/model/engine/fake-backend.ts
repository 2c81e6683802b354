/**
 * A backend without weights: keys and values are a digest of the tokens up to a position, kept where
 * the tables say, and a drawn token is a digest of what stands there, the seed and the number of
 * the draw. So a step that reads a wrong block, or a sampler that lost its state, changes the answer.
 */
import { MagnetError } from "../../../src/core/errors.ts";
import type {
  SamplerRequest,
  StepBackend,
  StepResults,
  StepSampler,
} from "../../../src/model/engine/backend.ts";
import { BLOCK_TOKENS } from "../../../src/model/engine/block-store.ts";
import { BATCH_ROWS } from "../../../src/model/engine/scheduler.ts";
import type { StepArrays } from "../../../src/model/engine/step-arrays.ts";
import { TOP_LOGPROBS_MAX } from "../../../src/native/sample.ts";

const mix = (a: number, b: number) => (Math.imul(a ^ b, 0x9e3779b1) ^ (a >>> 15)) >>> 0;

interface FakeSampler extends StepSampler {
  seed: number;
  drawn: number;
}

export class FakeBackend implements StepBackend {
  readonly vocab_size = 50;
  readonly d_model = 4;
  readonly #cells: Uint32Array;
  readonly samplers = new Map<bigint, FakeSampler>();
  #made = 0n;
  steps = 0;
  aborted_steps = 0;
  closed = false;
  /** Called when a step begins; what it awaits, the step awaits. May throw: then the step fails. */
  onStep: (arrays: StepArrays, signal: AbortSignal) => void | Promise<void> = () => undefined;
  /** Draws of this seed give no token. */
  dead_seed: number | undefined;

  constructor(
    readonly context: number,
    readonly blocks: number,
  ) {
    this.#cells = new Uint32Array(blocks * BLOCK_TOKENS);
  }

  createSampler({ sampling, constraint }: SamplerRequest): StepSampler {
    if (constraint) throw new MagnetError("BAD_CONSTRAINT", "this backend refuses constraints");
    const address = ++this.#made;
    const close = () => {
      if (!this.samplers.delete(address)) throw new Error("a sampler is freed twice");
    };
    const sampler = { address, close, seed: Number(sampling.seed), drawn: 0 };
    this.samplers.set(address, sampler);
    return sampler;
  }

  async step(arrays: StepArrays, signal: AbortSignal): Promise<StepResults> {
    if (this.closed) throw new Error("a step after close");
    this.steps++;
    await this.onStep(arrays, signal);
    if (signal.aborted) {
      this.aborted_steps++;
      throw new MagnetError("CANCELLED", "cancelled");
    }
    const results: StepResults = {
      tokens: new Int32Array(arrays.n_outputs),
      logprobs: new Float32Array(arrays.n_outputs).fill(-1),
      top_ids: new Int32Array(arrays.n_outputs * TOP_LOGPROBS_MAX).fill(-1),
      top_logprobs: new Float32Array(arrays.n_outputs * TOP_LOGPROBS_MAX),
      hidden: new Float32Array(arrays.n_hidden * this.d_model),
    };
    if (arrays.n_rows > BATCH_ROWS) throw new Error("too many rows");
    for (let r = 0, drawn = 0, hidden = 0; r < arrays.n_rows; r++) {
      const output = arrays.rows[4 * r + 3]!;
      const state = this.#row(arrays, r);
      if (output === 1) {
        const sampler = this.samplers.get(arrays.samplers[drawn]!)!;
        const token = mix(mix(state, sampler.seed), sampler.drawn++) % this.vocab_size;
        results.tokens[drawn++] = sampler.seed === this.dead_seed ? -1 : token;
      }
      if (output === 2)
        for (let i = 0; i < this.d_model; i++)
          results.hidden[hidden++] = (mix(state, i) % 1000) / 1000;
    }
    return results;
  }

  /** Writes a row's cell and reads all before it. */
  #row(arrays: StepArrays, r: number): number {
    const [token, position, sequence] = arrays.rows.subarray(4 * r, 4 * r + 3);
    const first = arrays.starts[sequence!]!;
    const place = (p: number) =>
      arrays.tables[first + Math.floor(p / BLOCK_TOKENS)]! * BLOCK_TOKENS + (p % BLOCK_TOKENS);
    const before = position === 0 ? 1 : this.#cells[place(position! - 1)]!;
    this.#cells[place(position!)] = mix(before, token! + 1);
    let state = 0;
    for (let p = 0; p <= position!; p++) state = mix(state, this.#cells[place(p)]!);
    return state;
  }

  liveHandles(): number {
    return this.samplers.size + (this.closed ? 0 : 1);
  }

  close(): void {
    if (this.closed) throw new Error("closed twice");
    this.closed = true;
  }
}
