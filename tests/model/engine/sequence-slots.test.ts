/**
 * Numbers of sequences for libraries that cache by sequence: a memory kept by those numbers holds
 * what the blocks hold, whatever is cancelled, preempted, or ended without a word.
 */
import { expect, test } from "bun:test";
import { seededRandom } from "../../../src/core/random.ts";
import { BLOCK_TOKENS } from "../../../src/model/engine/block-store.ts";
import { BatchEngine } from "../../../src/model/engine/engine.ts";
import { SequenceSlots } from "../../../src/model/engine/sequence-slots.ts";
import { StepArrays } from "../../../src/model/engine/step-arrays.ts";
import { FakeBackend } from "./fake-backend.ts";

const SEQUENCES = 5;
/** Less than five contexts: sequences lose their blocks to older ones. */
const BLOCKS = 12;
const CONTEXT = 96;

/** What a library with a memory by sequence would hold; throws where a row does not fit it. */
class MemoryBySequence {
  readonly #slots = new SequenceSlots(2 * SEQUENCES);
  readonly #memory = Array.from({ length: 2 * SEQUENCES }, (): number[] => []);
  /** The truth: tokens by place in the pool. */
  readonly #cells = new Int32Array(BLOCKS * BLOCK_TOKENS);
  most_cells = 0;
  rows = 0;

  /** Takes the step's numbers, and gives what computes its rows from one to another. */
  step(arrays: StepArrays): (from: number, to: number) => void {
    const { slots, forgets } = this.#slots.assign(arrays);
    expect(new Set(slots).size).toBe(arrays.n_sequences);
    for (let i = 0; i < forgets.length; i += 2)
      this.#memory[forgets[i]!]!.length = this.#kept(forgets, i);
    return (from, to) => this.#compute(arrays, slots, from, to);
  }

  #compute(arrays: StepArrays, slots: Int32Array, from: number, to: number): void {
    for (let r = from; r < to; r++) {
      const [token, position, sequence] = arrays.rows.subarray(4 * r, 4 * r + 3);
      const memory = this.#memory[slots[sequence!]!]!;
      if (memory.length !== position) throw new Error(`${memory.length} cached, row ${position}`);
      const first = arrays.starts[sequence!]!;
      const place = (p: number) =>
        arrays.tables[first + Math.floor(p / BLOCK_TOKENS)]! * BLOCK_TOKENS + (p % BLOCK_TOKENS);
      memory.push(token!);
      this.#cells[place(position!)] = token!;
      for (let p = 0; p <= position!; p++)
        if (memory[p] !== this.#cells[place(p)]) throw new Error(`another token at ${p}`);
    }
    this.rows += to - from;
    const cells = this.#memory.reduce((sum, { length }) => sum + length, 0);
    this.most_cells = Math.max(this.most_cells, cells);
  }

  #kept(forgets: Int32Array, i: number): number {
    return Math.min(this.#memory[forgets[i]!]!.length, forgets[i + 1]!);
  }
}

test("a memory by number holds what the blocks hold, through cancels and preemptions", async () => {
  const random = seededRandom(77);
  const backend = new FakeBackend(CONTEXT, BLOCKS);
  const memory = new MemoryBySequence();
  const faults: unknown[] = [];
  backend.onStep = async (arrays, signal) => {
    try {
      const compute = memory.step(arrays);
      const part = random.below(arrays.n_rows + 1);
      compute(0, part);
      // Readers answer and go meanwhile; what was computed of a cancelled step stays behind.
      await new Promise((resolve) => setImmediate(resolve));
      if (!signal.aborted) compute(part, arrays.n_rows);
    } catch (error) {
      faults.push(error); // as an error of the step it would only end its requests
    }
    if (random.below(50) === 0) throw new Error("a step fails");
  };
  const engine = new BatchEngine(backend, { sequences_max: SEQUENCES, prefix_cache: false });
  const ends = { whole: 0, other: 0 };
  const ask = async () => {
    const cancel = new AbortController();
    const stop_after = random.below(3) === 0 ? random.below(20) : Number.POSITIVE_INFINITY;
    const prompt = Int32Array.from({ length: 1 + random.below(60) }, () => random.below(50));
    const sampling = { seed: random.below(1000) };
    const request = {
      prompt,
      max_tokens: 1 + random.below(30),
      sampling,
      end_tokens: new Set<number>(),
    };
    let drawn = 0;
    try {
      if (stop_after < 2) setImmediate(() => cancel.abort());
      for await (const _ of engine.generate({ ...request, signal: cancel.signal }))
        if (++drawn === stop_after) cancel.abort();
      ends.whole++;
    } catch {
      ends.other++; // cancelled, or its step failed
    }
  };
  const client = async () => {
    for (let i = 0; i < 40; i++) await ask();
  };
  await Promise.all(Array.from({ length: 8 }, client));
  await engine.close();
  expect(faults).toEqual([]);
  expect(ends.whole).toBeGreaterThan(30);
  expect(ends.other).toBeGreaterThan(30);
  expect(memory.rows).toBeGreaterThan(5000);
  expect(memory.most_cells).toBeLessThanOrEqual(BLOCKS * BLOCK_TOKENS);
});

test("a step that is run again begins where its sequences stood", () => {
  const slots = new SequenceSlots(4);
  const arrays = new StepArrays();
  const row = (token: number, position: number, sequence: number) => {
    arrays.rows.set([token, position, sequence, 1], 4 * arrays.n_rows++);
  };
  arrays.tables.set([7, 3]);
  arrays.starts.set([0, 1, 2]);
  arrays.n_sequences = 2;
  row(5, 0, 0);
  row(6, 0, 1);
  const first = slots.assign(arrays);
  expect([...first.forgets]).toEqual([]);
  arrays.n_rows = 0;
  row(8, 1, 0);
  row(9, 1, 1);
  for (const _ of ["cancelled", "again"]) {
    const { slots: same, forgets } = slots.assign(arrays);
    expect([...same]).toEqual([...first.slots]);
    expect([...forgets]).toEqual([same[0]!, 1, same[1]!, 1]);
  }
});
