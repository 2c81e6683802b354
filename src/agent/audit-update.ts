/**
 * The audit of one contribution: an auditor does the author's inner steps again, from the weights and the
 * moments that the author started from, and compares. Between CPUs training is bit-reproducible, so the
 * encoded bytes must be equal; where one of the two trained on a GPU, direction and length of the update
 * are judged (src/model/update-limits.ts). It decides nothing for the network: a verdict is a reason to
 * have a third node look, and that node's own audit is the evidence.
 */
import { equalBytes } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { TokenFile } from "../model/token-file.ts";
import type { Trainer } from "../model/trainer.ts";
import { judgeUpdate, UPDATE_LIMITS } from "../model/update-limits.ts";
import { accumulateDelta, compressDelta, decompressDelta, makeDelta } from "../native/codec.ts";
import type { Device } from "../native/device.ts";
import { doInnerSteps, type StepsTask } from "./inner-steps.ts";
import type { JobSpec } from "./job.ts";

/** What an author's optimiser held before its first step; all zeros in a node's first round of a job. */
export interface OptimizerStart {
  steps: number;
  m: Float32Array;
  v: Float32Array;
  /** What compression had lost. */
  residual: Float32Array;
}

export interface AuditedWork {
  job: JobSpec;
  task: StepsTask;
  /** Weights of the round's base. */
  base: Float32Array;
  /** Null: zeros. */
  start: OptimizerStart | null;
  /** The contribution's encoded pseudo-gradient. */
  encoded: Uint8Array;
  trained_on: Device["kind"];
}

export interface AuditVerdict {
  /** How it was compared. */
  by: "bits" | "tolerance";
  /** Null: the contribution is what its task gives. */
  wrong: string | null;
}

const wrongFormat = "its bytes are no pseudo-gradient of this model";

/** The update of the task's steps, with the residual that its author added. */
async function redo(
  work: AuditedWork,
  trainer: Trainer,
  train_file: TokenFile,
  signal?: AbortSignal,
) {
  const { job, task, base, start } = work;
  trainer.params.set(base);
  if (start) {
    trainer.m.set(start.m);
    trainer.v.set(start.v);
  } else {
    trainer.m.fill(0);
    trainer.v.fill(0);
  }
  await trainer.push("params", "m", "v");
  const optimizer_steps = start?.steps ?? 0;
  await doInnerSteps({ job, train_file, trainer, task, optimizer_steps, signal });
  return makeDelta(base, await trainer.currentParams(), signal ? { signal } : {});
}

/** Bit for bit. */
async function sameBits(work: AuditedWork, delta: Float32Array): Promise<AuditVerdict> {
  const residual = work.start?.residual.slice();
  const options = residual ? { residual } : {};
  const expected = await compressDelta(delta, work.job.compression, options);
  const wrong = equalBytes(expected, work.encoded) ? null : "the same steps give other bytes";
  return { by: "bits", wrong };
}

async function withinTolerance(work: AuditedWork, delta: Float32Array): Promise<AuditVerdict> {
  const by = "tolerance";
  const claimed = await decompressDelta(work.encoded, delta.length).catch((error) => {
    if (error instanceof MagnetError && error.code === "BAD_FORMAT") return null;
    throw error;
  });
  if (!claimed) return { by, wrong: wrongFormat };
  // Sent was delta + residual; what the compression of that lost is within the limits.
  if (work.start) await accumulateDelta(delta, work.start.residual, 1);
  return { by, wrong: (await judgeUpdate(claimed.delta, delta)).wrong };
}

/**
 * Audits a contribution on this node's trainer, whose weights and moments are gone afterwards. Throws
 * STRETCH_TOO_LONG where a tolerance says nothing any more, NOT_A_NUMBER, CANCELLED.
 */
export async function auditUpdate(
  work: AuditedWork,
  {
    trainer,
    train_file,
    signal,
  }: { trainer: Trainer; train_file: TokenFile; signal?: AbortSignal },
): Promise<AuditVerdict> {
  const by_bits = work.trained_on === "cpu" && (trainer.options.device?.kind ?? "cpu") === "cpu";
  if (!by_bits && work.task.inner_steps > UPDATE_LIMITS.steps_max)
    throw new MagnetError(
      "STRETCH_TOO_LONG",
      `${work.task.inner_steps} inner steps on other hardware, ${UPDATE_LIMITS.steps_max} can be compared`,
      { hint: "audit a shorter stretch, or on hardware of the same kind" },
    );
  const delta = await redo(work, trainer, train_file, signal);
  return by_bits ? sameBits(work, delta) : withinTolerance(work, delta);
}
