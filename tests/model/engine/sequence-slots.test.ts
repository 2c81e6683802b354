/**
 * Numbers of sequences for libraries that cache by sequence: a memory kept by those numbers holds
 * what the blocks hold, whatever is cancelled, preempted, or ended without a word.
 */
import { expect, test } from "bun:test";
import { seededRandom } from "../../../src/core/random.ts";
import { BLOCK_TOKENS } from "../../../src/model/engine/block-store.ts";
import { BatchEngine } from "../../../src/model/engine/engine.ts";
import { SequenceSlots } from "../../../src/model/engine/sequence-slots.ts";
import type { StepArrays } from "../../../src/model/engine/step-arrays.ts";
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

  /** `rows`: so many are computed before the step is cancelled. */
  step(arrays: StepArrays, rows: number): void {
    const { slots, forgets } = this.#slots.assign(arrays);
    expect(new Set(slots).size).toBe(arrays.n_sequences);
    for (let i = 0; i < forgets.length; i += 2)
      this.#memory[forgets[i]!]!.length = this.#kept(forgets, i);
    for (let r = 0; r < rows; r++) {
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
    this.rows += rows;
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
  backend.onStep = (arrays, signal) => {
    const cut = signal.aborted || random.below(20) === 0;
    // A cancelled call leaves some of its rows behind.
    memory.step(arrays, cut ? random.below(arrays.n_rows + 1) : arrays.n_rows);
    if (cut && !signal.aborted) throw new Error("a step fails");
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
      if (stop_after === 0) queueMicrotask(() => cancel.abort());
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
  expect(ends.whole).toBeGreaterThan(30);
  expect(ends.other).toBeGreaterThan(30);
  expect(memory.rows).toBeGreaterThan(5000);
  expect(memory.most_cells).toBeLessThanOrEqual(BLOCKS * BLOCK_TOKENS);
});
