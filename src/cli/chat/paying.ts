/**
 * `magnet chat --pay`: what may be spent, who is asked, and what was spent. Without --yes a person
 * agrees to the first payment of a chat and to every one that is higher than what was agreed to.
 */
import { randomUUID } from "node:crypto";
import { keyStorageOf } from "../../agent/key-place.ts";
import { formatMag, parseMag } from "../../chain/amounts.ts";
import { systemClock } from "../../core/clock.ts";
import type { ConfigValues } from "../../core/config-schema.ts";
import { MagnetError } from "../../core/errors.ts";
import type { PurchaseOfAnswer } from "../../http/pay/buyer.ts";
import type { AllowedToken } from "../../http/pay/payment-offer.ts";
import type { SpendingCaps } from "../../http/pay/spending-book.ts";
import { loadIdentity } from "../../network/key-storage.ts";
import type { Context } from "../frame/command.ts";
import { usageError } from "../frame/strict.ts";
import { ledgerPlace } from "../ledger-place.ts";
import type { PaidFor } from "./answer-source.ts";

export const PAY_FLAGS = {
  pay: { type: "boolean", summary: "pay for answers where the server sells them (--url)" },
  "max-per-request": { type: "string", value: "MAG", summary: "an answer may cost (0.01)" },
  "max-per-session": { type: "string", value: "MAG", summary: "this chat may spend (0.1)" },
  "max-per-day": { type: "string", value: "MAG", summary: "this machine may spend a day (1)" },
  "pay-token": { type: "string", value: "CHAIN_ID:ADDRESS", summary: "token (the network's)" },
  network: { type: "string", value: "FILE", summary: "network file that names the token" },
} as const;

export interface PayFlags {
  pay: boolean;
  max_per_request: string | undefined;
  max_per_session: string | undefined;
  max_per_day: string | undefined;
  pay_token: string | undefined;
  network: string | undefined;
}

/** The flags as settings. */
export const paySettings = (flags: PayFlags): Record<string, unknown> => ({
  "pay.max_per_request": flags.max_per_request,
  "pay.max_per_session": flags.max_per_session,
  "pay.max_per_day": flags.max_per_day,
  "pay.token": flags.pay_token,
  "network.file": flags.network,
});

/** Pays for the answers of one chat. */
export interface Payer {
  /** For one answer. */
  purchase(): PurchaseOfAnswer;
  /** What a finished purchase cost, and what that makes in all; undefined where nothing was paid. */
  costOf(purchase: PurchaseOfAnswer): PaidFor | undefined;
  close(): void;
}

function tokenOf(values: ConfigValues): AllowedToken {
  const { token } = values.pay;
  if (token !== "") {
    const [chain_id, asset] = token.split(":") as [string, string];
    return { chain_id: Number(chain_id), asset: asset.toLowerCase() };
  }
  const { ledger } = ledgerPlace(values);
  return { chain_id: ledger.chain_id, asset: ledger.contracts.mag_token.toLowerCase() };
}

const capsOf = ({ pay }: ConfigValues): SpendingCaps => ({
  per_request: parseMag(pay.max_per_request),
  per_session: parseMag(pay.max_per_session),
  per_day: parseMag(pay.max_per_day),
});

/** Whom a person at the terminal is asked by; undefined where there is none. */
export type Question = ((text: string) => Promise<string>) | undefined;

/** Opens the book and the key. `question` may change while the chat runs. */
export async function openPayer(
  context: Context,
  values: ConfigValues,
  question: () => Question,
): Promise<Payer> {
  const { PurchaseOfAnswer } = await import("../../http/pay/buyer.ts");
  const { SpendingBook, spendingFile } = await import("../../http/pay/spending-book.ts");
  const { ledgerAccount } = await import("../../chain/client/account.ts");
  const allowed = tokenOf(values);
  const caps = capsOf(values);
  const account = ledgerAccount(loadIdentity(keyStorageOf(values, process.env)));
  const book = new SpendingBook(spendingFile(values.node.data_dir));
  const session = randomUUID();
  let agreed = -1n;
  const consent = async (amount: bigint, to: { url: string; pay_to: string }) => {
    if (context.global.yes || amount <= agreed) return true;
    const ask = question();
    if (ask === undefined) throw needsYes(amount);
    const text = `${to.url} asks ${formatMag(amount)} MAG for the answer, to ${to.pay_to}. Pay it and others up to it in this chat? [y/N] `;
    if (!/^y(es)?$/i.test((await ask(text)).trim())) return false;
    agreed = amount;
    return true;
  };
  const { out } = context;
  const warn = (text: string) => out.warn(text);
  return {
    purchase: () =>
      new PurchaseOfAnswer({
        ...{ account, allowed, caps, book, session, consent, warn, clock: systemClock },
      }),
    costOf({ paid }) {
      if (paid === undefined) return undefined;
      const spent = book.spent(session, systemClock.now_ms());
      return {
        amount: paid.redeemed ? "0" : paid.amount.toString(),
        ...{ transaction: paid.transaction, nonce: paid.nonce, redeemed: paid.redeemed },
        session: spent.session.toString(),
        day: spent.day.toString(),
      };
    },
    close: () => book.close(),
  };
}

const needsYes = (amount: bigint) =>
  new MagnetError("PAYMENT_UNASKED", `the server asks ${formatMag(amount)} MAG`, {
    hint: "nobody is here to agree: run with --yes; the limits hold all the same",
    exit: "usage",
  });

/** Throws unless the flags of paying make sense together. */
export function checkPayFlags(flags: PayFlags & { url: string | undefined }): void {
  const limits = [flags.max_per_request, flags.max_per_session, flags.max_per_day, flags.pay_token];
  if (!flags.pay && limits.some((flag) => flag !== undefined))
    throw usageError("MISSING_FLAG", "limits are of a chat that pays", "add --pay");
  if (flags.pay && flags.url === undefined)
    throw usageError("MISSING_FLAG", "only a server can be paid", "add --url URL");
}
