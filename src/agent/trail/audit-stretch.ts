/**
 * The audit of one stretch of a trail: the auditor does the author's inner steps again, from the weights and
 * moments of the stretch's first point, and compares both with those of its last. Between CPUs training is
 * bit-reproducible and the hashes must be equal; where one of the two trained on a GPU, directions and
 * lengths are judged (src/model/stretch-limits.ts). It decides nothing for the network: a verdict is a reason
 * to have a third node look.
 */
import { MagnetError } from "../../core/errors.ts";
import { COMPARED_STEPS_MAX, judgeStretch } from "../../model/stretch-limits.ts";
import type { TokenFile } from "../../model/token-file.ts";
import type { Trainer } from "../../model/trainer.ts";
import type { Device } from "../../native/device.ts";
import { doInnerSteps, type StepsTask } from "../inner-steps.ts";
import type { JobSpec } from "../job.ts";
import { hashArrays } from "./point-bytes.ts";
import { stepOfPoint, type Trail } from "./trail.ts";

/** What a trainer held at a point. */
export interface PointArrays {
  params: Float32Array;
  m: Float32Array;
  v: Float32Array;
}

export interface AuditedStretch {
  /** Of the contribution: `refuseTrail` found nothing. */
  trail: Trail;
  /** From point `stretch` to the one behind it. */
  stretch: number;
  /** Its first point, the hashes checked. */
  start: PointArrays;
  /** Its last point likewise, and overwritten; null where it is compared by bits: the hashes say it. */
  end: PointArrays | null;
  /** Of the author. */
  task: StepsTask;
}

export interface AuditVerdict {
  /** How it was compared. */
  by: "bits" | "tolerance";
  /** Null: the steps give what the trail says. */
  wrong: string | null;
}

/** How the auditor on this device compares a stretch; null where nothing can be said of it. */
export function comparison(
  job: JobSpec,
  { trail, stretch }: Pick<AuditedStretch, "trail" | "stretch">,
  device: Device["kind"],
): AuditVerdict["by"] | null {
  if (trail.device === "cpu" && device === "cpu") return "bits";
  const steps = stepOfPoint(job, stretch + 1) - stepOfPoint(job, stretch);
  return steps <= COMPARED_STEPS_MAX ? "tolerance" : null;
}

export interface AuditTools {
  job: JobSpec;
  /** Its weights and moments are others afterwards. */
  trainer: Trainer;
  train_file: TokenFile;
  signal?: AbortSignal | undefined;
}

/** Leaves the trainer at the end of the stretch; false where its numbers are none on the way. */
async function redo(
  { trail, stretch, start, task }: AuditedStretch,
  { job, trainer, train_file, signal }: AuditTools,
): Promise<boolean> {
  trainer.params.set(start.params);
  trainer.m.set(start.m);
  trainer.v.set(start.v);
  await trainer.push("params", "m", "v");
  const only = { from: stepOfPoint(job, stretch), to: stepOfPoint(job, stretch + 1) };
  const { optimizer_steps } = trail;
  try {
    await doInnerSteps({ job, train_file, trainer, task, optimizer_steps, only, signal });
  } catch (error) {
    if (error instanceof MagnetError && error.code === "NOT_A_NUMBER") return false;
    throw error;
  }
  await trainer.pull("params", "m", "v");
  return true;
}

async function sameBits(work: AuditedStretch, trainer: Trainer): Promise<string | null> {
  const end = work.trail.points[work.stretch + 1]!;
  if ((await hashArrays(trainer.params)) !== end.params) return "the same steps give other weights";
  if ((await hashArrays(trainer.m, trainer.v)) !== end.moments)
    return "the same steps give other moments";
  return null;
}

async function withinTolerance(
  { trail, stretch, start }: AuditedStretch,
  theirs: PointArrays,
  { job, trainer, signal }: AuditTools,
): Promise<string | null> {
  const from = stepOfPoint(job, stretch);
  const steps = stepOfPoint(job, stretch + 1) - from;
  const { params, m, v } = trainer;
  const { beta1, beta2 } = job.inner;
  const seen = trail.optimizer_steps + from;
  const ends = { start, theirs, ours: { params, m, v }, beta1, beta2, steps, seen };
  try {
    return (await judgeStretch(ends, signal ? { signal } : {})).wrong;
  } catch (error) {
    if (error instanceof MagnetError && error.code === "NOT_A_NUMBER")
      return "it does not end in numbers";
    throw error;
  }
}

/**
 * Audits a stretch. Throws STRETCH_NOT_COMPARABLE where `comparison` is null, CANCELLED, and what a
 * trainer throws.
 */
export async function auditStretch(work: AuditedStretch, tools: AuditTools): Promise<AuditVerdict> {
  const { trainer, job } = tools;
  const by = comparison(job, work, trainer.options.device?.kind ?? "cpu");
  if (by === null || (by === "tolerance" && work.end === null))
    throw new MagnetError("STRETCH_NOT_COMPARABLE", "these steps cannot be compared on this node", {
      hint: "audit it on hardware of the same kind",
    });
  if (!(await redo(work, tools))) return { by, wrong: "its steps do not end in numbers" };
  if (by === "bits") return { by, wrong: await sameBits(work, trainer) };
  return { by, wrong: await withinTolerance(work, work.end!, tools) };
}
