/**
 * Takes payments: each at most once, whatever arrives how often and at the same time, and whatever
 * crashes in between. A payment is held by one request from the first look at it until its answer
 * has ended; every other request with it is told so at once. What was taken and not answered is
 * owed (state `credit`), also after a crash; what never reached the chain is forgotten.
 */
import type { PaymentRequirements } from "@x402/core/types";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import { ApiError, busy } from "../serve/api-error.ts";
import { chainDown, type Facilitator, type Settlement } from "./facilitator.ts";
import { SETTLING_MAX } from "./limits.ts";
import { type Payment, PaymentRefused } from "./payment-header.ts";
import type { PaymentKey, PaymentRecord, PaymentStore } from "./payment-store.ts";

export interface DeskOptions {
  store: PaymentStore;
  facilitator: Facilitator;
  clock: Clock;
  log: Log;
  /** The chain's height as last seen. */
  block(): number;
  onSettled(amount: bigint, took_ms: number): void;
}

/** How a paid request ended: `spent` is answered; `owed` leaves the payment redeemable. */
export type Outcome = "spent" | "owed";

/** A payment in the hands of one request. */
export interface TakenPayment extends PaymentKey {
  amount: string;
  transaction: string | null;
  /** It was taken earlier, and answered only now. */
  redeemed: boolean;
  /** To be called once, when the answer has ended. */
  finish(outcome: Outcome): void;
}

const keyOf = ({ payer, nonce }: PaymentKey) => `${payer}/${nonce}`;

const inUse = () =>
  new ApiError(409, "payment_in_use", "another request with this payment is in work");
const answered = () =>
  new ApiError(409, "payment_answered", "this payment was used, and its request answered");
const otherRequest = () =>
  new ApiError(409, "payment_for_another_request", "this payment is being settled for another one");
/** What the payer gets instead of an answer to another request than it paid. */
export class PaymentOwed extends ApiError {
  constructor(readonly record: PaymentRecord) {
    super(
      409,
      "payment_owed",
      "this payment was taken for another request that was not answered: send that one again, or redeem the credit",
    );
  }
}

export class PaymentDesk {
  /** Payments that a request or the watch holds. */
  readonly #held = new Set<string>();
  #settling = 0;

  constructor(private readonly options: DeskOptions) {}

  /** The payment was seen before: taken, or being settled. */
  knows(key: PaymentKey): boolean {
    return this.options.store.get(key) !== undefined;
  }

