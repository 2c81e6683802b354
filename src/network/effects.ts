/**
 * Effects that the network's state machines share; the node's runtime carries them out in order.
 */
import type { PublicKey } from "../core/types.ts";
import type { Proposal } from "./election-messages.ts";
import type { Message } from "./protocol.ts";

/** To one peer; dropped without an error where no connection stands. */
export interface SendEffect {
  type: "send";
  to: PublicKey;
  message: Message;
}

/** To every connected peer. */
export interface BroadcastEffect {
  type: "broadcast";
  message: Message;
}

/** Replaces the value under `key`, durably, before the next effect begins. */
export interface PersistEffect<Key extends string = string> {
  type: "persist";
  key: Key;
  /** JSON; never changed afterwards. */
  value: unknown;
}

/** One line of the event log. */
export interface LogEffect {
  type: "log";
  level: "debug" | "info" | "warn";
  event: string;
  fields: Record<string, string | number | boolean | null>;
}

/** Proof of a fault that a third party can check. */
export interface Evidence {
  kind: "equivocation";
  public_key: PublicKey;
  /** Two proposals of one leader for one term with different contents. */
  first: Proposal;
  second: Proposal;
}

/** Keep this proof durably. */
export interface EvidenceEffect {
  type: "evidence";
  evidence: Evidence;
}

/** Where a machine puts its effects; a room above may hand in a list that also holds its own. */
export interface Sink<Effect> {
  push(effect: Effect): unknown;
}
