/**
 * Messages of the ledger: signed commitments and openings that are gossiped in batch mode, reports,
 * and the notaries' signatures over the computed record (which is fetched apart, by hash). Everything is repeated until the chain
 * has moved on; a lost message costs time, never a share.
 */
import { z } from "zod";
import { defineMessage } from "../../network/protocol.ts";
import { hashSchema, publicKeySchema, signatureSchema } from "../../network/wire-types.ts";
import { ACCOUNTS_MAX } from "./epoch-record.ts";
import { REPORT_BYTES_MAX } from "./report.ts";
import { addressSchema, decimalSchema, epochSchema, wordSchema } from "./scalars.ts";

/** Nodes in one batch of gossiped commitments; further ones commit on the chain. */
export const BATCH_MAX = 16_384;
/** Reports asked for in one request; the rest follows in the next. */
export const WANTED_MAX = 64;

/** A gossiped commitment, signed under the EIP-712 domain of Disputes: two of them are evidence. */
export const ledgerCommitSchema = z.strictObject({
  epoch: epochSchema,
  public_key: publicKeySchema,
  commitment: wordSchema,
  signature: signatureSchema,
});
export type LedgerCommit = z.infer<typeof ledgerCommitSchema>;

/** The opening of a gossiped commitment, signed as it is. */
export const ledgerRevealSchema = z.strictObject({
  epoch: epochSchema,
  public_key: publicKeySchema,
  result_hash: hashSchema,
  score: decimalSchema,
  nonce: wordSchema,
  signature: signatureSchema,
});
export type LedgerReveal = z.infer<typeof ledgerRevealSchema>;

/** A notary's signature over the record that it computed itself, and what it covers. */
export const recordSignatureSchema = z.strictObject({
  epoch: epochSchema,
  data_hash: hashSchema,
  parent: wordSchema,
  root: wordSchema,
  total: decimalSchema,
  count: z.int().min(1).max(ACCOUNTS_MAX),
  public_key: publicKeySchema,
  signature: signatureSchema,
});
export type RecordSignature = z.infer<typeof recordSignatureSchema>;

export const ledgerCommitMessage = defineMessage({
  type: "ledger.commit",
  schema: ledgerCommitSchema,
  limit_bytes: 1024,
  why: "a key, a hash and a signature",
});

export const commitSetMessage = defineMessage({
  type: "ledger.commit_set",
  schema: z.strictObject({
    epoch: epochSchema,
    root: wordSchema,
    /** In rising order; `commitments` in the same order. */
    nodes: z.array(addressSchema).min(1).max(BATCH_MAX),
    commitments: z.array(wordSchema).min(1).max(BATCH_MAX),
  }),
  limit_bytes: BATCH_MAX * 160,
  why: "the leaves of a batch: an address and a hash for each of 16,384 nodes",
});

export const ledgerRevealMessage = defineMessage({
  type: "ledger.reveal",
  schema: ledgerRevealSchema,
  limit_bytes: 1024,
  why: "a key, two hashes, a score and a signature",
});

export const reportMessage = defineMessage({
  type: "ledger.report",
  schema: z.strictObject({
    epoch: epochSchema,
    /** Canonical JSON; its hash must be one that was revealed. */
    report: z.string().min(2).max(REPORT_BYTES_MAX),
  }),
  limit_bytes: REPORT_BYTES_MAX + 128,
  why: "one report of at most 192 KiB",
});

export const recordSignatureMessage = defineMessage({
  type: "ledger.signature",
  schema: recordSignatureSchema,
  limit_bytes: 1024,
  why: "a key, three hashes, three numbers and a signature",
});

export const ledgerRequestMessage = defineMessage({
  type: "ledger.request",
  schema: z.strictObject({
    epoch: epochSchema,
    want: z.enum(["commits", "commit_set", "reveals", "reports", "signatures"]),
    /** Which reports. */
    result_hashes: z.array(hashSchema).max(WANTED_MAX),
  }),
  limit_bytes: WANTED_MAX * 72 + 256,
  why: "a question, and up to 64 hashes",
});

export const ledgerMessages = [
  ledgerCommitMessage,
  commitSetMessage,
  ledgerRevealMessage,
  reportMessage,
  recordSignatureMessage,
  ledgerRequestMessage,
] as const;
