/** Messages of the membership machine: heartbeats and signed, dated peer records. */
import { z } from "zod";
import { TIERS } from "../core/tiers.ts";
import { defineMessage } from "./protocol.ts";
import {
  hashSchema,
  publicKeySchema,
  roundSchema,
  signatureSchema,
  timeSchema,
  viewSchema,
} from "./wire-types.ts";

/** Most records in one message; a larger table is sent in turns. */
export const RECORDS_PER_MESSAGE = 64;

/** What a node says about itself with every heartbeat; other nodes see from it who is ahead. */
export const nodeStatusSchema = z.strictObject({
  phase: z.string().max(32),
  /** The round being decided: all rounds below are promoted. */
  round: roundSchema,
  view: viewSchema,
  /** Steps of this round whose certificate the node holds. */
  decided: z.int().min(0).max(3),
  /** The promoted state that the node has adopted and can serve; null before the first. */
  state_hash: hashSchema.nullable(),
  /** How many jobs are known; a node that knows fewer asks. */
  jobs: z.int().min(0).max(64),
});
export type NodeStatus = z.infer<typeof nodeStatusSchema>;

/** Where a node can be reached, in its own words and under its own key. */
export const peerRecordSchema = z.strictObject({
  public_key: publicKeySchema,
  /** "host:port" that others can dial; null for a node without a reachable address. */
  address: z.string().min(1).max(256).nullable(),
  tier: z.enum(TIERS),
  /** Of two records of one key the later wins. */
  issued_ms: timeSchema,
  signature: signatureSchema,
});
export type PeerRecord = z.infer<typeof peerRecordSchema>;

export const heartbeatMessage = defineMessage({
  type: "membership.heartbeat",
  schema: z.strictObject({
    sequence: z
      .int()
      .min(0)
      .max(2 ** 48),
    status: nodeStatusSchema,
  }),
  limit_bytes: 1024,
  why: "a counter and a handful of fixed-length status fields",
});

export const recordsMessage = defineMessage({
  type: "membership.records",
  schema: z.strictObject({ records: z.array(peerRecordSchema).max(RECORDS_PER_MESSAGE) }),
  limit_bytes: 64 << 10,
  why: "64 records of at most 1 KiB each",
});

export const membershipMessages = [heartbeatMessage, recordsMessage] as const;
