/**
 * Messages of the storage keeper. Shard bytes and manifests are never in here: they are fetched by
 * hash through the network's blob transfer.
 */
import { z } from "zod";
import type { Cid } from "../core/types.ts";
import { defineMessage } from "../network/protocol.ts";
import { CID_PATTERN } from "./cid.ts";

/** Objects in one inventory message; a longer inventory is sent in parts. */
export const OBJECTS_PER_MESSAGE = 128;
/** 128 parts of 128 objects: what one node can hold. */
export const OBJECTS_MAX = 128 * OBJECTS_PER_MESSAGE;
const INDEX_MAX = 255;

const cid = z
  .string()
  .regex(CID_PATTERN)
  .transform((text) => text as Cid);
const indices = z.array(z.int().min(0).max(INDEX_MAX)).max(INDEX_MAX + 1);

/**
 * Everything that a node holds: what an earlier inventory of the same node said and this does not
 * is gone.
 */
export const inventoryMessage = defineMessage({
  type: "storage.inventory",
  schema: z.strictObject({
    /** Counts the inventories of one node since its start. */
    sequence: z
      .int()
      .min(0)
      .max(2 ** 48),
    part: z.int().min(0).max(127),
    parts: z.int().min(1).max(128),
    objects: z.array(z.strictObject({ cid, shards: indices })).max(OBJECTS_PER_MESSAGE),
  }),
  limit_bytes: 160 << 10,
  why: "128 objects of a name and at most 256 small numbers",
});
export type Inventory = z.infer<typeof inventoryMessage.schema>;

/** A change of what a node holds of one object, said as soon as it happens. */
export const shardsMessage = defineMessage({
  type: "storage.shards",
  schema: z.strictObject({ cid, shards: indices }),
  limit_bytes: 2048,
  why: "one object of a name and at most 256 small numbers",
});

export const storageMessages = [inventoryMessage, shardsMessage] as const;
