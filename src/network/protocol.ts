/**
 * How a message type is declared. The room that owns a message declares it (schema, byte limit and
 * the reason for the limit); the network room owns envelope, codec and enforcement.
 * agent/protocol.ts collects all declarations, and `magnet peers protocol` prints them.
 */
import type { z } from "zod";
import type { PublicKey } from "../core/types.ts";

export interface MessageSpec<Type extends string = string, Schema extends z.ZodType = z.ZodType> {
  type: Type;
  /** Strict: an unknown field is refused. */
  schema: Schema;
  /** Longest encoded body accepted; a longer frame is dropped and the peer scored. */
  limit_bytes: number;
  /** One sentence: why this limit. */
  why: string;
}

/** Declares a message type; `type` is "<room>.<name>", for example "election.announce". */
export function defineMessage<const Type extends string, Schema extends z.ZodType>(
  spec: MessageSpec<Type, Schema>,
): MessageSpec<Type, Schema> {
  return spec;
}

/** A message on its way out: the body follows the schema of its type. */
export interface Message<Type extends string = string, Body = unknown> {
  type: Type;
  body: Body;
}
/** A message that arrived, already checked against its schema. */
export interface ReceivedMessage extends Message {
  from: PublicKey;
}
