/**
 * One look of the queue at the chain: fetches what the rules ask for and carries out what they say.
 * Transactions in blocks first, then those on their way by nonce, then the queued ones in order.
 */
import type { Address, Hex } from "viem";
import type { Clock } from "../../core/clock.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { RevertError } from "./errors.ts";
import { suggestFees } from "./fees.ts";
import { type ChainView, type Receipt, stepMined, stepQueued, stepSent } from "./queue-rules.ts";
import type { Change, QueueStore } from "./queue-store.ts";
import type { Attempt, Entry, QueueEventKind, QueueLimits, Reason } from "./queue-types.ts";
import type { Rpc } from "./rpc.ts";
import { nonceTaken, type Sender } from "./sender.ts";

export interface RoundOptions {
  rpc: Rpc;
  address: Address;
  store: QueueStore;
  limits: QueueLimits;
  sender: Sender;
  clock: Clock;
}

interface RawReceipt {
  transactionHash: Hex;
  blockNumber: Hex;
  blockHash: Hex;
  status: Hex;
  gasUsed: Hex;
}
interface RawBlock {
  number: Hex;
  timestamp: Hex;
}

/** Nonces lost to another program of the account before the next look. */
const NONCE_TRIES = 5;
const DEADLINE: Reason = {
  code: "DEADLINE_PASSED",
  message: "its time was over before the chain took it",
};
const reason = ({ code, message, hint }: MagnetError): Reason => ({
  code,
  message,
  ...(hint !== undefined && { hint }),
});

export class QueueRound {
  private readonly options: RoundOptions;
  /** Since when the next nonce belongs to nobody while later ones wait. */
  private gap: { nonce: number; since_ms: number; since_block: number } | undefined;

  constructor(options: RoundOptions) {
    this.options = options;
  }

  /** Returns what stands in the way of the rest; throws RPC_DOWN. */
  async run(live: Entry[]): Promise<MagnetError | undefined> {
    const view = await this.view();
    for (const entry of live)
      if (entry.state !== "queued" && entry.state !== "sent") await this.watch(entry, view);
    // Read again: a reorganisation has just put some back on their way.
    const sent = this.options.store.live().filter(({ state }) => state === "sent");
    sent.sort((a, b) => a.nonce! - b.nonce!);
    for (const entry of sent) await this.follow(entry, view);
    this.closeGap(view);
    return await this.sendQueued(view);
  }

  private async view(): Promise<ChainView> {
    const { rpc, address, clock } = this.options;
    const head = await rpc.request<RawBlock>("eth_getBlockByNumber", ["latest", false]);
    const pending = await rpc
      .request<RawBlock | null>("eth_getBlockByNumber", ["pending", false])
      .catch((error) => {
        if (error instanceof MagnetError) throw error;
        return null; // not every node has a pending block
      });
    const count = await rpc.request<Hex>("eth_getTransactionCount", [address, "latest"]);
    return {
      head: Number(head.number),
      next_nonce: Number(count),
      time_s: Math.max(Number(head.timestamp), Number(pending?.timestamp ?? 0)),
      now_ms: clock.now_ms(),
    };
  }

  /** The receipt of any signed form; forms share a nonce, so at most one is in a block. */
  private async receiptOf(attempts: Attempt[]): Promise<Receipt | undefined> {
    for (const { hash } of attempts.toReversed()) {
      const raw = await this.options.rpc.request<RawReceipt | null>("eth_getTransactionReceipt", [
        hash,
      ]);
      if (raw?.blockNumber == null) continue;
      return {
        hash,
        block_number: Number(raw.blockNumber),
        block_hash: raw.blockHash,
        succeeded: BigInt(raw.status) === 1n,
        gas_used: Number(raw.gasUsed),
      };
    }
    return undefined;
  }

  private turn(entry: Entry, change: Change, kind: QueueEventKind): void {
    const { store, clock } = this.options;
    store.exclusively(() => {
      store.update(entry.key, change);
      const tx_hash = change.tx_hash ?? store.attempts(entry.key).at(-1)?.hash ?? null;
      const why = change.reason ?? null;
      store.addEvent(entry, { at_ms: clock.now_ms(), kind, tx_hash, reason: why });
    });
  }

  private giveUp(entry: Entry, why: Reason, state: "failed" | "dropped"): void {
    const nonce = entry.pinned ? entry.nonce : null;
    this.turn(entry, { state, nonce, final: true, reason: why }, state);
  }

  /** A transaction that was in a block at the last look. */
  private async watch(entry: Entry, view: ChainView): Promise<void> {
    const { store, limits } = this.options;
    const attempts = store.attempts(entry.key);
    const receipt = await this.receiptOf(attempts);
    const step = stepMined(entry, receipt, view, limits, attempts);
    if (step.do === "finish") this.finish(entry);
    else if (step.do === "record") await this.record(entry, step.receipt, step.cancelled, view);
    else if (step.do === "unmine") {
      const none = { tx_hash: null, block_number: null, block_hash: null, gas_used: null };
      this.turn(entry, { state: "sent", reason: null, ...none }, "reorged");
      const mined = attempts.find(({ hash }) => hash === entry.tx_hash) ?? attempts.at(-1)!;
      store.touchAttempt(attempts.at(-1)!.hash, view.head);
      await this.options.sender.deliver(mined, entry.what);
    }
  }

