/**
 * Checked calls into the native library. bun:ffi itself checks arguments weakly (a wrong count or
 * an empty buffer passes and crashes), so every symbol is declared with its argument kinds and
 * called through `bind`, which checks each one and turns a status code into a MagnetError with the
 * library's message. Long calls go through `bindAsync`, which runs them on the worker pool.
 */
import { dlopen, FFIType, type Pointer, ptr, toArrayBuffer } from "bun:ffi";
import { invariant, MagnetError } from "../core/errors.ts";
import { type ArgumentKind, argumentCheck, type Check, type Passed } from "./arguments.ts";
import { libraryFile } from "./loader.ts";
import { runOnPool } from "./pool.ts";

/** Address of a native object or array; 0 is null. */
export type Address = number & { readonly address: unique symbol };
export const NULL = 0 as Address;

type Values = {
  i32: number;
  u32: number;
  u64: number | bigint;
  f32: number;
  f64: number;
  buffer: NodeJS.TypedArray | Address | null;
  handle: Address;
};
type Arguments<K extends readonly ArgumentKind[]> = K extends readonly [
  infer First extends ArgumentKind,
  ...infer Rest extends readonly ArgumentKind[],
]
  ? First extends "cancel"
    ? Arguments<Rest>
    : [Values[Exclude<First, "cancel">], ...Arguments<Rest>]
  : [];
export type Declarations = Record<string, readonly ArgumentKind[]>;
export type Bound<D extends Declarations> = {
  [N in keyof D]: (...args: Arguments<D[N]>) => void;
};
export type BoundAsync<D extends Declarations> = {
  [N in keyof D]: (signal: AbortSignal | undefined, ...args: Arguments<D[N]>) => Promise<void>;
};

export const FFI_TYPES: Record<ArgumentKind, FFIType> = {
  i32: FFIType.i32,
  u32: FFIType.u32,
  u64: FFIType.u64,
  f32: FFIType.f32,
  f64: FFIType.f64,
  buffer: FFIType.ptr,
  handle: FFIType.ptr,
  cancel: FFIType.ptr,
};

type NativeCall = (...args: Passed[]) => number;

/** Status codes of magnet.h, as MagnetError codes. */
const STATUS_CODES: Record<number, string> = {
  [-1]: "NATIVE_INVALID",
  [-2]: "SHAPE_MISMATCH",
  [-3]: "OUT_OF_MEMORY",
  [-4]: "CANCELLED",
  [-5]: "NOT_A_NUMBER",
  [-6]: "BAD_FORMAT",
  [-7]: "UNSUPPORTED",
  [-8]: "NATIVE_INTERNAL",
};

export function statusError(status: number, symbol: string, message: string): MagnetError {
  const code = STATUS_CODES[status] ?? "NATIVE_INTERNAL";
  const text = message || `${symbol} failed with status ${status}`;
  return new MagnetError(code, text, code === "CANCELLED" ? { exit: "interrupted" } : {});
}

const library = dlopen(libraryFile, {
  mg_abi_version: { args: [], returns: FFIType.i32 },
});
invariant(library.symbols.mg_abi_version() === 1, "the embedded library has another ABI version");

const errorText = new Uint8Array(1024);
const LAST_ERROR = {
  mg_last_error: { args: [FFIType.ptr, FFIType.u64], returns: FFIType.i32 },
} as const;
const openLastError = (file: string) => dlopen(file, LAST_ERROR).symbols.mg_last_error;
const errorReaders = new Map([[libraryFile, openLastError(libraryFile)]]);
function lastNativeError(file: string): string {
  const read = errorReaders.get(file) ?? openLastError(file);
  errorReaders.set(file, read);
  read(errorText, errorText.length);
  return cString(errorText);
}

/** Text up to the first NUL. */
export function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Arguments that a caller gives. */
const countPassed = (kinds: readonly ArgumentKind[]) =>
  kinds.filter((kind) => kind !== "cancel").length;

function refuseCount(symbol: string, expected: number, given: number): never {
  invariant(false, `${symbol} takes ${expected} arguments, not ${given}`);
}

/**
 * Declares symbols of the library; each returns nothing and throws MagnetError on a failure status.
 * `file`: another library that keeps to the same rules.
 */
export function bind<const D extends Declarations>(declarations: D, file = libraryFile): Bound<D> {
  const symbols = dlopen(
    file,
    Object.fromEntries(
      Object.entries(declarations).map(([name, kinds]) => [
        name,
        { args: kinds.map((kind) => FFI_TYPES[kind]), returns: FFIType.i32 },
      ]),
    ),
  ).symbols as unknown as Record<string, NativeCall>;
  const bound: Record<string, (...args: unknown[]) => void> = {};
  for (const [name, kinds] of Object.entries(declarations)) {
    const call = checkedCall(name, kinds, symbols[name]!);
    const expected = countPassed(kinds);
    bound[name] = (...args) => {
      if (args.length !== expected) refuseCount(name, expected, args.length);
      const status = call(args); // `args` keeps the buffers alive
      if (status !== 0) throw statusError(status, name, lastNativeError(file));
    };
  }
  return bound as Bound<D>;
}

