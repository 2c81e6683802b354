/**
 * Turns for calls that only read: each may take a second of the one core, so they run one after the
 * other, and between two of them blocks are made and requests are read.
 */
import { RpcError } from "./rpc-error.ts";

export interface CallQueueLimits {
  /** Calls that may wait; further ones are refused. */
  waiting: number;
  /** How long one may wait before it is refused. */
  wait_ms: number;
}

interface Turn {
  since_ms: number;
  begin(): void;
  refuse(error: RpcError): void;
}

const busy = () =>
  new RpcError("limit_exceeded", "too many calls at once: try again, or ask for less at a time");

export class CallQueue {
  readonly #limits: CallQueueLimits;
  readonly #now_ms: () => number;
  readonly #turns: Turn[] = [];
  #running = false;

  constructor(limits: CallQueueLimits, now_ms: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now_ms = now_ms;
  }

  /** Runs `work` when its turn comes. Throws RpcError where too many wait, or it waited too long. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#turns.length >= this.#limits.waiting) throw busy();
    await new Promise<void>((begin, refuse) => {
      this.#turns.push({ since_ms: this.#now_ms(), begin, refuse });
      if (!this.#running) this.#next();
    });
    try {
      return await work();
    } finally {
      setImmediate(() => this.#next());
    }
  }

  #next(): void {
    const latest_ms = this.#now_ms() - this.#limits.wait_ms;
    for (;;) {
      const turn = this.#turns.shift();
      this.#running = turn !== undefined;
      if (turn === undefined) return;
      if (turn.since_ms >= latest_ms) {
        turn.begin();
        return;
      }
      turn.refuse(busy());
    }
  }
}
