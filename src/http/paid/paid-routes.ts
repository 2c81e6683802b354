/**
 * Routes of the paid API beside the sold ones: the offer, the credit of a payment, and where
 * customers hand in their serving receipts. All are free and open.
 */

import type { ReceiptStore } from "../../chain/receipts/receipt-store.ts";
import { checkedReceipt } from "../../chain/receipts/serving-receipt.ts";
import { toMagnetError } from "../../core/errors.ts";
import { ApiError, badRequest } from "../serve/api-error.ts";
import type { ServeContext, ServeHono, ServeParts } from "../serve/context.ts";
import { signCredit } from "./credits.ts";
import { RECEIPT_BYTES_MAX } from "./limits.ts";
import { networkOf } from "./offer.ts";
import type { GuardOptions } from "./paid-guard.ts";
import type { PaymentStore } from "./payment-store.ts";
import { priceDocument } from "./prices.ts";
import { SOLD_ROUTES } from "./sold-routes.ts";

export interface PaidRoutesOptions extends GuardOptions {
  store: PaymentStore;
  receipts: ReceiptStore;
}

export function addPaidRoutes(app: ServeHono, options: PaidRoutesOptions, parts: ServeParts): void {
  app.get("/x402", (context) => context.json(offerDocument(options)));
  app.get("/x402/credits/:payer/:nonce", (context) => credit(context, options));
  app.post("/x402/receipts", (context) => takeReceipt(context, options, parts));
}

/** The document magnet.paid_offer/1. */
function offerDocument({ till, prices, chainUp }: PaidRoutesOptions): object {
  const models = [...prices.models].map(([id, price]) => [id, priceDocument(price)]);
  return {
    schema: "magnet.paid_offer/1",
    x402_version: 2,
    scheme: "exact",
    network: networkOf(till),
    asset: till.asset,
    pay_to: till.pay_to,
    server: till.server,
    available: chainUp(),
    routes: SOLD_ROUTES,
    prices: { all: priceDocument(prices.all), models: Object.fromEntries(models) },
  };
}

/** What is owed is no secret: only the payer can redeem it. */
async function credit(context: ServeContext, options: PaidRoutesOptions): Promise<Response> {
  const { payer = "", nonce = "" } = context.req.param() as { payer?: string; nonce?: string };
  if (!/^0x[0-9a-f]{40}$/.test(payer) || !/^0x[0-9a-f]{64}$/.test(nonce))
    throw badRequest("invalid_parameter", "payer and nonce are lower-case hex that begins with 0x");
  const record = options.store.get({ payer, nonce });
  if (record === undefined)
    throw new ApiError(404, "no_credit", "no payment of this payer and nonce is known");
  if (record.state !== "credit")
    return context.json({ payer, nonce, state: record.state, credit: null });
  const signed = await signCredit(options.till, record, options.account);
  return context.json({ payer, nonce, state: record.state, credit: signed });
}

/** Keeps the receipt of a payment that was taken here and answered. */
async function takeReceipt(
  context: ServeContext,
  { store, receipts, till, clock, metrics }: PaidRoutesOptions,
  parts: ServeParts,
): Promise<Response> {
  try {
    const bytes = await parts.bytes(context);
    if (bytes.byteLength > RECEIPT_BYTES_MAX)
      throw new ApiError(413, "request_too_large", "a serving receipt is smaller");
    const receipt = await checkedReceipt(await parts.body(context)).catch((error: unknown) => {
      const { code, message } = toMagnetError(error);
      throw code === "BAD_RECEIPT" ? badRequest("bad_receipt", message) : error;
    });
    const paid = store.get(receipt);
    const ours =
      paid !== undefined &&
      receipt.chain_id === till.chain_id &&
      receipt.asset === till.asset.toLowerCase() &&
      receipt.server === till.server.toLowerCase() &&
      paid.state !== "settling";
    if (!ours)
      throw new ApiError(404, "unknown_payment", "no such payment was taken by this server");
    const kept = receipts.add(receipt, clock.now_ms());
    metrics.receipt(kept ? "kept" : "known");
    return context.json({ kept: true, new: kept });
  } catch (error) {
    metrics.receipt("refused");
    throw error;
  }
}
