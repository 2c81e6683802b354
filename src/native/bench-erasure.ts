/**
 * Throughput of the erasure code, for `magnet bench erasure`: GB/s of user data (K x shard size per
 * call), encoding and decoding the loss of the first min(K, M) data shards, against copying the
 * same bytes.
 */
import { type ErasureCode, rsEncode, rsReconstruct } from "./reed-solomon.ts";

export interface ErasureFigures extends ErasureCode {
  shard_size_bytes: number;
  threads: number;
  encode_gbps: number;
  decode_gbps: number;
  /** One thread, memory to memory: the machine's limit for this working set. */
  memcpy_gbps: number;
}

/**
 * Best of `repeat` calls: others on the machine only ever slow one down. `now_ms` is a monotonic
 * clock.
 */
export async function benchErasure(
  code: ErasureCode,
  options: { shard_size_bytes: number; threads: number; repeat: number; now_ms: () => number },
): Promise<ErasureFigures> {
  const { shard_size_bytes, threads, repeat, now_ms } = options;
  const { data_shards: k, parity_shards: m } = code;
  const bytes = k * shard_size_bytes;
  const shards = Array.from({ length: k + m }, (_, i) => new Uint8Array(shard_size_bytes).fill(i));
  const copies = shards.slice(0, k).map((s) => s.slice());
  const lost = Array.from({ length: Math.min(k, m) }, (_, i) => i);
  const holes = shards.map((s, i) => (lost.includes(i) ? null : s));
  const best = async (work: () => unknown) => {
    let least_ms = Number.POSITIVE_INFINITY;
    for (let i = 0; i < repeat; i++) {
      const start = now_ms();
      await work();
      least_ms = Math.min(least_ms, now_ms() - start);
    }
    return bytes / least_ms / 1e6;
  };
  const into = shards.slice(k);
  const encode_gbps = await best(() => rsEncode(shards.slice(0, k), code, { threads, into }));
  const targets = copies.slice(0, lost.length);
  const decode_gbps = await best(() =>
    rsReconstruct(holes, lost, code, { threads, into: targets }),
  );
  const memcpy_gbps = await best(() => {
    for (const [i, copy] of copies.entries()) copy.set(shards[i]!);
  });
  return { ...code, shard_size_bytes, threads, encode_gbps, decode_gbps, memcpy_gbps };
}