  private finish(entry: Entry): void {
    this.turn(entry, { final: true, reason: entry.reason }, "confirmed");
  }

  private async record(entry: Entry, receipt: Receipt, cancelled: boolean, view: ChainView) {
    const { sender, store, limits } = this.options;
    const { hash, block_number, block_hash, gas_used } = receipt;
    const place = { tx_hash: hash, block_number, block_hash, gas_used };
    if (cancelled) this.turn(entry, { state: "dropped", reason: DEADLINE, ...place }, "dropped");
    else if (receipt.succeeded)
      this.turn(entry, { state: "mined", reason: null, ...place }, "mined");
    else {
      const used = store.attempts(entry.key).find((a) => a.hash === hash);
      const out_of_gas = used !== undefined && BigInt(gas_used) >= used.gas;
      const why = reason(await sender.whyReverted(entry, block_number, out_of_gas));
      this.turn(entry, { state: "reverted", reason: why, ...place }, "reverted");
    }
    if (view.head - block_number + 1 >= limits.confirmations) this.finish(store.get(entry.key)!);
  }

  /** A transaction on its way. */
  private async follow(entry: Entry, view: ChainView): Promise<void> {
    const { store, limits, rpc } = this.options;
    const attempts = store.attempts(entry.key);
    const last = attempts.at(-1)!;
    const receipt = await this.receiptOf(attempts);
    const in_pool =
      receipt === undefined &&
      (await rpc.request("eth_getTransactionByHash", [last.hash])) !== null;
    const step = stepSent(entry, { receipt, in_pool, attempts }, view, limits);
    if (step.do === "record") await this.record(entry, step.receipt, step.cancelled, view);
    else if (step.do === "resend") await this.resend(entry, last, view);
    else if (step.do === "replace") {
      // Where gas is free no fee is higher, and one above nothing could not be paid: it only waits
      // because it never arrived.
      const free = last.max_fee === 0n && (await suggestFees(rpc)).max_fee === 0n;
      if (!free) await this.replace(entry, attempts, view, step.cancel);
      else if (!in_pool) await this.resend(entry, last, view);
    } else if (step.do === "note_missing")
      store.update(entry.key, {
        missing_since_ms: view.now_ms,
        missing_since_block: view.head,
      });
    else if (step.do === "renonce") {
      const none = { missing_since_ms: null, missing_since_block: null };
      if (entry.pinned) this.giveUp(entry, reason(nonceTaken(entry)), "failed");
      else this.turn(entry, { state: "queued", nonce: null, ...none }, "requeued");
    }
  }

  /** The same bytes again; what was said of an earlier refusal no longer holds once they are taken. */
  private async resend(entry: Entry, attempt: Attempt, view: ChainView): Promise<void> {
    const outcome = await this.deliver(entry, attempt, view);
    if (outcome === "taken" && entry.reason !== null && entry.reason.code !== DEADLINE.code)
      this.options.store.update(entry.key, { reason: null });
  }

  private async replace(entry: Entry, attempts: Attempt[], view: ChainView, cancel: boolean) {
    const { sender, store } = this.options;
    try {
      const attempt = await sender.replacement(entry, attempts, view, cancel);
      if (attempt === undefined) return;
      this.turn(entry, { reason: cancel ? DEADLINE : null }, "replaced");
      await this.deliver(entry, attempt, view);
    } catch (error) {
      const known = toMagnetError(error);
      if (known.code !== "FEE_CAP") throw error;
      this.wait(entry, known);
      // Not each time anew: the next try comes after as many blocks again.
      store.touchAttempt(attempts.at(-1)!.hash, view.head);
    }
  }

  /** Says once why an entry does not go on. */
  private wait(entry: Entry, why: MagnetError): void {
    if (this.options.store.get(entry.key)?.reason?.code === why.code) return;
    this.turn(entry, { reason: reason(why) }, "waiting");
  }

  /**
   * Gives signed bytes to the RPC and draws the consequences; an error blocks the account. `fresh`:
   * for the first time, so whose nonce is used up elsewhere is nowhere else, and gets another.
   */
  private async deliver(
    entry: Entry,
    attempt: Attempt,
    view: ChainView,
    fresh = false,
  ): Promise<MagnetError | "taken" | "refused" | "again"> {
    const { sender, store, limits } = this.options;
    const delivery = await sender.deliver(attempt, entry.what);
    if (delivery.kind === "nonce_used" && fresh && this.release(entry, attempt)) return "again";
    if (delivery.kind === "underpriced" || delivery.kind === "nonce_used")
      store.touchAttempt(attempt.hash, view.head - limits.replace_after_blocks);
    if (delivery.kind !== "refused") return "taken";
    // Some chains mine at once and report the revert as a refusal.
    if ((await this.receiptOf([attempt])) !== undefined) return "taken";
    const { error, permanent } = delivery;
    const no_funds = error.code === "INSUFFICIENT_FUNDS";
    const released = (permanent || no_funds) && this.release(entry, attempt);
    if (released && permanent) this.giveUp(entry, reason(error), "failed");
    else this.wait(entry, error);
    return no_funds ? error : "refused";
  }

