/**
 * Amounts of the token: bigint base units in code, decimal strings in JSON, "12.5" MAG for people.
 */
import { MagnetError } from "../core/errors.ts";

/** Base units of one MAG (18 decimals, as Ether has). */
export const MAG = 10n ** 18n;
const DECIMALS = 18;

/** 12500000000000000000n -> "12.5"; exact. */
export function formatMag(amount: bigint): string {
  const sign = amount < 0n ? "-" : "";
  const digits = (amount < 0n ? -amount : amount).toString().padStart(DECIMALS + 1, "0");
  const fraction = digits.slice(-DECIMALS).replace(/0+$/, "");
  return `${sign}${digits.slice(0, -DECIMALS)}${fraction === "" ? "" : `.${fraction}`}`;
}

/** "12.5" as base units. Throws BAD_AMOUNT: no sign, no exponent, at most 18 decimals. */
export function parseMag(text: string): bigint {
  const match = /^(\d{1,18})(?:\.(\d{1,18}))?$/.exec(text.trim());
  if (match === null)
    throw new MagnetError("BAD_AMOUNT", `"${text}" is no amount of MAG`, {
      hint: "write it like 12.5, with at most 18 decimals",
      exit: "usage",
    });
  return BigInt(match[1]!) * MAG + BigInt((match[2] ?? "").padEnd(DECIMALS, "0"));
}
