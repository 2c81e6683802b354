/**
 * What of a trail is exact on every hardware, and needs no training: it starts with the announced base and
 * with what the node's contribution before ended with, and its last point gives the pseudo-gradient.
 */
import { sha256Hex } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import { compressDelta, makeDelta } from "../../native/codec.ts";
import type { JobSpec } from "../job.ts";
import { hashArrays } from "./point-bytes.ts";
import { type Trail, trailHash } from "./trail.ts";

/** What the end of a trail is checked with: files that the author served, their hashes checked. */
export interface EndFiles {
  /** Weights of the last point. */
  params: Float32Array;
  /** `residual_before`, and overwritten; null where the trail names none. */
  residual: Float32Array | null;
}

export interface LinksOf {
  job: JobSpec;
  /** Of the contribution: `refuseTrail` found nothing. */
  trail: Trail;
  /** Weights of the announced base. */
  base: Float32Array;
  /** The trail of the hash `trail.previous`, of a merged contribution of the author; null: none. */
  previous: Trail | null;
  /** Null: only the start is checked. */
  files: EndFiles | null;
}

async function wrongStart({ job, trail, base, previous }: LinksOf): Promise<string | null> {
  const first = trail.points[0]!;
  if (first.params !== (await hashArrays(base))) return "it does not start with the round's base";
  if ((previous && trailHash(previous)) !== trail.previous)
    return "its trail names another contribution before";
  if (!previous) {
    const zeros = new Float32Array(base.length);
    if (first.moments !== (await hashArrays(zeros, zeros))) return "its moments start from nowhere";
    return null;
  }
  const last = previous.points.at(-1)!;
  if (previous.public_key !== trail.public_key) return "the contribution before is another node's";
  if (first.moments !== last.moments) return "its moments are not those of the contribution before";
  if (trail.residual_before !== previous.residual_after)
    return "its residual is not that of the contribution before";
  if (trail.optimizer_steps !== previous.optimizer_steps + job.inner_steps)
    return "it counts the steps of its moments wrongly";
  return null;
}

/** Null where the weights are not numbers that the codec takes. */
async function encode({ job, base }: LinksOf, params: Float32Array, residual: Float32Array) {
  try {
    const delta = await makeDelta(base, params);
    return await compressDelta(delta, job.compression, { residual });
  } catch (error) {
    if (error instanceof MagnetError && error.code === "NOT_A_NUMBER") return null;
    throw error;
  }
}

async function wrongEnd(links: LinksOf, files: EndFiles): Promise<string | null> {
  const { trail, base } = links;
  const residual = files.residual ?? new Float32Array(base.length);
  const encoded = await encode(links, files.params, residual);
  if (!encoded) return "its weights are not numbers";
  if (sha256Hex(encoded) !== trail.delta_hash) return "its weights do not give its pseudo-gradient";
  if ((await hashArrays(residual)) !== trail.residual_after)
    return "its residual is not what compression lost";
  return null;
}

/** What is wrong with the links of a trail; null: nothing. */
export async function checkLinks(links: LinksOf): Promise<string | null> {
  return (await wrongStart(links)) ?? (links.files && (await wrongEnd(links, links.files)));
}
