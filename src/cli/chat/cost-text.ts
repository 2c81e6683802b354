/** What a chat says of what it paid. */
import { formatMag } from "../../chain/amounts.ts";
import type { PaidFor } from "./answer-source.ts";

/** One line for people. */
export function costText(paid: PaidFor): string {
  const all = `${formatMag(BigInt(paid.session))} MAG in this chat, ${formatMag(BigInt(paid.day))} today`;
  if (paid.redeemed) return `(owed from before, nothing paid; ${all})`;
  return `(paid ${formatMag(BigInt(paid.amount))} MAG; ${all})`;
}
