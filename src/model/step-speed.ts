/** Training speed by the clock of a run: of all its steps, and of the last few. */

/** Speed shown is that of about this many last steps. */
const SPEED_WINDOW = 20;

/** Per second, rounded; a span too short for the clock counts as 1 ms. */
export const rate = (tokens: number, ms: number) => Math.round((1000 * tokens) / Math.max(1, ms));

/** Steps timed by the given clock. */
export class StepSpeed {
  tokens = 0;
  steps_ms = 0;
  private recent: { tokens: number; ms: number }[] = [];

  add(tokens: number, ms: number): { tokens_per_s: number; step_ms: number } {
    this.tokens += tokens;
    this.steps_ms += ms;
    this.recent.push({ tokens, ms });
    if (this.recent.length > SPEED_WINDOW) this.recent.shift();
    const sum = (f: "tokens" | "ms") => this.recent.reduce((total, r) => total + r[f], 0);
    return {
      tokens_per_s: rate(sum("tokens"), sum("ms")),
      step_ms: sum("ms") / this.recent.length,
    };
  }
}
