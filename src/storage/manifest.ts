/**
 * What an object is: its size, its code and the hash of every shard. The object's name is the CID of
 * the manifest's canonical JSON. The same bytes under the same code give the same manifest on every
 * node.
 *
 * A shard file is a header of 96 bytes and the shard's part of every stripe. Header, little-endian:
 *   0: "MGSHARD1"  8: u32 index  12: u32 K  16: u32 M  20: u32 matrix (0 paper, 1 cauchy)
 *   24: u64 size  32: u32 chunk_bytes  36: u32 0  40: content SHA-256 (32)  72: generation (16)  88: 8 zeros
 */
import { z } from "zod";
import { canonicalJson, fromHex, sha256Hex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Cid, Hash } from "../core/types.ts";
import { type ErasureCode, matrixIdOf, SHARDS_MAX } from "../native/codec.ts";
import { cidOf } from "./cid.ts";

export const SHARD_HEADER_BYTES = 96;
/** Bytes of one shard in one stripe: the unit of memory while coding. */
export const CHUNK_BYTES_DEFAULT = 256 * 1024;
const CHUNK_BYTES_MAX = 4 << 20;
/** 64 TiB. */
const SIZE_MAX = 2 ** 46;
/** 256 hashes of 67 bytes and the fixed fields. */
export const MANIFEST_BYTES_MAX = 20 << 10;

const hash = z.string().regex(/^[0-9a-f]{64}$/);
export const manifestSchema = z.strictObject({
  schema: z.literal("magnet.object/1"),
  size_bytes: z.int().min(0).max(SIZE_MAX),
  /** SHA-256 of the object's bytes. */
  content_hash: hash,
  data_shards: z.int().min(1).max(SHARDS_MAX),
  parity_shards: z.int().min(1).max(SHARDS_MAX),
  matrix: z.enum(["paper", "cauchy"]),
  chunk_bytes: z.int().min(1).max(CHUNK_BYTES_MAX),
  /** Tells encodings of the same content apart, 32 hex digits. */
  generation: z.string().regex(/^[0-9a-f]{32}$/),
  /** SHA-256 of every shard file, header included: the name of its blob. */
  shards: z.array(hash).min(2).max(SHARDS_MAX),
});
type ParsedManifest = z.infer<typeof manifestSchema>;
export type ObjectManifest = Omit<ParsedManifest, "content_hash" | "shards"> & {
  content_hash: Hash;
  shards: Hash[];
};
/** Everything of a manifest that is known before the shards are made. */
export type ObjectShape = Omit<ObjectManifest, "schema" | "shards">;

/** Shape of an object; the generation is derived, so that two nodes agree without talking. */
export function shapeOf(
  content_hash: Hash,
  size_bytes: number,
  code: ErasureCode,
  chunk_bytes = CHUNK_BYTES_DEFAULT,
): ObjectShape {
  const { data_shards, parity_shards } = code;
  const matrix = matrixIdOf(code);
  const rest = { content_hash, size_bytes, data_shards, parity_shards, matrix, chunk_bytes };
  return { ...rest, generation: sha256Hex(canonicalJson(rest)).slice(0, 32) };
}

export const manifestBytes = (manifest: ObjectManifest): Uint8Array =>
  new TextEncoder().encode(canonicalJson(manifest));
export const cidOfManifest = (manifest: ObjectManifest): Cid => cidOf(manifestBytes(manifest));

/** Reads a manifest from bytes of a file or peer. Throws MANIFEST_CORRUPT. */
export function parseManifest(bytes: Uint8Array): ObjectManifest {
  const corrupt = (reason: string) =>
    new MagnetError("MANIFEST_CORRUPT", `not an object manifest: ${reason}`, {
      hint: "it is fetched again from another node",
      exit: "verification",
    });
  if (bytes.length > MANIFEST_BYTES_MAX) throw corrupt("too long");
  let manifest: ObjectManifest;
  try {
    manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(bytes))) as ObjectManifest;
  } catch (error) {
    throw corrupt(error instanceof z.ZodError ? z.prettifyError(error) : "no JSON");
  }
  const { data_shards, parity_shards, matrix, shards } = manifest;
  const total = data_shards + parity_shards;
  if (total > SHARDS_MAX || shards.length !== total) throw corrupt("wrong number of shards");
  if (matrix !== matrixIdOf(manifest)) throw corrupt("wrong matrix");
  if (new Set(shards).size !== total) throw corrupt("a shard stands twice");
  if (Buffer.compare(manifestBytes(manifest), bytes) !== 0) throw corrupt("not canonical");
  return manifest;
}

