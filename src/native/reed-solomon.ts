/**
 * Reed-Solomon erasure code of the native library (paper 11): K data shards give M parity shards,
 * and any K of the K + M restore all. Shards are byte arrays of one length; calls are stateless, so
 * a large object is coded stripe by stripe. Layouts and matrices: cpp/include/magnet_codec.h.
 */
import { ptr } from "bun:ffi";
import { invariant, MagnetError } from "../core/errors.ts";
import { bind, bindAsync, keepAlive } from "./ffi.ts";

const native = bind({
  mg_rs_matrix: ["u32", "u32", "buffer", "buffer"],
  mg_rs_encode: ["u32", "u32", "buffer", "buffer", "u64", "u32", "cancel"],
  mg_rs_reconstruct: ["u32", "u32", "buffer", "buffer", "u64", "u32", "cancel"],
});
const pooled = bindAsync({
  mg_rs_encode: ["u32", "u32", "buffer", "buffer", "u64", "u32", "cancel"],
  mg_rs_reconstruct: ["u32", "u32", "buffer", "buffer", "u64", "u32", "cancel"],
});

/** Shape of a code. */
export interface ErasureCode {
  data_shards: number;
  parity_shards: number;
}
/** Which parity matrix a code uses; it stands in every manifest. */
export type MatrixId = "paper" | "cauchy";

export interface CodingOptions {
  /** 0 (the default) means all online CPUs; the result is the same for any number. */
  threads?: number;
  signal?: AbortSignal;
}

/**
 * Up to so many bytes of all shards together a call runs on the calling thread: well below 1 ms.
 */
const INLINE_BYTES = 256 * 1024;
/** A code has at most so many shards: one for each element of GF(2^8). */
export const SHARDS_MAX = 256;

/** Throws BAD_CODE unless K >= 1, M >= 1 and K + M <= 256. */
export function checkCode({ data_shards: k, parity_shards: m }: ErasureCode): void {
  if (Number.isInteger(k) && Number.isInteger(m) && k >= 1 && m >= 1 && k + m <= SHARDS_MAX) return;
  throw new MagnetError(
    "BAD_CODE",
    `an erasure code cannot have ${k} data and ${m} parity shards`,
    {
      hint: `choose at least one of each and at most ${SHARDS_MAX} in all, for example 4 and 2`,
    },
  );
}

/** The parity matrix of a code: its id and its M rows of K coefficients. Throws BAD_CODE. */
export function parityMatrix(code: ErasureCode): { id: MatrixId; rows: Uint8Array[] } {
  checkCode(code);
  const id = new Uint32Array(1);
  const all = new Uint8Array(code.data_shards * code.parity_shards);
  native.mg_rs_matrix(code.data_shards, code.parity_shards, id, all);
  const rows = Array.from({ length: code.parity_shards }, (_, m) =>
    all.subarray(m * code.data_shards, (m + 1) * code.data_shards),
  );
  return { id: id[0] === 0 ? "paper" : "cauchy", rows };
}

/** `paper` for M <= 2 or K <= 3, else `cauchy`. Throws BAD_CODE. */
export const matrixIdOf = (code: ErasureCode): MatrixId => parityMatrix(code).id;

function addressTable(shards: readonly (Uint8Array | null)[]): BigUint64Array {
  return BigUint64Array.from(shards, (s) => (s && s.length > 0 ? BigInt(ptr(s)) : 0n));
}

function commonLength(shards: readonly (Uint8Array | null)[]): number {
  const lengths = new Set(shards.filter((s) => s !== null).map((s) => s.length));
  if (lengths.size > 1)
    throw new MagnetError("SHARD_SIZE_MISMATCH", "the shards of one stripe differ in length");
  return [...lengths][0] ?? 0;
}

/**
 * Parity of `data` (K arrays of one length): M new arrays, or `into` filled. Large stripes run on a
 * worker; the arrays must not be touched until the promise settles.
 */
export async function rsEncode(
  data: readonly Uint8Array[],
  code: ErasureCode,
  options: CodingOptions & { into?: readonly Uint8Array[] } = {},
): Promise<readonly Uint8Array[]> {
  checkCode(code);
  const { data_shards: k, parity_shards: m } = code;
  invariant(data.length === k, `${k} data shards expected, ${data.length} given`);
  const length = commonLength(data);
  const parity = options.into ?? Array.from({ length: m }, () => new Uint8Array(length));
  invariant(parity.length === m, `${m} parity shards expected, ${parity.length} given`);
  commonLength([...data, ...parity]);
  const sources = addressTable(data);
  const targets = addressTable(parity);
  const threads = options.threads ?? 0;
  if (length * (k + m) <= INLINE_BYTES)
    native.mg_rs_encode(k, m, sources, targets, length, threads);
  else await pooled.mg_rs_encode(options.signal, k, m, sources, targets, length, threads);
  keepAlive(data, parity); // the call knows addresses only
  return parity;
}

/**
 * Rebuilds the shards numbered `wanted` from any K of `shards` (K + M entries, null = lost): new
 * arrays in the order of `wanted`. Throws TOO_FEW_SHARDS below K, SHARD_SIZE_MISMATCH.
 */
export async function rsReconstruct(
  shards: readonly (Uint8Array | null)[],
  wanted: readonly number[],
  code: ErasureCode,
  options: CodingOptions & { into?: readonly Uint8Array[] } = {},
): Promise<readonly Uint8Array[]> {
  checkCode(code);
  const { data_shards: k, parity_shards: m } = code;
  invariant(shards.length === k + m, `${k + m} shards expected, ${shards.length} given`);
  const present = shards.filter((s) => s !== null).length;
  if (present < k)
    throw new MagnetError("TOO_FEW_SHARDS", `${present} shards are left, ${k} are needed`, {
      hint: "bring back a node that held a shard of this object",
      retryable: true,
    });
  const length = commonLength(shards);
  const outputs = options.into ?? wanted.map(() => new Uint8Array(length));
  invariant(outputs.length === wanted.length, "one output for each wanted shard");
  commonLength([...shards, ...outputs]);
  const table: (Uint8Array | null)[] = [...shards];
  const states = Uint8Array.from(shards, (s) => (s === null ? 0 : 1));
  wanted.forEach((index, i) => {
    const isLost = Number.isInteger(index) && shards[index] === null && states[index] === 0;
    invariant(isLost, `shard ${index} is not a lost one, or wanted twice`);
    table[index] = outputs[i]!;
    states[index] = 2;
  });
  const addresses = addressTable(table);
  const threads = options.threads ?? 0;
  if (length * (k + wanted.length) <= INLINE_BYTES)
    native.mg_rs_reconstruct(k, m, addresses, states, length, threads);
  else await pooled.mg_rs_reconstruct(options.signal, k, m, addresses, states, length, threads);
  keepAlive(shards, outputs);
  return outputs;
}
