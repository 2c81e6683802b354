/**
 * Prints a digest of every codec's output on fixed input: run under MAGNET_CPU=scalar and =avx2
 * with several thread counts by codec.test.ts, which compares the lines.
 */
import { sha256Hex } from "../../src/core/bytes.ts";
import * as codec from "../../src/native/codec.ts";

let state = 5;
/** mulberry32 (Ettinger 2017), in [0, 1): quick, since much data is needed. */
function random(): number {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const n = 200_003; // several chunks and an odd end
const floats = (scale: number) =>
  Float32Array.from({ length: n }, () => {
    const magnitude = 2 ** -Math.floor(random() * 40); // subnormal halves included
    return (random() * 2 - 1) * scale * magnitude;
  });
const raw = (a: Float32Array) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

const threads = Number(process.argv[2]);
const parts: string[] = [];
for (const kind of codec.DELTA_KINDS) {
  const residual = floats(0.01);
  const bytes = await codec.compressDelta(floats(1), kind, { residual, threads });
  const { delta } = await codec.decompressDelta(bytes, n, { threads });
  parts.push(sha256Hex(bytes), sha256Hex(raw(residual)), sha256Hex(raw(delta)));
}
const theta = floats(1);
const momentum = floats(1);
await codec.outerStep(theta, momentum, floats(0.1), { lr: 0.7, mu: 0.9 }, { threads });
parts.push(sha256Hex(raw(theta)), sha256Hex(raw(momentum)));
const sum = await codec.weightedSum([floats(1), floats(2), floats(3)], [1, 2, 4], { threads });
parts.push(sha256Hex(raw(await codec.makeDelta(theta, sum, { threads }))));
const { norm_a, norm_b, distance } = await codec.compareDeltas(theta, sum, { threads });
parts.push(sha256Hex(raw(new Float32Array(Float64Array.of(norm_a, norm_b, distance).buffer))));
for (const [data_shards, parity_shards] of [
  [4, 1],
  [4, 2],
  [10, 4],
] as const) {
  const data = Array.from({ length: data_shards }, () =>
    Uint8Array.from({ length: 70_001 }, () => random() * 256),
  );
  const code = { data_shards, parity_shards };
  const parity = await codec.rsEncode(data, code, { threads });
  const holes = [null, ...data.slice(1), ...parity];
  parts.push(sha256Hex(...parity, ...(await codec.rsReconstruct(holes, [0], code, { threads }))));
}
process.stdout.write(`${sha256Hex(parts.join("\n"))}\n`);
