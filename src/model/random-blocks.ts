/**
 * Random packed weights for benches, made without a loop over weights: a stretch of valid blocks
 * (random bytes through tables), from which tensors of any size are copied. Its length shares no
 * factor with a row's, so no two rows of a tensor are equal.
 */
import { createCipheriv } from "node:crypto";
import { invariant } from "../core/errors.ts";
import type { GgmlType } from "./gguf-file.ts";

/** What ternary matrices and the embedding may be. */
export type RandomType = Extract<GgmlType, "TQ2_0" | "TQ1_0" | "I2_S" | "Q6_K" | "F16">;

/** Weights and bytes of one unit; I2_S has its scale at the tensor's end. */
const UNITS: Record<RandomType, { weights: number; bytes: number; tail: number }> = {
  TQ2_0: { weights: 256, bytes: 66, tail: 0 },
  TQ1_0: { weights: 256, bytes: 54, tail: 0 },
  I2_S: { weights: 128, bytes: 32, tail: 32 },
  Q6_K: { weights: 256, bytes: 210, tail: 0 },
  F16: { weights: 1, bytes: 2, tail: 0 },
};

/** The same bytes for the same seed, at gigabytes a second: AES in counter mode over zeros. */
export function randomBytes(seed: number, length: number): Uint8Array {
  const key = Buffer.alloc(16);
  key.writeUInt32LE(seed);
  return createCipheriv("aes-128-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

const table = (of: (byte: number) => number) => Uint8Array.from({ length: 256 }, (_, b) => of(b));
/** Four codes 0..2 of two bits; never 3. */
const TWO_BITS = table((byte) => {
  const digit = (n: number) => Math.floor(byte / 3 ** n) % 3;
  return digit(0) | (digit(1) << 2) | (digit(2) << 4) | (digit(3) << 6);
});
/** Five digits of base 3, as TQ1_0 stores them. */
const FIVE_TRITS = table((byte) => Math.floor(((byte % 243) * 256 + 242) / 243));
const FOUR_TRITS = table((byte) => Math.floor(((byte % 81) * 3 * 256 + 242) / 243));
/** Scales of Q6_K: 64..127, either sign. */
const SCALES = table((byte) => (byte & 128 ? -((byte & 63) | 64) : (byte & 63) | 64));
/** Upper bytes of a half: either sign, 1/64 to 1/8. */
const HALF_HIGH = table((byte) => (byte & 0x83) | (0x24 + 4 * ((byte >> 3) % 3)));

/** Standard deviation of a product of Q6_K's uniform codes with SCALES. */
const Q6K_SPREAD = 18.5 * 97;

function through(map: Uint8Array, bytes: Uint8Array, from: number, to: number): void {
  for (let i = from; i < to; i++) bytes[i] = map[bytes[i]!]!;
}

/** Random bytes become units of the type, whose weights have a standard deviation of `spread`. */
function makeValid(type: RandomType, bytes: Uint8Array, spread: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // Trits are -1, 0 and 1 alike often: their standard deviation is sqrt(2/3).
  const scale = spread * Math.sqrt(1.5);
  const size = UNITS[type].bytes;
  for (let at = 0; at < bytes.length; at += size)
    switch (type) {
      case "TQ2_0":
        through(TWO_BITS, bytes, at, at + 64);
        view.setFloat16(at + 64, scale, true);
        break;
      case "TQ1_0":
        through(FIVE_TRITS, bytes, at, at + 48);
        through(FOUR_TRITS, bytes, at + 48, at + 52);
        view.setFloat16(at + 52, scale, true);
        break;
      case "I2_S":
        through(TWO_BITS, bytes, at, at + size);
        break;
      case "Q6_K":
        through(SCALES, bytes, at + 192, at + 208);
        view.setFloat16(at + 208, spread / Q6K_SPREAD, true);
        break;
      case "F16":
        bytes[at + 1] = HALF_HIGH[bytes[at + 1]!]!;
    }
}

const commonFactor = (a: number, b: number): number => (b === 0 ? a : commonFactor(b, a % b));

export function randomTensorBytes(type: RandomType, rows: number, cols: number): number {
  const { weights, bytes, tail } = UNITS[type];
  invariant(cols % weights === 0, `${type}: rows of ${cols} weights`);
  return ((rows * cols) / weights) * bytes + tail;
}

/** Makes tensors of one type and row length; each with other bytes. */
export class RandomTensors {
  readonly #stretch: Uint8Array;
  #next = 0;

  /** rows_max: of the largest tensor; spread: standard deviation of a weight. */
  constructor(
    readonly type: RandomType,
    rows_max: number,
    readonly cols: number,
    readonly spread: number,
    seed: number,
  ) {
    const { weights, bytes } = UNITS[type];
    let units = Math.max(rows_max + 1, 1 << (type === "F16" ? 20 : 12));
    while (commonFactor(units, cols / weights) !== 1) units++;
    this.#stretch = randomBytes(seed, units * bytes);
    makeValid(type, this.#stretch, spread);
  }

  make(rows: number): Uint8Array {
    const { bytes: unit, tail } = UNITS[this.type];
    const out = new Uint8Array(randomTensorBytes(this.type, rows, this.cols));
    const stretch = this.#stretch;
    const end = out.length - tail;
    let from = this.#next;
    for (let at = 0; at < end; ) {
      const piece = stretch.subarray(from, Math.min(stretch.length, from + end - at));
      out.set(piece, at);
      at += piece.length;
      from = (from + piece.length) % stretch.length;
    }
    // An odd number of units further on, so that tensors of one shape differ.
    this.#next = (from + 997 * unit) % stretch.length;
    if (tail > 0)
      new DataView(out.buffer).setFloat32(end, Math.fround(this.spread * Math.sqrt(1.5)), true);
    return out;
  }
}
