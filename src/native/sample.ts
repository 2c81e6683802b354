/**
 * Samplers of a library: layouts and rules in cpp/include/magnet_sample.h. A draw takes well under a
 * millisecond of a large vocabulary; a constraint's mask that is not cached yet takes a few.
 */
import type { NativeGrammar } from "./constraint.ts";
import { type Address, addressSlot, NULL, takeAddress } from "./ffi.ts";
import { cpuInfer, type InferLibrary } from "./infer.ts";

/** MG_TOP_LOGPROBS: alternatives that a draw can report. */
export const TOP_LOGPROBS_MAX = 20;
/** MG_RECENT_TOKENS: tokens that the repetition penalty looks back on. */
export const RECENT_TOKENS = 256;

/** mg_sampler_options, field by field. */
export interface NativeSamplerOptions {
  temperature: number;
  top_p: number;
  min_p: number;
  repetition_penalty: number;
  top_k: number;
  seed: bigint;
  presence_penalty: number;
  frequency_penalty: number;
  top_logprobs: number;
  token_budget: number;
}

/** The 64 bytes of mg_sampler_options. */
function pack(o: NativeSamplerOptions, step: number): Uint8Array {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  const floats = [o.temperature, o.top_p, o.min_p, o.repetition_penalty];
  for (const [i, value] of floats.entries()) view.setFloat32(4 * i, value, true);
  view.setUint32(16, o.top_k, true);
  view.setBigUint64(24, o.seed, true);
  view.setBigUint64(32, BigInt(step), true);
  view.setFloat32(48, o.presence_penalty, true);
  view.setFloat32(52, o.frequency_penalty, true);
  view.setUint32(56, o.top_logprobs, true);
  view.setUint32(60, o.token_budget, true);
  return bytes;
}

/** Handle of a new sampler of a library, which frees it (`mg_sampler_free`). */
export function createSampler(
  library: InferLibrary,
  vocab_size: number,
  options: NativeSamplerOptions,
  bias: readonly (readonly [id: number, value: number])[],
  { grammar, step = 0 }: { grammar?: NativeGrammar | undefined; step?: number } = {},
): Address {
  const ids = Int32Array.from(bias, ([id]) => id);
  const values = Float32Array.from(bias, ([, value]) => value);
  const slot = addressSlot();
  const n = ids.length;
  const run = grammar?.handleOf(library) ?? NULL;
  library.mg_sampler_create(vocab_size, pack(options, step), ids, values, n, run, slot);
  return takeAddress(slot);
}

const token = new Int32Array(1);
const logprob = new Float32Array(1);

/**
 * Draws from (vocab_size) logits and accepts the token. `top_ids` and `top_logprobs`, where given:
 * TOP_LOGPROBS_MAX each.
 */
export function drawToken(
  library: InferLibrary,
  sampler: Address,
  logits: Float32Array,
  top_ids: Int32Array | null = null,
  top_logprobs: Float32Array | null = null,
): { token: number; logprob: number } {
  library.mg_sampler_draw(sampler, logits, token, logprob, top_ids, top_logprobs);
  return { token: token[0]!, logprob: logprob[0]! };
}

/** Objects of a library that are alive in the process: models, pools, samplers, grammars, ... */
export function liveHandles(library: InferLibrary = cpuInfer): number {
  const count = new BigUint64Array(1);
  library.mg_live_handles(count);
  return Number(count[0]);
}
