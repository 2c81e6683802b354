/** The request by which blobs travel: one chunk of a blob named by its SHA-256. */
import { z } from "zod";
import { defineMessage } from "./protocol.ts";
import type { RequestSpec } from "./transport-types.ts";
import { hashSchema } from "./wire-types.ts";

/** 1 MiB: large enough for full speed, small enough that a window of them is no burden. */
export const CHUNK_MAX = 1 << 20;
/** 64 GiB: far above any checkpoint; keeps offsets exact. */
export const BLOB_MAX = 64 * 2 ** 30;

export const blobGet = {
  request: defineMessage({
    type: "blob.get",
    schema: z.strictObject({
      hash: hashSchema,
      offset: z.int().min(0).max(BLOB_MAX),
      length: z.int().min(1).max(CHUNK_MAX),
    }),
    limit_bytes: 256,
    why: "a hash and two numbers",
  }),
  response: defineMessage({
    type: "blob.chunk",
    schema: z.strictObject({
      size_bytes: z.int().min(0).max(BLOB_MAX),
      data: z.instanceof(Uint8Array),
    }),
    limit_bytes: CHUNK_MAX + 64,
    why: "one chunk of at most 1 MiB and the blob's size",
  }),
} satisfies RequestSpec;
