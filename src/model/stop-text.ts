/**
 * Stop strings in streamed text: text is given out as soon as it cannot be the start of a stop
 * string, so that neither a stop string nor a part of one ever reaches the reader.
 */
export class StopText {
  #held = "";
  /** A stop string was met; nothing comes after it. */
  stopped = false;

  constructor(private readonly stops: readonly string[]) {}

  /** Text that may be shown after `text` has arrived. */
  push(text: string): string {
    if (this.stopped) return "";
    this.#held += text;
    const places = this.stops.map((stop) => this.#held.indexOf(stop)).filter((at) => at >= 0);
    if (places.length > 0) {
      this.stopped = true;
      return this.#held.slice(0, Math.min(...places));
    }
    const keep = Math.max(0, ...this.stops.map((stop) => this.#overlap(stop)));
    const shown = this.#held.slice(0, this.#held.length - keep);
    this.#held = this.#held.slice(this.#held.length - keep);
    return shown;
  }

  /** What was held back, once no more text comes. */
  end(): string {
    const rest = this.stopped ? "" : this.#held;
    this.#held = "";
    return rest;
  }

  /** Length of the longest end of the held text that starts `stop`. */
  #overlap(stop: string): number {
    for (let n = Math.min(stop.length - 1, this.#held.length); n > 0; n--)
      if (this.#held.endsWith(stop.slice(0, n))) return n;
    return 0;
  }
}
