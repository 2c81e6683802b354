/**
 * The merge of one round (paper 10.1): weighted mean of the pseudo-gradients, then the outer step, on the
 * trainer's own arrays, on whatever device they are: the bits are the same on all. A function of bytes that
 * every member has by hash, so that all get the same state, also where a contributor's bytes are not a
 * pseudo-gradient: each member leaves out the same ones.
 */
import type { PublicKey } from "../core/types.ts";
import type { MergeTask } from "../diloco/round-types.ts";
import type { Trainer } from "../model/trainer.ts";
import { normaliseWeights } from "../native/codec.ts";
import type { BlobStore } from "../storage/blobs.ts";
import type { JobSpec } from "./job.ts";
import type { ModelState } from "./model-state.ts";

type Contributor = MergeTask["contributors"][number];

export interface MergeInput {
  job: JobSpec;
  base: ModelState;
  contributors: readonly Contributor[];
  blobs: BlobStore;
  /** Its base and outer momentum are overwritten; parameters and moments stay. */
  trainer: Pick<Trainer, "round" | "arena" | "push" | "pull">;
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
 * The state after the outer step over the contributors in the order given; the base is left as it
 * is. With nobody left the state is the base's. Throws BLOB_NOT_FOUND, BLOB_CORRUPT, OUT_OF_MEMORY.
 */
export async function mergeRound(input: MergeInput): Promise<MergeOutcome> {
  const { job, base, contributors, blobs, trainer } = input;
  const { round } = trainer;
  const usable: Contributor[] = [];
  const left_out: PublicKey[] = [];
  // Weights are normalised over those that decode, so all are looked at before the first is added.
  for (const contributor of contributors)
    if (await round.isPseudoGradient(await blobs.get(contributor.delta_hash)))
      usable.push(contributor);
    else left_out.push(contributor.public_key);
  if (usable.length === 0)
    return { params: base.params.slice(), momentum: base.momentum.slice(), left_out };
  const limit = tokensMax(job);
  const weights = normaliseWeights(usable.map(({ weight }) => Math.min(weight, limit)));
  trainer.arena("base").set(base.params);
  trainer.arena("outer_momentum").set(base.momentum);
  await trainer.push("base", "outer_momentum");
  await round.release("sum"); // of a merge that failed half-way
  for (const [i, { delta_hash }] of usable.entries())
    await round.add(await blobs.get(delta_hash), weights[i]!);
  const { lr, momentum: mu } = job.outer;
  await round.step({ lr, mu });
  await trainer.pull("base", "outer_momentum");
  const [params, momentum] = [trainer.arena("base"), trainer.arena("outer_momentum")];
  return { params: params.slice(), momentum: momentum.slice(), left_out };
}
