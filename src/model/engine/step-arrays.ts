/**
 * A step's plan as the arrays of mg_batch_step (cpp/include/magnet_infer.h): rows, tables of blocks,
 * samplers. The arrays live as long as the engine and grow where they must; a step writes the
 * beginning of each. They belong to the native call while it runs.
 */
import { invariant } from "../../core/errors.ts";
import { BATCH_ROWS, type StepPart, type StepPlan } from "./scheduler.ts";

const ROW_WORDS = 4;
const OUTPUT_CODES = { none: 0, token: 1, hidden: 2 } as const;

export class StepArrays {
  /** mg_batch_row: token, position, sequence, output. */
  readonly rows = new Int32Array(ROW_WORDS * BATCH_ROWS);
  tables = new Uint32Array(1024);
  readonly starts = new Uint32Array(BATCH_ROWS + 1);
  readonly samplers = new BigUint64Array(BATCH_ROWS);
  n_rows = 0;
  n_sequences = 0;
  /** Rows whose token is drawn, and rows whose hidden state is read. */
  n_outputs = 0;
  n_hidden = 0;

  /** Writes a plan; `sampler` gives the address of a part's sampler. */
  fill(plan: StepPlan, sampler: (part: StepPart) => bigint): void {
    this.n_rows = 0;
    this.n_outputs = 0;
    this.n_hidden = 0;
    this.n_sequences = plan.length;
    let used = 0;
    for (const [s, part] of plan.entries()) {
      this.starts[s] = used;
      used = this.#addTable(part, used);
      part.first_output = part.output === "hidden" ? this.n_hidden : this.n_outputs;
      if (part.output === "token") this.samplers[this.n_outputs++] = sampler(part);
      if (part.output === "hidden") this.n_hidden += part.count;
      this.#addRows(part, s);
    }
    this.starts[plan.length] = used;
  }

  #addTable({ sequence }: StepPart, used: number): number {
    const { blocks } = sequence;
    if (used + blocks.length > this.tables.length) {
      const grown = new Uint32Array(2 * (used + blocks.length));
      grown.set(this.tables);
      this.tables = grown;
    }
    this.tables.set(blocks, used);
    return used + blocks.length;
  }

  #addRows({ sequence, start, count, output }: StepPart, index: number): void {
    invariant(this.n_rows + count <= BATCH_ROWS, "a step has too many rows");
    for (let i = 0; i < count; i++) {
      const at = ROW_WORDS * this.n_rows++;
      const last = i === count - 1;
      this.rows[at] = sequence.tokens[start + i]!;
      this.rows[at + 1] = start + i;
      this.rows[at + 2] = index;
      this.rows[at + 3] = output === "token" && !last ? OUTPUT_CODES.none : OUTPUT_CODES[output];
    }
  }
}
