/**
 * The merge of one round (paper 10.1): weighted mean of the pseudo-gradients, then the outer step.
 * A pure function of bytes that every member has by hash, so that all get the same state, also
 * where a contributor's bytes are not a pseudo-gradient: each member leaves out the same ones.
 */
import { MagnetError } from "../core/errors.ts";
import type { PublicKey } from "../core/types.ts";
import type { MergeTask } from "../diloco/round-types.ts";
import { accumulateDelta, decompressDelta, normaliseWeights, outerStep } from "../native/codec.ts";
import type { BlobStore } from "../storage/blobs.ts";
import type { JobSpec } from "./job.ts";
import type { ModelState } from "./model-state.ts";

type Contributor = MergeTask["contributors"][number];

export interface MergeInput {
  job: JobSpec;
  base: ModelState;
  contributors: readonly Contributor[];
  blobs: BlobStore;
  /** 0 = all. */
  threads: number;
}

export interface MergeOutcome {
  params: Float32Array;
  momentum: Float32Array;
  /** Contributors whose bytes do not decode to a pseudo-gradient of this model. */
  left_out: PublicKey[];
}

/** Tokens that H inner steps can have processed: a larger claim counts as this. */
const tokensMax = (job: JobSpec): number => job.inner_steps * job.batch * job.model.context;

/**
 * Decodes into `into`; false where the bytes are no pseudo-gradient. Failures of this machine
 * throw.
 */
async function decode(input: MergeInput, contributor: Contributor, into: Float32Array) {
  const { blobs, threads } = input;
  const encoded = await blobs.get(contributor.delta_hash);
  try {
    await decompressDelta(encoded, into.length, { into, threads });
    return true;
  } catch (error) {
    if (error instanceof MagnetError && error.code === "BAD_FORMAT") return false;
    throw error;
  }
}

/**
 * The state after the outer step over the contributors in the order given; the base is left as it
 * is. With nobody left the state is the base's. Throws BLOB_NOT_FOUND, BLOB_CORRUPT, OUT_OF_MEMORY.
 */
export async function mergeRound(input: MergeInput): Promise<MergeOutcome> {
  const { job, base, contributors, threads } = input;
  const params = new Float32Array(base.params);
  const momentum = new Float32Array(base.momentum);
  const delta = new Float32Array(params.length);
  const usable: Contributor[] = [];
  const left_out: PublicKey[] = [];
  // Weights are normalised over those that decode, so all are looked at before the first is added.
  for (const contributor of contributors)
    if (await decode(input, contributor, delta)) usable.push(contributor);
    else left_out.push(contributor.public_key);
  if (usable.length === 0) return { params, momentum, left_out };
  const limit = tokensMax(job);
  const weights = normaliseWeights(usable.map(({ weight }) => Math.min(weight, limit)));
  const sum = new Float32Array(params.length);
  for (const [i, contributor] of usable.entries()) {
    await decode(input, contributor, delta);
    await accumulateDelta(sum, delta, weights[i]!, { threads });
  }
  const { lr, momentum: mu } = job.outer;
  await outerStep(params, momentum, sum, { lr, mu }, { threads });
  return { params, momentum, left_out };
}