/**
 * Checks every argument and calls. Written out by the number of arguments: to spread an array of
 * them costs more than all the checks.
 */
function checkedCall(
  symbol: string,
  kinds: readonly ArgumentKind[],
  call: NativeCall,
): (args: unknown[]) => number {
  const checks = kinds.map((kind, i) => argumentCheck(symbol, i, kind));
  const [c0, c1, c2, c3, c4, c5] = checks as [Check, Check, Check, Check, Check, Check];
  if (kinds.includes("cancel")) return generalCall(kinds, checks, call);
  switch (kinds.length) {
    case 1:
      return (a) => call(c0(a[0]));
    case 2:
      return (a) => call(c0(a[0]), c1(a[1]));
    case 3:
      return (a) => call(c0(a[0]), c1(a[1]), c2(a[2]));
    case 4:
      return (a) => call(c0(a[0]), c1(a[1]), c2(a[2]), c3(a[3]));
    case 5:
      return (a) => call(c0(a[0]), c1(a[1]), c2(a[2]), c3(a[3]), c4(a[4]));
    case 6:
      return (a) => call(c0(a[0]), c1(a[1]), c2(a[2]), c3(a[3]), c4(a[4]), c5(a[5]));
    default:
      return generalCall(kinds, checks, call);
  }
}

/** A call of any length; on this thread nobody cancels it. */
function generalCall(
  kinds: readonly ArgumentKind[],
  checks: readonly Check[],
  call: NativeCall,
): (args: unknown[]) => number {
  return (args) => {
    let next = 0;
    return call(...kinds.map((kind, i) => (kind === "cancel" ? null : checks[i]!(args[next++]))));
  };
}

/**
 * The same symbols, run on a worker thread: the event loop stays free. Buffers are kept referenced
 * until the call has ended and must not be touched meanwhile. Aborting the signal sets the native
 * cancel flag and the promise rejects with CANCELLED once the library has returned.
 */
export function bindAsync<const D extends Declarations>(
  declarations: D,
  library = libraryFile,
): BoundAsync<D> {
  const bound: Record<
    string,
    (signal: AbortSignal | undefined, ...args: unknown[]) => Promise<void>
  > = {};
  for (const [name, kinds] of Object.entries(declarations)) {
    const convert = addressesOf(name, kinds);
    bound[name] = async (signal, ...args) => {
      const cancelFlag = new Int32Array(new SharedArrayBuffer(64));
      const values = convert(args, ptr(cancelFlag) as number);
      const onAbort = () => Atomics.store(cancelFlag, 0, 1);
      if (signal?.aborted) onAbort();
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        const { status, message } = await runOnPool({ symbol: name, kinds, values, library });
        if (status !== 0) throw statusError(status, name, message);
      } finally {
        signal?.removeEventListener("abort", onAbort);
        keepAlive(args, cancelFlag);
      }
    };
  }
  return bound as BoundAsync<D>;
}

/** Checked arguments as numbers that another thread can pass on. */
function addressesOf(symbol: string, kinds: readonly ArgumentKind[]) {
  const checks = kinds.map((kind, i) => argumentCheck(symbol, i, kind));
  const expected = countPassed(kinds);
  return (args: unknown[], cancel: number): (number | bigint)[] => {
    if (args.length !== expected) refuseCount(symbol, expected, args.length);
    let next = 0;
    return kinds.map((kind, i) => {
      if (kind === "cancel") return cancel;
      const value = checks[i]!(args[next++]);
      if (value === null) return 0;
      return typeof value === "object" ? (ptr(value) as number) : value;
    });
  };
}

/**
 * References its arguments, so that arrays whose addresses a call has are not collected before it.
 */
export function keepAlive(...values: unknown[]): void {
  if (values.length < 0) throw new Error("unreachable");
}

/** A fresh out-parameter for a pointer; read it with `takeAddress`. */
export const addressSlot = (): BigUint64Array => new BigUint64Array(1);
export const takeAddress = (slot: BigUint64Array): Address => Number(slot[0]) as Address;

/** A Float32Array over native memory, valid only until its owner is freed. */
export function floatsAt(address: Address, length: number): Float32Array {
  return new Float32Array(toArrayBuffer(address as unknown as Pointer, 0, length * 4));
}
/** A Uint8Array over native memory, valid only until its owner is freed. */
export function bytesAt(address: Address, length: number): Uint8Array {
  return new Uint8Array(toArrayBuffer(address as unknown as Pointer, 0, length));
}
