/**
 * Which addresses to dial and when: exponential backoff with jitter. Of two nodes that know each
 * other's address the one with the lower key dials first, so that they do not meet half-way. An
 * address is a target once for each key that claims it, and once for none: whoever claims another's
 * address in a record of its own cannot keep the other from being dialled.
 */
import type { Random } from "../core/random.ts";
import type { PublicKey } from "../core/types.ts";

/** Targets kept at one time; a further one is ignored unless it belongs to a member. */
const TARGETS_MAX = 2048;
/** Dials begun in one tick: spreads a large address book over time. */
const DIALS_PER_TICK = 8;
const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 30_000;
/** Head start of the lower key. */
const HIGHER_KEY_WAITS_MS = 2000;

interface Target {
  address: string;
  public_key: PublicKey | null;
  attempts: number;
  due_ms: number;
}

export class DialPlan {
  readonly #targets = new Map<string, Target>();
  readonly #self: PublicKey;
  readonly #own_address: string | null;
  readonly #random: Random;

  constructor(self: PublicKey, own_address: string | null, random: Random) {
    this.#self = self;
    this.#own_address = own_address;
    this.#random = random;
  }

  /** Adds an address; a newer address of the same key replaces the older one. */
  add(address: string, key: PublicKey | null, now_ms: number, member: boolean): void {
    if (address === this.#own_address || key === this.#self) return;
    const id = `${key ?? ""}@${address}`;
    if (this.#targets.has(id)) return;
    if (this.#targets.size >= TARGETS_MAX && !member) return;
    if (key !== null) this.forget(key);
    const waits = key !== null && this.#self > key ? HIGHER_KEY_WAITS_MS : 0;
    this.#targets.set(id, { address, public_key: key, attempts: 0, due_ms: now_ms + waits });
  }

  /** Drops every address of a key. */
  forget(key: PublicKey): void {
    for (const [id, target] of this.#targets)
      if (target.public_key === key) this.#targets.delete(id);
  }

  /** The dial succeeded: an address without a key now has one, and the backoff starts anew. */
  connected(address: string, key: PublicKey): void {
    for (const target of this.#at(address)) {
      target.public_key ??= key;
      if (target.public_key === key) target.attempts = 0;
    }
  }

  /** The dial failed: waits its backoff from now on. */
  failed(address: string, now_ms: number): void {
    for (const target of this.#at(address)) target.due_ms = now_ms + this.#backoff(target.attempts);
  }

  *#at(address: string): Generator<Target> {
    for (const target of this.#targets.values()) if (target.address === address) yield target;
  }

  /** Addresses to dial now; each is not due again before its backoff. */
  due(
    isConnected: (key: PublicKey) => boolean,
    now_ms: number,
  ): { address: string; public_key: PublicKey | null }[] {
    const out: { address: string; public_key: PublicKey | null }[] = [];
    for (const target of this.#targets.values()) {
      if (out.length >= DIALS_PER_TICK) break;
      if (target.due_ms > now_ms) continue;
      if (target.public_key !== null && isConnected(target.public_key)) continue;
      target.attempts++;
      target.due_ms = now_ms + this.#backoff(target.attempts);
      out.push({ address: target.address, public_key: target.public_key });
    }
    return out;
  }

  #backoff(attempts: number): number {
    const full = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(attempts, 10));
    return full * (0.75 + 0.5 * this.#random.next());
  }
}
