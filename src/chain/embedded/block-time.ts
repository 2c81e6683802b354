/**
 * The chain's own time: the host's clock, moved forward where time travel is allowed. Whole seconds,
 * and never before the newest block.
 */
import type { Clock } from "../../core/clock.ts";
import { badParams } from "./rpc-error.ts";

/** The year 10000 or so: far enough, and exact in every number type on the way. */
const TIME_MAX = 1n << 38n;

export class BlockTime {
  readonly #clock: Clock;
  #offset: bigint;
  #next: bigint | undefined;

  constructor(clock: Clock, offset = 0n) {
    this.#clock = clock;
    this.#offset = offset;
  }

  get offset(): bigint {
    return this.#offset;
  }

  #now(): bigint {
    return BigInt(Math.floor(this.#clock.now_ms() / 1000)) + this.#offset;
  }

  /** What a block made now would bear. */
  peek(parent: bigint): bigint {
    const now = this.#next ?? this.#now();
    return now > parent ? now : parent;
  }

  /** A block bears `time`: a time that was set counts once, and the clock goes on from it. */
  use(time: bigint): void {
    if (this.#next !== undefined) this.#offset += time - this.#now();
    this.#next = undefined;
  }

  /** Moves time forward; returns how far it is moved altogether. */
  increase(seconds: bigint): bigint {
    if (this.#now() + seconds > TIME_MAX) throw badParams("the time would be too far ahead");
    this.#offset += seconds;
    return this.#offset;
  }

  setNext(time: bigint, parent: bigint): void {
    if (time < parent) throw badParams(`the time ${time} is before the newest block's, ${parent}`);
    if (time > TIME_MAX) throw badParams("the time is too far ahead");
    this.#next = time;
  }
}
