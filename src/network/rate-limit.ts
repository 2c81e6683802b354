/** Token bucket: `burst` at once, `rate_per_s` in the long run. Pure; the time is an argument. */
export class TokenBucket {
  readonly #rate_per_s: number;
  readonly #burst: number;
  #tokens: number;
  #at_ms: number;

  constructor(rate_per_s: number, burst: number, now_ms: number) {
    this.#rate_per_s = rate_per_s;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at_ms = now_ms;
  }

  /** Takes `amount` tokens; false (nothing taken) where there are not enough. */
  take(amount: number, now_ms: number): boolean {
    // A clock set back gives nothing and takes nothing.
    const elapsed_ms = Math.max(0, now_ms - this.#at_ms);
    this.#at_ms = now_ms;
    this.#tokens = Math.min(this.#burst, this.#tokens + (elapsed_ms * this.#rate_per_s) / 1000);
    if (this.#tokens < amount) return false;
    this.#tokens -= amount;
    return true;
  }
}
