/**
 * What a node says it contributed in an epoch (paper 13.1): five axes, each a list of references to
 * facts that others can check. Nothing here is believed: the score that counts is made of what every
 * node verified by itself. Its canonical bytes are hashed into the commitment.
 */
import { z } from "zod";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import {
  hashSchema,
  publicKeySchema,
  roundSchema,
  signatureSchema,
} from "../../network/wire-types.ts";
import { addressSchema, decimalSchema, epochSchema, wordSchema } from "./scalars.ts";

/** The axes of C_i, in the order of `Values.axisWeights`. */
export const AXES = [
  "data_quality",
  "training_compute",
  "model_quality",
  "storage",
  "serving",
] as const;
export type Axis = (typeof AXES)[number];
/** One number per axis. */
export type AxisAmounts = Record<Axis, bigint>;

/** Amount of an axis that is worth one point. Part of the report's version: equal on all nodes. */
export const AXIS_UNITS: AxisAmounts = {
  /** Micronats of loss that a data set takes off the reference run: 0.01 nats are 1000 points. */
  data_quality: 10n,
  /** Inner steps x parameters: 200 steps on 5 million parameters are 1000 points. */
  training_compute: 1_000_000n,
  /** Shares of an evaluated state, see EVALUATION_POINTS. */
  model_quality: 1n,
  /** Byte-seconds: one MiB held for an hour. */
  storage: 3_774_873_600n,
  /** Tokens that a requester paid for. */
  serving: 1n,
};

/** Points that the evaluators of one promoted state divide by bond. */
export const EVALUATION_POINTS = 1000n;

/** Longest report, in bytes of canonical JSON; it must fit one message. */
export const REPORT_BYTES_MAX = 192 << 10;
/** Room for what a report holds besides its facts. */
const FRAME_BYTES = 512;
const ROUNDS_MAX = 256;
const SETS_MAX = 32;
const EVALUATIONS_MAX = 64;
const PROOFS_MAX = 256;
const RECEIPTS_MAX = 256;
/** 2^31 micronats are 2147 nats: no loss of a model that computes is larger. */
const MICRONATS_MAX = 2 ** 31;
const micronatsSchema = z.int().min(-MICRONATS_MAX).max(MICRONATS_MAX);

/** A confirmed record of DataRegistry and its loss drop in the reference run, for three seeds. */
const dataSetSchema = z.strictObject({
  record_id: z
    .int()
    .min(0)
    .max(2 ** 48),
  content_hash: hashSchema,
  loss_drops_micronats: z.tuple([micronatsSchema, micronatsSchema, micronatsSchema]),
});
/** A certified round into which the node's pseudo-gradient was merged. */
const trainedRoundSchema = z.strictObject({
  round: roundSchema,
  /** Hash of the certified merge plan that lists the node. */
  merge_hash: hashSchema,
  inner_steps: z.int().min(1).max(100_000),
  parameters: z
    .int()
    .min(1)
    .max(2 ** 45),
});
/** Loss of a promoted state on the network's benchmark. */
const evaluationSchema = z.strictObject({
  round: roundSchema,
  state_hash: hashSchema,
  loss_micronats: micronatsSchema.min(0),
});
/** An auditor fetched what the node stores and found it whole. */
const storageProofSchema = z.strictObject({
  auditor: publicKeySchema,
  object: z.string().min(1).max(128),
  shard_index: z.int().min(0).max(255),
  size_bytes: z
    .int()
    .min(1)
    .max(2 ** 40),
  held_s: z
    .int()
    .min(1)
    .max(86_400 * 7),
  signature: signatureSchema,
});
/** An answer that was paid on the chain (EIP-3009). */
const receiptSchema = z.strictObject({
  payer: addressSchema,
  /** Nonce of the authorization: each is used once. */
  payment_nonce: wordSchema,
  tokens: z
    .int()
    .min(1)
    .max(2 ** 40),
  signature: signatureSchema,
});

export const factsSchema = z.strictObject({
  data_quality: z.array(dataSetSchema).max(SETS_MAX),
  training_compute: z.array(trainedRoundSchema).max(ROUNDS_MAX),
  model_quality: z.array(evaluationSchema).max(EVALUATIONS_MAX),
  storage: z.array(storageProofSchema).max(PROOFS_MAX),
  serving: z.array(receiptSchema).max(RECEIPTS_MAX),
});
/** References by axis; an axis whose room does not exist yet is an empty list and counts 0. */
export type ContributionFacts = z.infer<typeof factsSchema>;

export const EMPTY_FACTS: ContributionFacts = {
  data_quality: [],
  training_compute: [],
  model_quality: [],
  storage: [],
  serving: [],
};

const reportSchema = z.strictObject({
  version: z.literal(1),
  chain_id: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
  /** Address of Epochs. */
  contract: addressSchema,
  epoch: epochSchema,
  node: addressSchema,
  facts: factsSchema,
  /** What the facts are worth if all of them hold; the number that is committed to. */
  score: decimalSchema,
});
export type ContributionReport = z.infer<typeof reportSchema>;

