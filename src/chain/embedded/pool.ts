/**
 * Transactions that wait for a block: in the order of their arrival, each sender's by nonce. A
 * transaction may replace one of the same sender and nonce if it pays a tenth more. Holds no more
 * than its limits, whoever sends.
 */
import type { Hex } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";
import { refused, tooMuch } from "./rpc-error.ts";
import type { SignedTransaction } from "./transaction.ts";

/** Percent more that both fees of a replacement must pay; as other nodes ask. */
const REPLACEMENT_PERCENT = 110n;

export class Pool {
  /** In the order of arrival: a Map keeps it. */
  readonly #by_hash = new Map<Hex, SignedTransaction>();
  readonly #by_sender = new Map<Hex, Map<bigint, SignedTransaction>>();
  #bytes = 0;

  get size(): number {
    return this.#by_hash.size;
  }

  get(hash: Hex): SignedTransaction | undefined {
    return this.#by_hash.get(hash);
  }

  [Symbol.iterator](): IterableIterator<SignedTransaction> {
    return this.#by_hash.values();
  }

  /** Takes it in; returns the one it replaces. Throws RpcError where it may not come in. */
  add(transaction: SignedTransaction): SignedTransaction | undefined {
    const { hash, sender, nonce, raw } = transaction;
    if (this.#by_hash.has(hash)) throw refused("already known");
    const own = this.#by_sender.get(sender) ?? new Map<bigint, SignedTransaction>();
    const old = own.get(nonce);
    if (old !== undefined) this.#checkReplacement(old, transaction);
    else this.#checkRoom(own.size, raw.length);
    if (old !== undefined) this.remove(old.hash);
    own.set(nonce, transaction);
    this.#by_sender.set(sender, own);
    this.#by_hash.set(hash, transaction);
    this.#bytes += raw.length;
    return old;
  }

  #checkReplacement(old: SignedTransaction, next: SignedTransaction): void {
    const enough = (before: bigint, after: bigint) =>
      after > before && after * 100n >= before * REPLACEMENT_PERCENT;
    if (!enough(old.max_fee, next.max_fee) || !enough(old.max_tip, next.max_tip))
      throw refused("replacement transaction underpriced");
  }

  #checkRoom(own: number, bytes: number): void {
    if (own >= CHAIN_LIMITS.waiting_per_sender)
      throw tooMuch("txpool is full: this sender has too many transactions waiting");
    if (this.size >= CHAIN_LIMITS.waiting || this.#bytes + bytes > CHAIN_LIMITS.waiting_bytes)
      throw tooMuch("txpool is full: try again when the waiting transactions are mined");
  }

  remove(hash: Hex): void {
    const transaction = this.#by_hash.get(hash);
    if (transaction === undefined) return;
    this.#by_hash.delete(hash);
    this.#bytes -= transaction.raw.length;
    const own = this.#by_sender.get(transaction.sender);
    if (own?.get(transaction.nonce) === transaction) own.delete(transaction.nonce);
    if (own?.size === 0) this.#by_sender.delete(transaction.sender);
  }

  /** The nonce after the sender's unbroken row of waiting transactions. */
  nextNonce(sender: Hex, account_nonce: bigint): bigint {
    const own = this.#by_sender.get(sender);
    let nonce = account_nonce;
    while (own?.has(nonce)) nonce++;
    return nonce;
  }

  /**
   * Transactions for the next block, in an order that can be executed: each sender's nonces rise by
   * one from the account's, all pay the base fee, and their gas fits into the block.
   */
  select(
    block: { base_fee: bigint; gas_limit: bigint },
    nonceOf: (sender: Hex) => bigint,
  ): SignedTransaction[] {
    const selected: SignedTransaction[] = [];
    const next = new Map<Hex, bigint>();
    const passed = new Map<Hex, Set<bigint>>();
    let gas = block.gas_limit;
    const take = (transaction: SignedTransaction): boolean => {
      if (transaction.max_fee < block.base_fee || transaction.gas > gas) return false;
      gas -= transaction.gas;
      selected.push(transaction);
      next.set(transaction.sender, transaction.nonce + 1n);
      return true;
    };
    for (const transaction of this) {
      const { sender, nonce } = transaction;
      const expected = next.get(sender) ?? nonceOf(sender);
      next.set(sender, expected);
      if (nonce !== expected) {
        const later = passed.get(sender) ?? new Set();
        passed.set(sender, later.add(nonce));
        continue;
      }
      if (!take(transaction)) continue;
      // It may be what earlier arrivals of the same sender waited for.
      const waiting = passed.get(sender);
      for (let n = nonce + 1n; waiting?.delete(n); n++)
        if (!take(this.#by_sender.get(sender)!.get(n)!)) break;
    }
    return selected;
  }
}
