/** Embeddings of many inputs: a few at a time, so that one request does not fill the queue. */
import type { ServedModel } from "./served-model.ts";

/** Inputs of one request in the engine at once. */
const EMBEDDED_AT_ONCE = 8;

/** Vectors in the order of the inputs. The first failure ends the others. */
export async function embedAll(
  model: ServedModel,
  inputs: readonly Int32Array[],
  signal: AbortSignal,
): Promise<Float32Array[]> {
  const abort = new AbortController();
  const both = AbortSignal.any([signal, abort.signal]);
  const vectors: Float32Array[] = [];
  let next = 0;
  const lane = async () => {
    while (next < inputs.length) {
      const index = next++;
      vectors[index] = await model.embed(inputs[index]!, both);
    }
  };
  const lanes = Array.from({ length: Math.min(EMBEDDED_AT_ONCE, inputs.length) }, lane);
  try {
    await Promise.all(lanes);
  } finally {
    abort.abort();
    await Promise.allSettled(lanes);
  }
  return vectors;
}
