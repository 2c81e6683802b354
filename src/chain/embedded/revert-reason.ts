/** Reads what Solidity puts into a revert: Error(string) and Panic(uint256). */
import { bytesToQuantity, toHex } from "./hex.ts";

const ERROR = "0x08c379a0";
const PANIC = "0x4e487b71";
/** A contract may return megabytes as its reason; people read a line. */
const REASON_MAX = 500;

const PANICS: Record<string, string> = {
  "1": "assertion failed",
  "17": "arithmetic overflow or underflow",
  "18": "division or modulo by zero",
  "33": "conversion into a non-existent enum value",
  "34": "incorrectly encoded storage byte array",
  "49": "pop of an empty array",
  "50": "array index out of bounds",
  "65": "too much memory allocated",
  "81": "call of an uninitialised function",
};

/** The reason in words; undefined for a custom error, which only its contract's ABI can read. */
export function revertReason(data: Uint8Array): string | undefined {
  const selector = toHex(data.subarray(0, 4));
  const body = data.subarray(4);
  if (selector === PANIC && body.length === 32) {
    const code = bytesToQuantity(body).toString();
    return `panic: ${PANICS[code] ?? `code ${code}`} (0x${BigInt(code).toString(16)})`;
  }
  if (selector !== ERROR || body.length < 64) return undefined;
  const length = bytesToQuantity(body.subarray(32, 64));
  if (bytesToQuantity(body.subarray(0, 32)) !== 32n || length > BigInt(body.length - 64))
    return undefined;
  const text = new TextDecoder().decode(body.subarray(64, 64 + Number(length)));
  return text.slice(0, REASON_MAX);
}
