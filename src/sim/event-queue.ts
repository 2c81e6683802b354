/** Virtual time: a binary heap of things to happen, in order of time and then of scheduling. */

interface Entry {
  at_ms: number;
  order: number;
  run: () => void;
}

/** What is under way at one time: more means that something is produced without end. */
const QUEUE_MAX = 1_000_000;

const before = (a: Entry, b: Entry): boolean =>
  a.at_ms < b.at_ms || (a.at_ms === b.at_ms && a.order < b.order);

export class EventQueue {
  readonly #heap: Entry[] = [];
  #scheduled = 0;
  /** The present, in milliseconds of virtual time. */
  now_ms = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** Lets `run` happen `delay_ms` from now. */
  after(delay_ms: number, run: () => void): void {
    if (this.#heap.length >= QUEUE_MAX) throw new Error("the simulator's queue is over its limit");
    const entry = { at_ms: this.now_ms + Math.max(0, delay_ms), order: this.#scheduled++, run };
    const heap = this.#heap;
    let i = heap.push(entry) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(entry, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = entry;
  }

  /** Moves the present to the next entry and runs it; false if there is none. */
  runNext(): boolean {
    const heap = this.#heap;
    const first = heap[0];
    if (!first) return false;
    const last = heap.pop()!;
    if (heap.length > 0) this.#sink(last);
    this.now_ms = first.at_ms;
    first.run();
    return true;
  }

  #sink(entry: Entry): void {
    const heap = this.#heap;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, entry)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = entry;
  }
}
