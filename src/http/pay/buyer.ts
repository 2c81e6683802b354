/**
 * Buys answers: a fetch that pays when a server asks for it, within limits that outlast the process.
 * A payment is entered into the book before it is sent; the same request is sent again with the same
 * payment when the connection breaks, which a server answers once; what a server owes is used
 * before anything new is paid. After the answer the buyer signs what it got: the serving receipt.
 */
import { ExactEvmScheme } from "@x402/evm/exact/client";
import type { LocalAccount } from "viem";
import { z } from "zod";
import { signReceipt } from "../../chain/receipts/serving-receipt.ts";
import { sha256Hex } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { MagnetError } from "../../core/errors.ts";
import { CREDIT_HEADER, isSignedCredit, REDEEM_HEADER, signRedemption } from "../paid/credits.ts";
import { headerValue } from "../paid/offer.ts";
import { type AllowedToken, type PaymentOffer, readOffer } from "./payment-offer.ts";
import type { KeptPurchase, SpendingBook, SpendingCaps } from "./spending-book.ts";

export interface BuyerOptions {
  account: LocalAccount;
  allowed: AllowedToken;
  caps: SpendingCaps;
  book: SpendingBook;
  /** Names this run: the limit of a session counts by it. */
  session: string;
  clock: Clock;
  /** Asked before every payment; false declines. */
  consent(amount: bigint, to: { url: string; pay_to: string }): Promise<boolean>;
  /** Told of what cannot be helped and does not stop an answer. */
  warn(text: string): void;
  fetch?: typeof fetch;
}

/** What an answer was paid with. */
export interface PaidWith {
  nonce: string;
  amount: bigint;
  transaction: string;
  /** By a credit: nothing was paid this time. */
  redeemed: boolean;
}

/** How often a request is sent with one payment where the answer does not come. */
const TRIES = 4;
/** Longest wait that a server's Retry-After is followed for. */
const RETRY_S_MAX = 30;
const RECEIPT_TIMEOUT_MS = 10_000;
const REDEMPTION_VALID_S = 120;

const settlementSchema = z.object({
  success: z.boolean(),
  transaction: z.string().regex(/^0x[0-9a-fA-F]{64}$/),
});
const creditAnswer = z.object({
  state: z.string(),
  credit: z.record(z.string(), z.unknown()).nullable(),
});

function headerJson(response: Response, name: string): unknown {
  const text = response.headers.get(name);
  if (text === null) return undefined;
  try {
    return JSON.parse(Buffer.from(text, "base64").toString("utf8"));
  } catch {
    return undefined; // as good as none: what it would have said is asked for elsewhere
  }
}

/** One answer: its request, its payment, and its receipt. */
export class PurchaseOfAnswer {
  #paid: PaidWith | undefined;
  #offer: PaymentOffer | undefined;
  #origin = "";

  constructor(private readonly options: BuyerOptions) {}

  get paid(): PaidWith | undefined {
    return this.#paid;
  }

  /** As fetch; pays where it is asked to. Throws BAD_OFFER, SPENDING_CAP, PAYMENT_DECLINED. */
  readonly fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const { fetch: plain = fetch, allowed, book, account } = this.options;
    const url = new URL(input instanceof Request ? input.url : input);
    this.#origin = url.origin;
    const first = await plain(input, init);
    const header = first.headers.get("payment-required");
    if (first.status !== 402 || header === null) return first;
    await first.body?.cancel();
    const offer = readOffer(header, allowed);
    this.#offer = offer;
    const payer = account.address.toLowerCase();
    for (const open of book.open(this.#origin)) await this.#askFor(open);
    const owed = book.creditOf(offer.server, allowed.asset, payer, offer.amount);
    if (owed === undefined) return this.#pay(url, init, offer);
    const answer = await this.#redeem(url, init, owed);
    // A server that does not know its own credit any more is paid, once, as any other.
    return answer ?? this.#pay(url, init, offer);
  };

  async #pay(url: URL, init: RequestInit | undefined, offer: PaymentOffer): Promise<Response> {
    const { account, allowed, book, caps, clock, consent, session } = this.options;
    const { amount, pay_to, server, requirements } = offer;
    book.check(amount, caps, session, clock.now_ms());
    if (!(await consent(amount, { url: url.origin, pay_to })))
      throw new MagnetError("PAYMENT_DECLINED", "the payment was declined: nothing was paid", {
        hint: "ask again and agree, or run with --yes and limits that suit you",
      });
    const { payload } = await new ExactEvmScheme(account).createPaymentPayload(2, requirements);
    const { nonce, validBefore } = (payload as unknown as Authorized).authorization;
    const entry = { nonce: nonce.toLowerCase(), session, url: url.origin, server, pay_to, amount };
    const place = { network: requirements.network, asset: allowed.asset };
    const payer = account.address.toLowerCase();
    const valid_before_s = Number(validBefore);
    book.enter({ ...entry, ...place, payer, valid_before_s }, caps, clock.now_ms());
    const payment = { x402Version: 2, accepted: requirements, payload };
    const sent = await this.#send(url, init, { "payment-signature": headerValue(payment) });
    await this.#note(sent, { nonce: entry.nonce, amount, redeemed: false });
    return sent;
  }

