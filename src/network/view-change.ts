/**
 * The timeouts that members sent for views of the current round: at most one per member, the
 * highest. A quorum of timeouts for one view is the mandate of its leader.
 */
import type { PublicKey } from "../core/types.ts";
import type { Lock, Step, ViewTimeout } from "./election-messages.ts";

export class ViewChange {
  readonly #latest = new Map<PublicKey, ViewTimeout>();

  clear(): void {
    this.#latest.clear();
  }

  /** Keeps a checked timeout unless the member already asked for a higher view. */
  add(from: PublicKey, timeout: ViewTimeout): void {
    const known = this.#latest.get(from);
    if (!known || known.view <= timeout.view) this.#latest.set(from, timeout);
  }

  /** How many members ask for exactly this view. */
  count(view: number): number {
    let count = 0;
    for (const timeout of this.#latest.values()) if (timeout.view === view) count++;
    return count;
  }

  /** Of the timeouts for `view`, the lock on `step` of the highest view: it may be certified. */
  highestLock(view: number, step: Step): Lock | null {
    let best: Lock | null = null;
    for (const timeout of this.#latest.values()) {
      const { lock } = timeout;
      if (timeout.view !== view || lock?.proposal.step !== step) continue;
      if (!best || lock.proposal.view > best.proposal.view) best = lock;
    }
    return best;
  }
}
