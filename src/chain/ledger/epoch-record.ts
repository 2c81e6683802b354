/**
 * The epoch record: who shared in an epoch with which verified contribution, and the cumulative balance
 * of everybody, so that one record alone suffices for claims. Every node computes it by itself; its
 * canonical bytes have one hash, which the chain keeps. Records are chained by hash.
 */
import { z } from "zod";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import { invariant } from "../../core/errors.ts";
import { TIERS } from "../../core/tiers.ts";
import type { Hash } from "../../core/types.ts";
import { hashSchema, roundSchema } from "../../network/wire-types.ts";
import type { Outcome } from "./digests.ts";
import type { Address, Hex } from "./ledger-types.ts";
import { balanceTree, type MerkleTree } from "./merkle.ts";
import { AXES, type AxisAmounts } from "./report.ts";
import { addressSchema, decimalSchema, epochSchema, wordSchema } from "./scalars.ts";

/** Nodes that share in one epoch. */
export const ENTRIES_MAX = 16_384;
/** Accounts that ever earned; the tree of the contract allows more. */
export const ACCOUNTS_MAX = 65_536;
/** 16,384 entries of 450 bytes and 65,536 accounts of 130 bytes fit. A longer record is refused. */
export const RECORD_BYTES_MAX = 16 << 20;
/** `previous` of the first record. */
export const NO_RECORD = "0".repeat(64) as Hash;

const decimal = decimalSchema.transform((text) => BigInt(text));

const entrySchema = z.strictObject({
  address: addressSchema,
  tier: z.enum(TIERS),
  /** The report that was committed to and opened. */
  result_hash: hashSchema,
  /** Verified points, in the order of AXES. */
  points: z.array(decimal).length(AXES.length),
  /** C_i: points by the epoch's weights. */
  score: decimal,
  reward: decimal,
});
export type RecordEntry = z.infer<typeof entrySchema>;

const accountSchema = z.strictObject({
  address: addressSchema,
  /** Everything it ever earned; above 0. */
  cumulative: decimal,
  /** The last training round that was paid; -1 for none. */
  last_round: z.union([roundSchema, z.literal(-1)]),
});
export type RecordAccount = z.infer<typeof accountSchema>;

const recordSchema = z.strictObject({
  version: z.literal(1),
  chain_id: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
  /** Address of Epochs. */
  contract: addressSchema,
  epoch: epochSchema,
  /** Hash of the last settled record before this one. */
  previous: hashSchema,
  /** Root of that record; zero before the first. */
  parent: wordSchema,
  /** Evaluations of states up to this round were paid; -1 for none. */
  evaluated_round: z.union([roundSchema, z.literal(-1)]),
  /** By rising address. */
  entries: z.array(entrySchema).min(1).max(ENTRIES_MAX),
  /** Everybody who ever earned, by rising address. */
  accounts: z.array(accountSchema).min(1).max(ACCOUNTS_MAX),
});
export type EpochRecord = z.infer<typeof recordSchema>;

/** A record with everything that follows from it. */
export interface SealedRecord {
  record: EpochRecord;
  bytes: Uint8Array;
  outcome: Outcome;
  tree: MerkleTree;
}

const textOf = (record: EpochRecord): string =>
  canonicalJson({
    ...record,
    entries: record.entries.map((entry) => ({
      ...entry,
      points: entry.points.map(String),
      score: entry.score.toString(),
      reward: entry.reward.toString(),
    })),
    accounts: record.accounts.map((a) => ({ ...a, cumulative: a.cumulative.toString() })),
  });

/** Canonical bytes, hash, root and total of a record. */
export function sealRecord(record: EpochRecord): SealedRecord {
  const text = textOf(record);
  invariant(text.length <= RECORD_BYTES_MAX, "a record within its limits of entries has its size");
  const tree = balanceTree(record.accounts);
  const outcome: Outcome = {
    epoch: record.epoch,
    parent: record.parent,
    root: tree.root,
    total: record.entries.reduce((sum, { reward }) => sum + reward, 0n),
    count: record.accounts.length,
    data_hash: sha256Hex(text) as Hash,
  };
  return { record, bytes: new Uint8Array(Buffer.from(text, "utf8")), outcome, tree };
}

const rises = (list: readonly { address: Address }[]): boolean =>
  list.every((item, i) => i === 0 || list[i - 1]!.address < item.address);

/** Reads a record from bytes of a stranger; undefined unless they are its canonical form. */
export function parseRecord(bytes: Uint8Array): SealedRecord | undefined {
  if (bytes.length > RECORD_BYTES_MAX) return undefined;
  const text = Buffer.from(bytes).toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // not JSON: refused like any other malformed record
  }
  const parsed = recordSchema.safeParse(value);
  if (!parsed.success || !rises(parsed.data.entries) || !rises(parsed.data.accounts))
    return undefined;
  if (parsed.data.accounts.some(({ cumulative }) => cumulative === 0n)) return undefined;
  return textOf(parsed.data) === text ? sealRecord(parsed.data) : undefined;
}

/** What an account has earned under a record; 0 where it has no leaf. */
export const cumulativeOf = (record: EpochRecord, address: Address): bigint =>
  record.accounts.find((account) => account.address === address)?.cumulative ?? 0n;

/** The claim of one account under a record; null where it has earned nothing. */
export function claimOf(
  sealed: SealedRecord,
  address: Address,
): { cumulative: bigint; proof: Hex[] } | null {
  const cumulative = cumulativeOf(sealed.record, address);
  return cumulative === 0n ? null : { cumulative, proof: sealed.tree.proof(address) };
}

/** Points of a record's entry by axis. */
export const axesOf = (entry: RecordEntry): AxisAmounts =>
  Object.fromEntries(AXES.map((axis, i) => [axis, entry.points[i]!])) as AxisAmounts;