  /** The owed answer; undefined where the server does not take its credit. */
  async #redeem(
    url: URL,
    init: RequestInit | undefined,
    owed: { nonce: string; amount: string; transaction_hash: string | null },
  ): Promise<Response | undefined> {
    const { account, allowed, book, clock } = this.options;
    const body = init?.body;
    if (typeof body !== "string") return undefined;
    const valid_before = Math.floor(clock.now_ms() / 1000) + REDEMPTION_VALID_S;
    const payer = account.address.toLowerCase();
    const redemption = await signRedemption(
      { ...allowed, asset: allowed.asset as `0x${string}`, server: this.#serverAddress() },
      { payer, nonce: owed.nonce, valid_before },
      `0x${sha256Hex(url.pathname, "\n", body)}`,
      account as never,
    );
    const sent = await this.#send(url, init, { [REDEEM_HEADER]: headerValue(redemption) });
    if (sent.status === 402 || sent.status === 409) {
      await sent.body?.cancel();
      book.setCredit(owed.nonce, null);
      return undefined;
    }
    if (sent.ok) book.setCredit(owed.nonce, null);
    await this.#note(sent, { nonce: owed.nonce, amount: BigInt(owed.amount), redeemed: true });
    return sent;
  }

  readonly #serverAddress = () => this.#offer!.server as `0x${string}`;

  /** Sends until an answer comes; one payment is answered once, so sending it again is safe. */
  async #send(
    url: URL,
    init: RequestInit | undefined,
    headers: Record<string, string>,
  ): Promise<Response> {
    const { fetch: plain = fetch } = this.options;
    const all = new Headers(init?.headers);
    for (const [name, value] of Object.entries(headers)) all.set(name, value);
    for (let tries = 1; ; tries++) {
      let wait_s = 1;
      try {
        const response = await plain(url, { ...init, headers: all });
        const again = response.status === 503 && response.headers.get(CREDIT_HEADER) === null;
        if (!again || tries >= TRIES) return response;
        wait_s = Number(response.headers.get("retry-after")) || 1;
        await response.body?.cancel();
      } catch (error) {
        if (init?.signal?.aborted || tries >= TRIES) throw error;
      }
      await wait(Math.min(wait_s, RETRY_S_MAX) * 1000, init?.signal);
    }
  }

  /** Enters what the answer says of the payment. */
  async #note(response: Response, facts: Omit<PaidWith, "transaction">): Promise<void> {
    const { book } = this.options;
    const settlement = settlementSchema.safeParse(headerJson(response, "payment-response"));
    if (settlement.success && settlement.data.success) {
      const { transaction } = settlement.data;
      book.paid(facts.nonce, transaction.toLowerCase());
      this.#paid = { ...facts, transaction: transaction.toLowerCase() };
    } else if (response.status === 402 || response.status === 400) book.refused(facts.nonce);
    const credit = headerJson(response, CREDIT_HEADER);
    if (credit !== undefined) await this.#keepCredit(facts.nonce, credit);
  }

  async #keepCredit(nonce: string, credit: unknown): Promise<boolean> {
    const { allowed, book } = this.options;
    const place = { chain_id: allowed.chain_id, asset: allowed.asset as `0x${string}` };
    const server = this.#serverAddress();
    if (!(await isSignedCredit({ ...place, server }, credit))) return false;
    book.setCredit(nonce, credit as object);
    return true;
  }

  /** The answer broke off: whether the server owes another one. Never throws. */
  async failed(): Promise<boolean> {
    const kept = this.#paid && this.options.book.get(this.#paid.nonce);
    return kept !== undefined && (await this.#askFor(kept));
  }

  /** Whether the server owes an answer for a payment; what it owes is kept. Never throws. */
  async #askFor({ nonce, valid_before_s }: KeptPurchase): Promise<boolean> {
    const { fetch: plain = fetch, account, book, clock } = this.options;
    const place = `${account.address.toLowerCase()}/${nonce}`;
    try {
      const response = await plain(`${this.#origin}/x402/credits/${place}`, {
        signal: AbortSignal.timeout(RECEIPT_TIMEOUT_MS),
      });
      // Never taken, and it can no longer be: nothing was spent.
      if (response.status === 404 && valid_before_s * 1000 < clock.now_ms()) book.refused(nonce);
      const { state, credit } = creditAnswer.parse(await response.json());
      if (state === "answered") book.closed(nonce);
      return credit !== null && (await this.#keepCredit(nonce, credit));
    } catch {
      return false; // the server is away, or of another kind: it is asked again before the next
    }
  }

  /** Signs what was got (tokens of prompt and answer), keeps the receipt, hands it in. Never throws. */
  async answered(tokens: number): Promise<void> {
    const { account, allowed, book, warn } = this.options;
    const paid = this.#paid;
    const kept = paid && book.get(paid.nonce);
    if (paid === undefined || kept === undefined || tokens < 1) return;
    try {
      const { chain_id, asset } = allowed;
      const { server, payer, nonce } = kept;
      const unsigned = { chain_id, asset, server, payer, nonce, tokens };
      book.setReceipt(nonce, await signReceipt(unsigned, account as never));
      book.closed(nonce);
      await this.#handIn();
    } catch (error) {
      warn(`the serving receipt was not handed in: ${(error as Error).message}`);
    }
  }

  /** Hands in what this server has not got, of earlier answers too. */
  async #handIn(): Promise<void> {
    const { book, fetch: plain = fetch } = this.options;
    for (const { nonce, receipt } of book.unsentReceipts(this.#origin)) {
      const response = await plain(`${this.#origin}/x402/receipts`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: receipt!,
        signal: AbortSignal.timeout(RECEIPT_TIMEOUT_MS),
      });
      await response.body?.cancel();
      // A server that refuses it will refuse it again; the receipt stays in the book.
      if (response.ok || response.status < 500) book.receiptSent(nonce);
    }
  }
}

interface Authorized {
  authorization: { nonce: string; validBefore: string };
}

/** Fulfilled after `ms`, or at once when the signal comes. */
function wait(ms: number, signal: AbortSignal | null | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted) end();
  });
}