  /** Takes a payment for a request, or goes on with one that was interrupted. Throws ApiError. */
  take(
    payment: Payment,
    accepts: PaymentRequirements,
    request: { request_hash: string; route: string },
  ): Promise<TakenPayment> {
    return this.#holding(payment, async () => {
      const { store } = this.options;
      const known = store.get(payment);
      if (known?.state === "answered") throw answered();
      // The same request may simply be sent again; another one needs the payer's signature.
      if (known !== undefined && known.request_hash !== request.request_hash)
        throw known.state === "credit" ? new PaymentOwed(known) : otherRequest();
      if (known?.state === "credit") return this.#redeem(known);
      const { transaction } = await this.#limited(() =>
        known === undefined
          ? this.#takeNew(payment, accepts, request)
          : this.#takeInterrupted(payment, accepts, known),
      );
      store.move(payment, "settling", "settled", this.options.clock.now_ms());
      return this.#taken(store.get(payment)!, transaction, false);
    });
  }

  /** Uses a credit for a request that costs no more. Throws 402, 409. */
  redeem(key: PaymentKey, price: bigint): Promise<TakenPayment> {
    return this.#holding(key, async () => {
      const known = this.options.store.get(key);
      if (known === undefined || known.state === "settling")
        throw new ApiError(402, "no_credit", "no payment of this payer and nonce was taken here");
      if (known.state === "answered") throw answered();
      if (BigInt(known.amount) < price)
        throw new ApiError(
          402,
          "credit_too_small",
          `the credit is ${known.amount}, this request costs ${price}; the credit stays`,
        );
      return this.#redeem(known);
    });
  }

  #redeem(known: PaymentRecord): TakenPayment {
    this.options.store.move(known, "credit", "redeeming", this.options.clock.now_ms());
    return this.#taken(known, known.transaction_hash, true);
  }

  #taken(known: PaymentRecord, transaction: string | null, redeemed: boolean): TakenPayment {
    const { store, clock, log } = this.options;
    const { payer, nonce, amount } = known;
    let finished = false;
    return {
      ...{ payer, nonce, amount, transaction, redeemed },
      finish: (outcome) => {
        if (finished) return;
        finished = true;
        const from = redeemed ? "redeeming" : "settled";
        store.move(known, from, outcome === "spent" ? "answered" : "credit", clock.now_ms());
        this.#held.delete(keyOf(known));
        if (outcome === "owed") log.warn("payment_owed", { payer, nonce, amount });
      },
    };
  }

  /** Holds the payment while `work` runs, and longer where it succeeds: until `finish`. */
  async #holding(key: PaymentKey, work: () => Promise<TakenPayment>): Promise<TakenPayment> {
    const name = keyOf(key);
    if (this.#held.has(name)) throw inUse();
    this.#held.add(name);
    try {
      return await work();
    } catch (error) {
      this.#held.delete(name);
      throw error;
    }
  }

  async #limited<T>(work: () => Promise<T>): Promise<T> {
    if (this.#settling >= SETTLING_MAX)
      throw busy(503, "server_busy", `${SETTLING_MAX} payments are being settled`);
    this.#settling++;
    try {
      return await work();
    } finally {
      this.#settling--;
    }
  }

  async #takeNew(
    payment: Payment,
    accepts: PaymentRequirements,
    request: { request_hash: string; route: string },
  ): Promise<Settlement> {
    const { store, facilitator, clock, block } = this.options;
    await facilitator.verify(payment, accepts);
    // Written before anything moves: whatever happens next, it is known what this payment is for.
    if (!store.claim(payment, { ...request, block: block() }, clock.now_ms())) throw inUse();
    return this.#settle(payment, accepts);
  }

  async #takeInterrupted(
    payment: Payment,
    accepts: PaymentRequirements,
    known: PaymentRecord,
  ): Promise<Settlement> {
    const found = await this.#lookup(known);
    if (found === "unused") return this.#settle(payment, accepts);
    return this.#paidOr(known, found, () => this.#usedElsewhere());
  }

  async #settle(payment: Payment, accepts: PaymentRequirements): Promise<Settlement> {
    const { store, facilitator, onSettled } = this.options;
    const started = performance.now();
    try {
      const settled = await facilitator.settle(payment, accepts, (hash) =>
        store.setTransaction(payment, hash),
      );
      onSettled(payment.value, performance.now() - started);
      return settled;
    } catch (error) {
      if (!(error instanceof PaymentRefused)) throw error; // not known: the row stays
      // Anyone may send an authorization that was seen on its way: then it is paid all the same.
      const known = store.get(payment)!;
      return this.#paidOr(known, await this.#lookup(known), () => error);
    }
  }

  /** The settlement, or the row is forgotten and the failure thrown. */
  #paidOr(
    known: PaymentRecord,
    found: Awaited<ReturnType<Facilitator["lookup"]>>,
    failure: () => ApiError,
  ): Settlement {
    const { store } = this.options;
    if (typeof found === "object") {
      store.setTransaction(known, found.paid.transaction);
      return found.paid;
    }
    store.remove(known);
    throw failure();
  }

  readonly #usedElsewhere = () =>
    new PaymentRefused("payment_used", "the authorization was used or cancelled elsewhere");

  #lookup(known: PaymentRecord): ReturnType<Facilitator["lookup"]> {
    return this.options.facilitator.lookup(known).catch((cause: unknown) => {
      throw chainDown(cause);
    });
  }

  /**
   * Looks at payments whose settling was interrupted and that nobody holds: paid ones become
   * credits, those that can no longer be paid are forgotten. chain_time_s: of the latest block.
   */
  async reviewOpen(chain_time_s: number): Promise<void> {
    const { store, facilitator, clock, log } = this.options;
    for (const record of store.inState("settling")) {
      const name = keyOf(record);
      if (this.#held.has(name)) continue;
      this.#held.add(name);
      try {
        const found = await facilitator.lookup(record);
        if (typeof found === "object") {
          store.setTransaction(record, found.paid.transaction);
          store.move(record, "settling", "credit", clock.now_ms());
          log.warn("payment_owed", { payer: record.payer, nonce: record.nonce });
        } else if (found === "used_otherwise" || BigInt(record.valid_before) < chain_time_s)
          store.remove(record);
      } finally {
        this.#held.delete(name);
      }
    }
  }
}
