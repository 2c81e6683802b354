/** The durable part of the election: what a node may never forget, and how it is read back. */
import { z } from "zod";
import { MagnetError } from "../core/errors.ts";
import type { Lock, Proposal } from "./election-messages.ts";
import {
  type Certificate,
  certificateSchema,
  lockSchema,
  proposalSchema,
} from "./election-messages.ts";
import { roundSchema } from "./wire-types.ts";

const durableSchema = z.strictObject({
  round: roundSchema,
  view: z.int().min(0),
  promised: z.int().min(0),
  decided: z.array(certificateSchema).max(2),
  lock: lockSchema.nullable(),
  proposed: proposalSchema.nullable(),
  head: certificateSchema.nullable(),
});

/** Durable before any message that relies on it leaves the node. */
export interface ElectionState {
  /** The round being decided; every round below is promoted. */
  round: number;
  /** The view the node takes part in. */
  view: number;
  /** Nothing below this view is acknowledged any more; above `view` while a change is asked for. */
  promised: number;
  /** Certificates of this round's steps, in order. */
  decided: Certificate[];
  /** The acknowledged proposal of the step being decided, in the highest view. */
  lock: Lock | null;
  /**
   * This node's own latest proposal as leader: after a restart it proposes nothing else for the
   * term.
   */
  proposed: Proposal | null;
  /** Certificate of the last promoted round's merge. */
  head: Certificate | null;
}

/** Before the first round. */
export const initialElection = (): ElectionState => ({
  round: 0,
  view: 0,
  promised: 0,
  decided: [],
  lock: null,
  proposed: null,
  head: null,
});

/** Reads the durable state back; throws STATE_CORRUPT rather than forget a promise. */
export function readElection(value: unknown): ElectionState {
  if (value === undefined) return initialElection();
  const parsed = durableSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new MagnetError("STATE_CORRUPT", "the durable election state is not readable", {
    hint: "restore the data folder from a backup; without it the node must join under a new key",
    cause: parsed.error,
  });
}
