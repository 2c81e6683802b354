/**
 * The state that a round ends with: latent weights and outer momentum, as one blob whose SHA-256 is
 * the state hash that nodes certify. It holds no time, path or thread count, so equal states are
 * equal bytes.
 *
 * Layout, little-endian: "MGSTATE1", u32 header length, header (canonical JSON, padded with spaces
 * so that the arrays start at a multiple of 64), float32 params[n], float32 momentum[n].
 */
import { z } from "zod";
import { canonicalJson } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";

const MAGIC = "MGSTATE1";
const PREFIX_BYTES = 12;
const ALIGNMENT = 64;
/** The header is about 200 bytes; a longer one is not ours. */
const HEADER_LIMIT_BYTES = 4096;

export interface ModelState {
  job_id: Hash;
  /** Rounds of the job that are merged into it; 0 is the initial state. */
  rounds_done: number;
  /** Parameter arena. */
  params: Float32Array;
  /** Outer momentum, same layout. */
  momentum: Float32Array;
}

const headerSchema = z.strictObject({
  job_id: z.string().regex(/^[0-9a-f]{64}$/),
  n: z.int().min(1),
  rounds_done: z.int().min(0),
});

const bytesOf = (floats: Float32Array) =>
  new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);

function headerText(header: z.infer<typeof headerSchema>): Uint8Array {
  const json = canonicalJson(header);
  const padding = (ALIGNMENT - ((PREFIX_BYTES + json.length) % ALIGNMENT)) % ALIGNMENT;
  return new TextEncoder().encode(json + " ".repeat(padding));
}

/** The parts of the blob in order; they share memory with the state. */
export function encodeState(state: ModelState): Uint8Array[] {
  const { job_id, rounds_done, params, momentum } = state;
  const text = headerText({ job_id, n: params.length, rounds_done });
  const head = new Uint8Array(PREFIX_BYTES + text.length);
  head.set(new TextEncoder().encode(MAGIC));
  new DataView(head.buffer).setUint32(8, text.length, true);
  head.set(text, PREFIX_BYTES);
  return [head, bytesOf(params), bytesOf(momentum)];
}

/** Length of the blob of a state of `n` parameters after so many rounds of a job. */
export const stateBytes = (header: { job_id: Hash; n: number; rounds_done: number }): number =>
  PREFIX_BYTES + headerText(header).length + 8 * header.n;

/** Length of the blob of a state with n parameters, an upper bound by less than one block. */
export const stateBytesMax = (n: number): number => 8 * n + HEADER_LIMIT_BYTES;

/** Where the weights are in a state blob of this length, of which parts are read. */
export async function paramsRange(
  read: (offset: number, length: number) => Promise<Uint8Array>,
  size_bytes: number,
): Promise<{ from: number; to: number }> {
  const prefix = await read(0, PREFIX_BYTES);
  const view = new DataView(prefix.buffer, prefix.byteOffset);
  const from = PREFIX_BYTES + view.getUint32(8, true);
  return { from, to: from + (size_bytes - from) / 2 };
}

/**
 * Reads a state blob (its hash was checked by the caller). Throws STATE_CORRUPT with the reason.
 */
export function decodeState(bytes: Uint8Array, expected_params: number): ModelState {
  const corrupt = (reason: string) =>
    new MagnetError("STATE_CORRUPT", `not a model state: ${reason}`, {
      hint: "it is fetched again from another node",
      exit: "verification",
    });
  if (bytes.length < PREFIX_BYTES || new TextDecoder().decode(bytes.subarray(0, 8)) !== MAGIC)
    throw corrupt("wrong magic");
  const header_length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true);
  if (header_length > HEADER_LIMIT_BYTES || PREFIX_BYTES + header_length > bytes.length)
    throw corrupt("wrong header length");
  const start = PREFIX_BYTES + header_length;
  let header: z.infer<typeof headerSchema>;
  try {
    const text = new TextDecoder().decode(bytes.subarray(PREFIX_BYTES, start));
    header = headerSchema.parse(JSON.parse(text));
  } catch {
    throw corrupt("unreadable header");
  }
  const { n, rounds_done, job_id } = header;
  if (n !== expected_params) throw corrupt(`${n} parameters where the job has ${expected_params}`);
  if (bytes.length !== start + 8 * n) throw corrupt("wrong length");
  const floats = new Float32Array(new Uint8Array(bytes.subarray(start)).buffer);
  return {
    job_id: job_id as Hash,
    rounds_done,
    params: floats.subarray(0, n),
    momentum: floats.subarray(n),
  };
}
