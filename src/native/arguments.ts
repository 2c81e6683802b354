/**
 * Checks of arguments before they reach the library: bun:ffi itself lets a wrong number or an empty
 * buffer pass and crashes. One small function for each argument, made once when a symbol is bound.
 */
import { invariant } from "../core/errors.ts";

/**
 * Kinds of arguments: numbers are range-checked; `buffer` takes a typed array, an Address or null;
 * `handle` takes a non-null Address; `cancel` is filled in by the caller's AbortSignal (never
 * passed).
 */
export type ArgumentKind = "i32" | "u32" | "u64" | "f32" | "f64" | "buffer" | "handle" | "cancel";

/** What bun:ffi takes; a typed array stands for its address. */
export type Passed = number | bigint | NodeJS.TypedArray | null;
/** Gives what to pass for an argument; throws on anything that does not fit its kind. */
export type Check = (value: unknown) => Passed;

/** Out of line: the text is only made where a check fails. */
function refuse(symbol: string, index: number, what: string): never {
  invariant(false, `${symbol}, argument ${index}: ${what}`);
}

const checkBuffer =
  (symbol: string, index: number): Check =>
  (value) => {
    if (value === null || value === undefined) return null;
    if (typeof value === "number") return value;
    if (!ArrayBuffer.isView(value)) refuse(symbol, index, "not a typed array");
    // An empty array has no address.
    return value.byteLength === 0 ? null : (value as NodeJS.TypedArray);
  };

const checkU64 =
  (symbol: string, index: number): Check =>
  (value) => {
    if (typeof value === "number") {
      if (Number.isSafeInteger(value) && value >= 0) return value;
    } else if (typeof value === "bigint" && value >= 0n && value < 2n ** 64n) return value;
    refuse(symbol, index, `${String(value)} is not a u64`);
  };

const CHECKS: Record<ArgumentKind, (symbol: string, index: number) => Check> = {
  i32: (symbol, index) => (value) => {
    if (typeof value !== "number" || (value | 0) !== value)
      refuse(symbol, index, `${String(value)} is not a i32`);
    return value;
  },
  u32: (symbol, index) => (value) => {
    if (typeof value !== "number" || value >>> 0 !== value)
      refuse(symbol, index, `${String(value)} is not a u32`);
    return value;
  },
  u64: checkU64,
  f32: (symbol, index) => (value) => {
    if (typeof value !== "number") refuse(symbol, index, "not a number");
    return value;
  },
  f64: (symbol, index) => (value) => {
    if (typeof value !== "number") refuse(symbol, index, "not a number");
    return value;
  },
  handle: (symbol, index) => (value) => {
    if (typeof value !== "number" || !(value > 0)) refuse(symbol, index, "a null or freed handle");
    return value;
  },
  buffer: checkBuffer,
  cancel: () => () => null,
};

export const argumentCheck = (symbol: string, index: number, kind: ArgumentKind): Check =>
  CHECKS[kind](symbol, index);
