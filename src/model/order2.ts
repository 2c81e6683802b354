/**
 * Order-2 byte model: the baseline that a trained model must beat. The probability of a byte given
 * the two before it, interpolated with order 1, order 0 and uniform by Witten-Bell smoothing
 * (Witten and Bell
 * 1991): p_k = (count + types * p_{k-1}) / (total + types), where `types` is the number of distinct
 * bytes seen in the context. A context never seen falls back to the order below.
 */
import { MagnetError } from "../core/errors.ts";

/** counts: (contexts, 256); the total and the number of distinct bytes of each context. */
interface Order {
  counts: Uint32Array;
  totals: Uint32Array;
  types: Uint16Array;
}

const emptyOrder = (contexts: number): Order => ({
  counts: new Uint32Array(contexts * 256),
  totals: new Uint32Array(contexts),
  types: new Uint16Array(contexts),
});

/** The model, fitted to one text. About 70 MB of memory; fitting takes 10 ms per megabyte. */
export class Order2Model {
  private readonly orders = [emptyOrder(1), emptyOrder(256), emptyOrder(65_536)];

  /** Fits orders 0 to 2 to `train`. The two bytes before the first count as NUL. */
  constructor(train: Uint8Array) {
    let context = 0; // the two bytes before, the older one in the high byte
    for (let i = 0; i < train.length; i++) {
      const byte = train[i]!;
      for (let k = 0; k < 3; k++) {
        const { counts, totals, types } = this.orders[k]!;
        const row = k === 0 ? 0 : k === 1 ? context & 255 : context;
        if (counts[row * 256 + byte]!++ === 0) types[row]!++;
        totals[row]!++;
      }
      context = ((context << 8) | byte) & 0xffff;
    }
  }

  /** Bits that `text` takes in all, its first byte after two NULs. */
  bits(text: Uint8Array): number {
    let context = 0;
    let bits = 0;
    for (let i = 0; i < text.length; i++) {
      const byte = text[i]!;
      let p = 1 / 256;
      for (let k = 0; k < 3; k++) {
        const { counts, totals, types } = this.orders[k]!;
        const row = k === 0 ? 0 : k === 1 ? context & 255 : context;
        const total = totals[row]!;
        if (total > 0) p = (counts[row * 256 + byte]! + types[row]! * p) / (total + types[row]!);
      }
      bits -= Math.log2(p);
      context = ((context << 8) | byte) & 0xffff;
    }
    return bits;
  }
}

/**
 * Bits per byte of `heldout` under an order-2 byte model fitted to `train`. Throws DATA_EMPTY where
 * `heldout` is empty.
 */
export function order2BitsPerByte(train: Uint8Array, heldout: Uint8Array): number {
  if (heldout.length === 0)
    throw new MagnetError("DATA_EMPTY", "there is no held-out text to measure", {
      hint: "hold some text out, for example --heldout 0.05",
    });
  return new Order2Model(train).bits(heldout) / heldout.length;
}
