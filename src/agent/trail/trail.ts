/**
 * The trail of a contribution: hashes of what a node's trainer held at points of its inner steps. Its own
 * hash is signed with the commitment, so it is fixed before anybody knows what will be audited; an auditor
 * gets the bytes of two points, does the steps between them again and compares. Where the moments and the
 * residual of the first point come from is part of it, so that nothing enters between two rounds.
 */
import { z } from "zod";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { hashSchema, publicKeySchema } from "../../network/wire-types.ts";
import type { JobSpec } from "../job.ts";

/** Most stretches between points; more steps than this many times 20 make the stretches longer. */
export const STRETCHES_MAX = 32;
/** Inner steps that can be compared across hardware: stretches are a multiple of it. */
export const STRIDE_STEPS = 20;
/** Length of a trail's text: 33 points of two hashes each, and room. */
export const TRAIL_BYTES_MAX = 8192;

const pointSchema = z.strictObject({
  /** Inner steps done: 0, each multiple of the stride, and all. */
  step: z.int().min(0).max(100_000),
  /** SHA-256 of the weights: float32, little-endian. */
  params: hashSchema,
  /** SHA-256 of the first moments and behind them the second ones. */
  moments: hashSchema,
});
export type TrailPoint = z.infer<typeof pointSchema>;

export const trailSchema = z.strictObject({
  schema: z.literal("magnet.trail/1"),
  announce_hash: hashSchema,
  public_key: publicKeySchema,
  /** Of the encoded pseudo-gradient that the last point gives. */
  delta_hash: hashSchema,
  /** Where the steps were done. */
  device: z.enum(["cpu", "cuda"]),
  stride: z.int().min(STRIDE_STEPS).max(100_000),
  /** Inner steps that the moments had seen before the first one. */
  optimizer_steps: z
    .int()
    .min(0)
    .max(2 ** 40),
  /**
   * Hash of the trail of the same node's contribution to an earlier round of the job, which was merged:
   * moments and residual are those that it ended with. Null: all zeros.
   */
  previous: hashSchema.nullable(),
  points: z
    .array(pointSchema)
    .min(2)
    .max(STRETCHES_MAX + 1),
  /** What compression had lost before and after; null: zeros, only without a previous contribution. */
  residual_before: hashSchema.nullable(),
  residual_after: hashSchema,
});
export type Trail = z.infer<typeof trailSchema>;

export const trailText = (trail: Trail): string => canonicalJson(trail);
export const trailHash = (trail: Trail): Hash => sha256Hex(trailText(trail)) as Hash;

/** The trail in a text from a peer, whose hash the caller compares; null for any other text. */
export function readTrail(text: string): Trail | null {
  if (text.length > TRAIL_BYTES_MAX) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const parsed = trailSchema.safeParse(value);
  return parsed.success && trailText(parsed.data) === text ? parsed.data : null;
}

type Rounds = Pick<JobSpec, "inner_steps">;

/** Inner steps between two points; the last stretch may be shorter. */
export const strideOf = ({ inner_steps }: Rounds): number =>
  STRIDE_STEPS * Math.ceil(inner_steps / STRIDE_STEPS / STRETCHES_MAX);

/** Stretches of a round, numbered from 0: stretch i is from point i to point i + 1. */
export const stretchesOf = (job: Rounds): number => Math.ceil(job.inner_steps / strideOf(job));

/** Inner steps done at point i. */
export const stepOfPoint = (job: Rounds, point: number): number =>
  Math.min(point * strideOf(job), job.inner_steps);

/** The contribution that a trail must be of. */
export interface TrailOf {
  job: Rounds;
  announce_hash: Hash;
  public_key: PublicKey;
  delta_hash: Hash;
}

/** Why this cannot be the trail of the contribution, whatever its points hold; null where it can. */
export function refuseTrail(trail: Trail, of: TrailOf): string | null {
  const { job } = of;
  if (trail.announce_hash !== of.announce_hash) return "its trail is of another round";
  if (trail.public_key !== of.public_key) return "its trail is of another node";
  if (trail.delta_hash !== of.delta_hash) return "its trail ends with another pseudo-gradient";
  if (trail.stride !== strideOf(job)) return "its trail has another stride";
  if (trail.points.length !== stretchesOf(job) + 1) return "its trail has another number of points";
  if (trail.points.some(({ step }, i) => step !== stepOfPoint(job, i)))
    return "its trail has points at other steps";
  if ((trail.previous === null) !== (trail.residual_before === null))
    return "its trail does not say where its residual comes from";
  if (trail.previous === null && trail.optimizer_steps !== 0)
    return "its trail counts steps of moments that start at zero";
  return null;
}
