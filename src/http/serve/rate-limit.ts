/**
 * Requests of one client (its key, or its address) by a token bucket: a minute's worth may come at
 * once, then they come at the rate. Time is an argument.
 */
import { RATE_CLIENTS_MAX } from "./limits.ts";

interface Bucket {
  tokens: number;
  at_ms: number;
}

export class RateLimiter {
  readonly #buckets = new Map<string, Bucket>();

  /** per_minute: 0 = no limit. */
  constructor(private readonly per_minute: number) {}

  /** 0: the request may go on; else the seconds after which the next may. */
  take(client: string, now_ms: number): number {
    if (this.per_minute === 0) return 0;
    const bucket = this.#bucket(client, now_ms);
    if (bucket.tokens >= 1) {
      bucket.tokens--;
      return 0;
    }
    return ((1 - bucket.tokens) * 60) / this.per_minute;
  }

  get clients(): number {
    return this.#buckets.size;
  }

  #bucket(client: string, now_ms: number): Bucket {
    const known = this.#buckets.get(client);
    if (known) {
      const passed_ms = Math.max(0, now_ms - known.at_ms);
      known.tokens = Math.min(
        this.per_minute,
        known.tokens + (passed_ms * this.per_minute) / 60_000,
      );
      known.at_ms = now_ms;
      return known;
    }
    if (this.#buckets.size >= RATE_CLIENTS_MAX) this.#forget(now_ms);
    const fresh = { tokens: this.per_minute, at_ms: now_ms };
    this.#buckets.set(client, fresh);
    return fresh;
  }

  /** A client that rested for a minute is as good as new; else the longest known goes. */
  #forget(now_ms: number): void {
    for (const [client, { at_ms }] of this.#buckets)
      if (now_ms - at_ms >= 60_000) this.#buckets.delete(client);
    if (this.#buckets.size < RATE_CLIENTS_MAX) return;
    const [oldest] = this.#buckets.keys();
    this.#buckets.delete(oldest!);
  }
}