/** One stripe: `chunk` bytes of every shard from `offset` of its payload on. */
export interface Stripe {
  offset: number;
  chunk: number;
  /** Where its data begins in the object, and how much of it there is (the rest is zeros). */
  data_offset: number;
  data_bytes: number;
}

export function* stripesOf(shape: ObjectShape): Generator<Stripe> {
  const stripe_bytes = shape.chunk_bytes * shape.data_shards;
  let offset = 0;
  for (let at = 0; at < shape.size_bytes; at += stripe_bytes) {
    const data_bytes = Math.min(stripe_bytes, shape.size_bytes - at);
    const chunk = Math.ceil(data_bytes / shape.data_shards);
    yield { offset, chunk, data_offset: at, data_bytes };
    offset += chunk;
  }
}

/** Length of every shard file of an object, header included. */
export function shardBytes({ size_bytes, chunk_bytes, data_shards }: ObjectShape): number {
  const stripe_bytes = chunk_bytes * data_shards;
  const whole = Math.floor(size_bytes / stripe_bytes);
  const rest = Math.ceil((size_bytes - whole * stripe_bytes) / data_shards);
  return SHARD_HEADER_BYTES + whole * chunk_bytes + rest;
}

export function shardHeader(shape: ObjectShape, index: number): Uint8Array {
  const out = new Uint8Array(SHARD_HEADER_BYTES);
  const view = new DataView(out.buffer);
  out.set(new TextEncoder().encode("MGSHARD1"));
  const matrix = shape.matrix === "paper" ? 0 : 1;
  [index, shape.data_shards, shape.parity_shards, matrix].forEach((value, i) => {
    view.setUint32(8 + 4 * i, value, true);
  });
  view.setBigUint64(24, BigInt(shape.size_bytes), true);
  view.setUint32(32, shape.chunk_bytes, true);
  out.set(fromHex(shape.content_hash), 40);
  out.set(fromHex(shape.generation), 72);
  return out;
}

/** What a shard file says about itself: with all K + M of them a lost manifest can be made again. */
export function parseShardHeader(bytes: Uint8Array): { shape: ObjectShape; index: number } {
  const corrupt = () =>
    new MagnetError("SHARD_CORRUPT", "not a shard file", { exit: "verification" });
  if (bytes.length < SHARD_HEADER_BYTES) throw corrupt();
  const view = new DataView(bytes.buffer, bytes.byteOffset, SHARD_HEADER_BYTES);
  const [index, data_shards, parity_shards] = [8, 12, 16].map((at) => view.getUint32(at, true));
  const hex = (from: number, to: number) => Buffer.from(bytes.subarray(from, to)).toString("hex");
  const isCode = data_shards! >= 1 && parity_shards! >= 1;
  if (!isCode || data_shards! + parity_shards! > SHARDS_MAX) throw corrupt();
  const code = { data_shards: data_shards!, parity_shards: parity_shards! };
  const size_bytes = Number(view.getBigUint64(24, true));
  const chunk_bytes = view.getUint32(32, true);
  const shape: ObjectShape = {
    content_hash: hex(40, 72) as Hash,
    size_bytes,
    ...code,
    matrix: matrixIdOf(code),
    chunk_bytes,
    generation: hex(72, 88),
  };
  const isInRange = size_bytes <= SIZE_MAX && chunk_bytes >= 1 && chunk_bytes <= CHUNK_BYTES_MAX;
  if (!isInRange || index! >= data_shards! + parity_shards!) throw corrupt();
  if (Buffer.compare(shardHeader(shape, index!), bytes.subarray(0, SHARD_HEADER_BYTES)) !== 0)
    throw corrupt();
  return { shape, index: index! };
}