/** What the facts claim, in the units of each axis. A fact that is listed twice is refused. */
export function claimedAmounts(facts: ContributionFacts): AxisAmounts {
  const sum = <T>(list: readonly T[], amount: (item: T) => bigint) =>
    list.reduce((total, item) => total + amount(item), 0n);
  return {
    data_quality: sum(facts.data_quality, (set) => lossDrop(set.loss_drops_micronats)),
    training_compute: sum(facts.training_compute, trainingAmount),
    model_quality: BigInt(facts.model_quality.length) * EVALUATION_POINTS,
    storage: sum(facts.storage, (p) => BigInt(p.size_bytes) * BigInt(p.held_s)),
    serving: sum(facts.serving, (receipt) => BigInt(receipt.tokens)),
  };
}

/** Inner steps x parameters. */
export const trainingAmount = (fact: { inner_steps: number; parameters: number }): bigint =>
  BigInt(fact.inner_steps) * BigInt(fact.parameters);

/** Mean over the seeds, in whole micronats; a set that does harm counts 0. */
export function lossDrop(drops: readonly number[]): bigint {
  const total = drops.reduce((sum, drop) => sum + BigInt(drop), 0n);
  return total > 0n ? total / BigInt(drops.length) : 0n;
}

/** Whole points per axis. Rounding down: an amount split over two identities gains nothing. */
export const pointsOf = (amounts: AxisAmounts): AxisAmounts =>
  Object.fromEntries(AXES.map((axis) => [axis, amounts[axis] / AXIS_UNITS[axis]])) as AxisAmounts;

/** C_i: points weighted in basis points. `weights` in the order of AXES. */
export const scoreOf = (points: AxisAmounts, weights: readonly number[]): bigint =>
  AXES.reduce((sum, axis, i) => sum + points[axis] * BigInt(weights[i] ?? 0), 0n);

/** The report's one byte form: canonical JSON in UTF-8. */
export const reportBytes = (report: ContributionReport): Uint8Array =>
  new Uint8Array(Buffer.from(canonicalJson(report), "utf8"));

/** SHA-256 of the canonical bytes: `resultHash` of the commitment. */
export const reportHash = (report: ContributionReport): Hash =>
  sha256Hex(canonicalJson(report)) as Hash;

/** True for a loss that a report can hold: others (of a state that was ruined) spoil it as a whole. */
export const isReportable = (loss_micronats: number): boolean =>
  loss_micronats >= 0 && loss_micronats <= MICRONATS_MAX;

/**
 * The facts, without those that the longest report has no room for: serving receipts and storage proofs
 * from the end of their lists on, whichever list is longer.
 */
export function fittingFacts(facts: ContributionFacts): ContributionFacts {
  const fitting = { ...facts, serving: [...facts.serving], storage: [...facts.storage] };
  const isTooLong = () => canonicalJson(fitting).length > REPORT_BYTES_MAX - FRAME_BYTES;
  while (isTooLong()) {
    const list = fitting.serving.length > fitting.storage.length ? "serving" : "storage";
    if (fitting[list].length === 0) break;
    fitting[list].splice(-8);
  }
  return fitting;
}

/** A report over these facts, with the score that they claim. Throws BAD_REPORT if it is too long. */
export function makeReport(
  place: { chain_id: number; contract: `0x${string}` },
  about: { epoch: number; node: `0x${string}` },
  facts: ContributionFacts,
  weights: readonly number[],
): ContributionReport {
  const score = scoreOf(pointsOf(claimedAmounts(facts)), weights).toString();
  const report: ContributionReport = { version: 1, ...place, ...about, facts, score };
  const reason = reportError(report, weights);
  if (reason !== undefined) throw badReport(reason);
  return report;
}

/**
 * Reads a report from bytes of a stranger. Undefined where it is not exactly the canonical form of
 * one: two byte strings never mean the same report.
 */
export function parseReport(text: string): ContributionReport | undefined {
  if (text.length > REPORT_BYTES_MAX) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // not JSON: refused like any other malformed report
  }
  const parsed = reportSchema.safeParse(value);
  return parsed.success && canonicalJson(parsed.data) === text ? parsed.data : undefined;
}

/** Why a well-formed report cannot count at all; undefined where it can. */
export function reportError(
  report: ContributionReport,
  weights: readonly number[],
): string | undefined {
  const { facts } = report;
  if (canonicalJson(report).length > REPORT_BYTES_MAX) return "it is too long";
  const distinct = (keys: readonly (string | number)[]) => new Set(keys).size === keys.length;
  const once =
    distinct(facts.data_quality.map((set) => set.content_hash)) &&
    distinct(facts.training_compute.map((fact) => fact.round)) &&
    distinct(facts.model_quality.map((fact) => fact.round)) &&
    distinct(facts.storage.map((p) => `${p.object}/${p.shard_index}`)) &&
    // A nonce is the payer's own: another payer can choose the same.
    distinct(facts.serving.map((receipt) => `${receipt.payer}/${receipt.payment_nonce}`));
  if (!once) return "it lists a fact twice";
  const score = scoreOf(pointsOf(claimedAmounts(facts)), weights).toString();
  return score === report.score ? undefined : "its score is not that of its facts";
}

const badReport = (reason: string) =>
  new MagnetError("BAD_REPORT", `the contribution report cannot be used: ${reason}`, {
    hint: "this is a bug in magnet: facts are cut to the limits before they are reported",
  });
