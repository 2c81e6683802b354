/**
 * One drawn audit with all that it takes, read off the certified contents of its round: the
 * certificates are gone once the next round is announced, and an audit may be done after a restart.
 */
import { z } from "zod";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { Content } from "../../diloco/round-contents.ts";
import type { Announcement, Collection, MergePlan } from "../../diloco/round-messages.ts";
import { hashSchema, publicKeySchema, roundSchema } from "../../network/wire-types.ts";
import type { JobSpec } from "../job.ts";
import { strideOf } from "../trail/trail.ts";
import { AUDITORS_MAX, drawAudits } from "./draw.ts";

export const auditCaseSchema = z.strictObject({
  round: roundSchema,
  job_id: hashSchema,
  merge_hash: hashSchema,
  announce_hash: hashSchema,
  base_hash: hashSchema,
  author: publicKeySchema,
  delta_hash: hashSchema,
  /** Null: the author kept no points of its training. */
  trail_hash: hashSchema.nullable(),
  /** From point `stretch` of the trail to the next. */
  stretch: z.int().min(0),
  /** In the order of the draw. */
  auditors: z.array(publicKeySchema).max(AUDITORS_MAX),
  /** What its author trained on. */
  task: z.strictObject({
    job_round: z.int().min(0),
    inner_steps: z.int().min(1),
    data_seed: z.int().min(0),
    slice_index: z.int().min(0),
    slice_count: z.int().min(1),
  }),
});
export type AuditCase = z.infer<typeof auditCaseSchema>;

/** What is certified of one round. */
export interface CertifiedContents {
  announced: Content<Announcement>;
  collected: Content<Collection>;
  plan: Content<MergePlan>;
  job: JobSpec;
}

/** The audits of a promoted round; the same on every node. */
export function casesOf(
  { announced, collected, plan, job }: CertifiedContents,
  members: readonly PublicKey[],
  share?: number,
): AuditCase[] {
  const { round, job_id, job_round, base_hash, contributors } = plan.value;
  const { inner_steps, data_seed, slices } = announced.value;
  const contributions = new Map(contributors.map((entry) => [entry.public_key, entry]));
  const trails = new Map<PublicKey, Hash | null>(
    collected.value.commits.map(({ public_key, trail_hash }) => [public_key, trail_hash]),
  );
  const drawn = drawAudits(
    {
      ...{ merge_hash: plan.hash, inner_steps, members, stride: strideOf(job) },
      contributors: [...contributions.keys()],
    },
    share,
  );
  return drawn.map(({ author, stretch, auditors }) => ({
    ...{ round, job_id, merge_hash: plan.hash, announce_hash: announced.hash, base_hash },
    ...{ author, stretch, auditors, delta_hash: contributions.get(author)!.delta_hash },
    trail_hash: trails.get(author) ?? null,
    task: {
      ...{ job_round, inner_steps, data_seed },
      ...{ slice_index: slices.indexOf(author), slice_count: slices.length },
    },
  }));
}
