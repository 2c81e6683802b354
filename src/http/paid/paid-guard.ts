/**
 * The guard of sold routes: payment first, then the work. The handler runs only when the money has
 * moved (or a credit is used), exactly once for each payment; its answer passes through untouched,
 * so that a stream begins when the model does. An answer that fails leaves the payment owed. (x402's
 * own middleware collects a whole answer before it sends it, and in its ordinary flow five copies of
 * one payment ran the handler five times.)
 */
import type { PaymentRequirements } from "@x402/core/types";
import type { MiddlewareHandler } from "hono";
import { sha256Hex } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { ollamaError } from "../ollama/routes.ts";
import { errorObject } from "../openai/envelope.ts";
import { ApiError, toApiError } from "../serve/api-error.ts";
import type { ServeContext, ServeEnvironment, ServeParts } from "../serve/context.ts";
import type { RequestWork } from "../serve/request-work.ts";
import {
  type Account,
  CREDIT_HEADER,
  checkedRedemption,
  REDEEM_HEADER,
  signCredit,
} from "./credits.ts";
import { chainDown } from "./facilitator.ts";
import { headerValue, networkOf, paymentRequired, requirements, type Till } from "./offer.ts";
import type { PaidMetrics } from "./paid-metrics.ts";
import { type Outcome, type PaymentDesk, PaymentOwed, type TakenPayment } from "./payment-desk.ts";
import { checkPayment, parsePayment } from "./payment-header.ts";
import { type PriceList, quote } from "./prices.ts";
import { readerOf } from "./sold-routes.ts";

/** x402 version 2's names of its headers. */
export const PAYMENT_HEADER = "payment-signature";
export const REQUIRED_HEADER = "payment-required";
export const RESPONSE_HEADER = "payment-response";

export interface GuardOptions {
  till: Till;
  prices: PriceList;
  desk: PaymentDesk;
  account: Account;
  clock: Clock;
  metrics: PaidMetrics;
  /** The chain answered when it was last looked at. */
  chainUp(): boolean;
}

/** A request to a sold route: what it costs, and what it is. */
interface Sale {
  route: string;
  amount: bigint;
  accepts: PaymentRequirements;
  request_hash: string;
  now_s: number;
}

export function paidGuard(
  options: GuardOptions,
  parts: ServeParts,
): MiddlewareHandler<ServeEnvironment> {
  return async (context, next) => {
    const work = context.get("work");
    // The operator's own clients have keys.
    const reader = work.key_id === undefined && readerOf(context.req.method, context.req.path);
    if (!reader) return next();
    const order = reader(await parts.body(context));
    const model = parts.models.find(order.model);
    context.set("body", order.body);
    if (order.free) return next();
    const bytes = await parts.bytes(context);
    const output_tokens = order.choices * Math.min(order.max_tokens, model.context);
    const amount = quote(options.prices, {
      ...{ model: model.id, output_tokens, input_bytes: bytes.byteLength },
    });
    const sale: Sale = {
      ...{ route: work.route, amount, accepts: requirements(options.till, amount) },
      request_hash: `0x${sha256Hex(context.req.path, "\n", bytes)}`,
      now_s: Math.floor(options.clock.now_ms() / 1000),
    };
    return sell(options, context, sale, next);
  };
}

async function sell(
  options: GuardOptions,
  context: ServeContext,
  sale: Sale,
  next: () => Promise<void>,
): Promise<Response | undefined> {
  const { metrics } = options;
  const redemption = context.req.header(REDEEM_HEADER);
  const payment = context.req.header(PAYMENT_HEADER);
  if (redemption === undefined && payment === undefined) {
    if (!options.chainUp()) throw chainDown();
    metrics.request("quoted");
    return offerTo(context, sale, "payment_required", "pay to get an answer: see payment-required");
  }
  let taken: TakenPayment;
  try {
    taken = await takenFor(options, sale, redemption, payment);
  } catch (thrown) {
    metrics.request("refused");
    if (thrown instanceof PaymentOwed) await addCredit(options, context, thrown.record);
    const error = toApiError(thrown);
    if (error.status !== 402) throw thrown;
    return offerTo(context, sale, error.code, error.message);
  }
  metrics.request(taken.redeemed ? "redeemed" : "paid");
  return answer(options, context, taken, next);
}

async function takenFor(
  { till, desk }: GuardOptions,
  sale: Sale,
  redemption: string | undefined,
  payment: string | undefined,
): Promise<TakenPayment> {
  const { request_hash, now_s, amount, accepts, route } = sale;
  if (redemption !== undefined)
    return desk.redeem(await checkedRedemption(till, redemption, request_hash, now_s), amount);
  const parsed = parsePayment(payment!);
  // A payment that was taken before needs no check of time and price: it is known.
  if (!desk.knows(parsed)) checkPayment(parsed, till, amount, now_s);
  return desk.take(parsed, accepts, { request_hash, route });
}

/** 402, with the offer in the header and the refusal in the API's own form. */
function offerTo(context: ServeContext, sale: Sale, code: string, message: string): Response {
  const error = context.get("work").fail(new ApiError(402, code, message));
  const required = paymentRequired(context.req.url, sale.accepts, code);
  const headers = { [REQUIRED_HEADER]: headerValue(required), "cache-control": "no-store" };
  const body = context.req.path.startsWith("/api/") ? ollamaError(error) : errorObject(error);
  return context.json(body, 402, headers);
}

/** Whether a finished request leaves its payment owed. */
export function outcomeOf(
  status: number,
  { cancelled, streaming }: Pick<RequestWork, "cancelled" | "streaming">,
  redeemed: boolean,
): Outcome {
  if (cancelled === "closed" || cancelled === "stalled")
    // Who went away after the answer began has had it. Before that the payment stays good once: a
    // credit that a customer leaves again is spent, or prompts could be computed without end.
    return streaming || redeemed ? "spent" : "owed";
  return status < 400 ? "spent" : "owed";
}

async function answer(
  options: GuardOptions,
  context: ServeContext,
  taken: TakenPayment,
  next: () => Promise<void>,
): Promise<undefined> {
  const work = context.get("work");
  work.onOutcome = (status) => {
    const outcome = outcomeOf(status, work, taken.redeemed);
    if (outcome === "owed") options.metrics.request("owed");
    taken.finish(outcome);
  };
  await next();
  const { headers } = context.res;
  headers.set(RESPONSE_HEADER, headerValue(settlementOf(options.till, taken)));
  if (!headers.has("cache-control")) headers.set("cache-control", "private");
  if (context.res.status >= 400) await addCredit(options, context, taken);
  return undefined;
}

/** x402's settlement response. */
const settlementOf = (till: Till, { transaction, payer, amount }: TakenPayment) => ({
  success: true,
  transaction: transaction ?? "",
  network: networkOf(till),
  ...{ payer, amount },
});

async function addCredit(
  { till, account }: GuardOptions,
  context: ServeContext,
  owed: { payer: string; nonce: string; amount: string },
): Promise<void> {
  context.header(CREDIT_HEADER, headerValue(await signCredit(till, owed, account)));
}
