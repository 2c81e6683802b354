/** Reads training batches: the windows of a token file in the order that a BatchOrder gives. */
import type { BatchOrder } from "./batch-order.ts";
import type { TokenFile } from "./token-file.ts";

export class BatchReader {
  constructor(
    readonly file: TokenFile,
    readonly order: BatchOrder,
  ) {}

  /**
   * Sequences [position, position + sequences) of this slice, (sequences, context + 1) row-major:
   * what `Trainer.step` takes.
   */
  read(position: number, sequences: number): Int32Array {
    const { context } = this.order;
    const width = context + 1;
    const out = new Int32Array(sequences * width);
    for (let row = 0; row < sequences; row++) {
      const start = this.order.windowAt(position + row) * context;
      this.file.readInto(out.subarray(row * width, (row + 1) * width), start);
    }
    return out;
  }
}
