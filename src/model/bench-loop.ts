/**
 * What the house's own layers cost around the native work: a checked call into the library, and the
 * engine's loop around a step (planning, arrays, the way to the worker thread and back, the reader),
 * measured with steps that compute nothing.
 */
import { invariant } from "../core/errors.ts";
import { bindAsync } from "../native/ffi.ts";
import { packing } from "../native/infer.ts";
import { TOP_LOGPROBS_MAX } from "../native/sample.ts";
import type { StepBackend, StepResults, StepSampler } from "./engine/backend.ts";
import { BatchEngine } from "./engine/engine.ts";
import { BATCH_ROWS } from "./engine/scheduler.ts";

const CALLS = 10_000;
/** The fastest of them counts: other work on the machine takes whole slices of time. */
const CALL_ROUNDS = 20;
const LOOP_STEPS = 500;

/** Microseconds of a checked call of four arguments that does next to nothing. */
export function ffiMicroseconds(now_ms: () => number): number {
  const out = new BigUint64Array(1);
  const calls = (n: number) => {
    for (let i = 0; i < n; i++) packing.mg_pack_size(0, 256, 256, out);
  };
  let best_ms = Number.POSITIVE_INFINITY;
  for (let round = 0; round < CALL_ROUNDS; round++) {
    const start_ms = now_ms();
    calls(CALLS);
    best_ms = Math.min(best_ms, now_ms() - start_ms);
  }
  invariant(out[0] === 262_144n, "the call did its work");
  return (best_ms * 1000) / CALLS;
}

const native = bindAsync({ mg_pack_size: ["u32", "u64", "u64", "buffer"] });

/** Every step is one call on a worker thread that does next to nothing, and draws token 1. */
class EmptyBackend implements StepBackend {
  readonly context = 2 * LOOP_STEPS;
  readonly vocab_size = 2;
  readonly d_model = 1;
  readonly blocks = 1024;
  readonly #out = new BigUint64Array(1);
  readonly #results: StepResults = {
    tokens: new Int32Array(BATCH_ROWS).fill(1),
    logprobs: new Float32Array(BATCH_ROWS),
    top_ids: new Int32Array(BATCH_ROWS * TOP_LOGPROBS_MAX).fill(-1),
    top_logprobs: new Float32Array(BATCH_ROWS * TOP_LOGPROBS_MAX),
    hidden: new Float32Array(0),
  };

  createSampler(): StepSampler {
    return { address: 0n, close: () => undefined };
  }
  async step(): Promise<StepResults> {
    await native.mg_pack_size(undefined, 0, 256, 256, this.#out);
    return this.#results;
  }
  liveHandles(): number {
    return 0;
  }
  close(): void {
    this.#out.fill(0n);
  }
}

/** Microseconds that the engine adds to a decoding step, by repeat. */
export async function loopMicroseconds(now_ms: () => number, repeat: number): Promise<number[]> {
  const engine = new BatchEngine(new EmptyBackend());
  const run = async () => {
    const request = { max_tokens: LOOP_STEPS, sampling: {}, end_tokens: new Set<number>() };
    const start_ms = now_ms();
    let count = 0;
    for await (const { token } of engine.generate({ ...request, prompt: Int32Array.of(0) }))
      count += token;
    invariant(count === LOOP_STEPS, "every step drew its token");
    return ((now_ms() - start_ms) * 1000) / LOOP_STEPS;
  };
  try {
    await run(); // compiles
    const times: number[] = [];
    for (let r = 0; r < repeat; r++) times.push(await run());
    return times;
  } finally {
    await engine.close();
  }
}