  /**
   * Takes a nonce back whose transaction was refused. Only where no later one is out, and no other
   * form of it: else it stays, and is tried again.
   */
  private release(entry: Entry, attempt: Attempt): boolean {
    const { store } = this.options;
    return store.exclusively(() => {
      const forms = store.attempts(entry.key).filter(({ nonce }) => nonce === attempt.nonce);
      if (store.highestNonce() !== attempt.nonce || forms.length > 1) return false;
      store.removeAttempt(attempt.hash);
      store.update(entry.key, { state: "queued", nonce: entry.pinned ? attempt.nonce : null });
      return true;
    });
  }

  /**
   * A nonce that nobody holds while later ones wait: a deep reorganisation has undone one of ours
   * that counted as final, or a transaction of another program. The first is sent again; the place
   * of the other is filled, so that ours go on.
   */
  private closeGap(view: ChainView): void {
    const { store, limits, address } = this.options;
    const nonces = store.live().flatMap(({ state, nonce }) => (state === "sent" ? [nonce!] : []));
    const { next_nonce: nonce, head, now_ms } = view;
    if (nonces.length === 0 || Math.min(...nonces) <= nonce) {
      this.gap = undefined;
      return;
    }
    const owner = store.byNonce(nonce);
    if (owner?.final && (owner.state === "mined" || owner.state === "reverted")) {
      const none = { tx_hash: null, block_number: null, block_hash: null, gas_used: null };
      this.turn(owner, { state: "sent", final: false, reason: null, ...none }, "reorged");
      return;
    }
    if (this.gap?.nonce !== nonce) this.gap = { nonce, since_ms: now_ms, since_block: head };
    const { since_ms, since_block } = this.gap;
    if (head - since_block < limits.confirmations && now_ms - since_ms < limits.missing_ms) return;
    const key = `fill:${nonce}:${now_ms}`;
    store.add({ key, what: "filling a gap", to: address, data: "0x", nonce }, now_ms);
    this.gap = undefined;
  }

  private async sendQueued(view: ChainView): Promise<MagnetError | undefined> {
    const { store, limits } = this.options;
    const live = store.live();
    let in_flight = live.filter(({ state }) => state === "sent").length;
    for (const entry of live) {
      if (entry.state !== "queued") continue;
      const step = stepQueued(entry, view);
      if (step === "drop") this.giveUp(entry, DEADLINE, "dropped");
      if (step !== "send") continue;
      if (in_flight >= limits.in_flight) return undefined;
      const outcome = await this.sendOne(entry, view, in_flight > 0);
      if (outcome instanceof MagnetError) return outcome;
      if (outcome === "sent") in_flight++;
    }
    return undefined;
  }

  /** Signs and sends one; a MagnetError stands in the way of all that come after it. */
  private async sendOne(entry: Entry, view: ChainView, others_on_their_way: boolean) {
    const { store, sender } = this.options;
    // A form of it under an earlier nonce may be in a block after all.
    const attempts = store.attempts(entry.key);
    const earlier = await this.receiptOf(attempts);
    if (earlier !== undefined) {
      const cancelled = attempts.some((a) => a.hash === earlier.hash && a.cancels);
      await this.record(entry, earlier, cancelled, view);
      return "known";
    }
    try {
      const gas = await sender.gasFor(entry);
      const fees = await sender.fees();
      for (let tries = 1; ; tries++) {
        const pending = await sender.pendingNonce();
        const attempt = sender.prepare(entry, gas, fees, view, pending);
        if (attempt === undefined) return "known";
        const outcome = await this.deliver(entry, attempt, view, true);
        if (outcome === "again" && tries < NONCE_TRIES) continue;
        if (outcome === "taken") this.turn(entry, { reason: null }, "sent");
        return outcome === "taken" ? "sent" : outcome;
      }
    } catch (error) {
      if (!(error instanceof MagnetError) || error.code === "RPC_DOWN") throw error;
      if (error.code === "INSUFFICIENT_FUNDS" || error.code === "FEE_CAP") {
        this.wait(entry, error);
        return error;
      }
      // It may need what is still on its way (an approval), or a moment that comes before its
      // deadline.
      const may_pass = error.retryable && entry.deadline_s !== null;
      if (error instanceof RevertError && (others_on_their_way || may_pass))
        this.wait(entry, error);
      else this.giveUp(entry, reason(error), "failed");
      return "given_up";
    }
  }
}
