/**
 * A trial's outcome as it is stored, sent and named. Its address is the hash of what a re-run on
 * another machine must give again: the scores, the outputs and the figures, but no measured times.
 */
import { z } from "zod";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import type { Proposal } from "../loop/faces.ts";
import type { Json, TrialOutcome, TrialSpec } from "../types.ts";
import { FIGURES_BYTES_MAX, FOLDS_MAX } from "./limits.ts";

/** An outcome whose outputs lie elsewhere, under the hash of their bytes; null: none were kept. */
export interface OutcomeRecord {
  readonly score: number;
  readonly fold_scores: readonly number[];
  readonly figures: { readonly [name: string]: Json };
  readonly outputs_hash: Hash | null;
  readonly cpu_s: number;
}

/** How deep figures are nested: a table by class and fold is at three. */
const FIGURE_DEPTH_MAX = 8;

/** Plain JSON of finite numbers, no deeper than what any domain writes. */
function isFigure(value: unknown, depth = FIGURE_DEPTH_MAX): boolean {
  if (typeof value === "number") return Number.isFinite(value);
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (depth === 0 || typeof value !== "object") return false;
  return Object.values(value).every((inner) => isFigure(inner, depth - 1));
}
const figureSchema = z.custom<Json>((value) => isFigure(value), {
  error: `is not JSON of finite numbers at most ${FIGURE_DEPTH_MAX} deep`,
});

export const outcomeRecordSchema = z.strictObject({
  score: z.number(),
  fold_scores: z.array(z.number()).max(FOLDS_MAX),
  figures: z
    .record(z.string().max(200), figureSchema)
    .refine((figures) => JSON.stringify(figures).length <= FIGURES_BYTES_MAX, {
      error: "are longer than allowed",
    }),
  outputs_hash: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
  cpu_s: z.number().nonnegative(),
});

export const specKey = (spec: TrialSpec): Hash => sha256Hex(canonicalJson(spec)) as Hash;
export const proposalKey = ({ place, spec }: Proposal): Hash =>
  sha256Hex(canonicalJson({ place, spec })) as Hash;

export const outputBytes = (outputs: Float32Array): Uint8Array =>
  new Uint8Array(outputs.buffer, outputs.byteOffset, outputs.byteLength);

/** The inverse; a copy, because bytes from outside need not be aligned. Throws BAD_OUTCOME. */
export function outputsOf(bytes: Uint8Array): Float32Array {
  if (bytes.byteLength % 4 !== 0) throw badOutcome("its outputs are not 32-bit numbers");
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

/** Outputs of another machine must be numbers: a NaN would count as a row that no fold covers. */
export function checkOutputs(bytes: Uint8Array | null): void {
  if (bytes !== null && outputsOf(bytes).some((value) => !Number.isFinite(value)))
    throw badOutcome("an output is not a finite number");
}

const badOutcome = (why: string) =>
  new MagnetError("BAD_OUTCOME", `the trial's outcome is unusable: ${why}`, {
    hint: "the trial counts as crashed; its configuration is in the run's list of trials",
  });

/**
 * Checks what a domain returned, and gives it the form in which it is kept: a trial that is read
 * back must not differ from one that has just ended. Throws BAD_OUTCOME.
 */
export function recordOf(outcome: TrialOutcome): OutcomeRecord {
  const { score, fold_scores, outputs, figures, cpu_s } = outcome;
  if (!Number.isFinite(score)) throw badOutcome(`its score is ${score}`);
  const fold = fold_scores.find((s) => !Number.isFinite(s));
  if (fold !== undefined) throw badOutcome(`the score of a fold is ${fold}`);
  if (outputs.some((value) => !Number.isFinite(value)))
    throw badOutcome("an output is not a finite number");
  const record = {
    score,
    fold_scores,
    figures,
    outputs_hash: outputs.length === 0 ? null : (sha256Hex(outputBytes(outputs)) as Hash),
    cpu_s: Math.max(0, cpu_s),
  };
  // NaN in a figure becomes null, -0 becomes 0, and keys stand in the order that signed results have.
  const text = canonicalJson(JSON.parse(JSON.stringify(record)));
  if (text.length > FIGURES_BYTES_MAX) throw badOutcome("its figures are longer than allowed");
  return JSON.parse(text) as OutcomeRecord;
}

/** Measured times are named by their unit, as everywhere; they differ from run to run. */
const isMeasured = (name: string): boolean => /(^|_)(ms|s)$/.test(name);

/** What a re-run must give again, whatever the machine. */
export function outcomeAddress(spec: TrialSpec, record: OutcomeRecord): Hash {
  const { score, fold_scores, outputs_hash } = record;
  const figures = Object.fromEntries(
    Object.entries(record.figures).filter(([name]) => !isMeasured(name)),
  );
  const text = canonicalJson({ spec: specKey(spec), score, fold_scores, figures, outputs_hash });
  return sha256Hex(text) as Hash;
}
