/**
 * Checked calls into the native library. bun:ffi itself checks arguments weakly (a wrong count or
 * an empty buffer passes and crashes), so every symbol is declared with its argument kinds and
 * called through `bind`, which checks each one and turns a status code into a MagnetError with the
 * library's message. Long calls go through `bindAsync`, which runs them on the worker pool.
 */
import { dlopen, FFIType, type Pointer, ptr, toArrayBuffer } from "bun:ffi";
import { invariant, MagnetError } from "../core/errors.ts";
import { libraryFile } from "./loader.ts";
import { runOnPool } from "./pool.ts";

/** Address of a native object or array; 0 is null. */
export type Address = number & { readonly address: unique symbol };
export const NULL = 0 as Address;

/**
 * Kinds of arguments: numbers are range-checked; `buffer` takes a typed array, an Address or null;
 * `handle` takes a non-null Address; `cancel` is filled in by the caller's AbortSignal (never
 * passed).
 */
export type ArgumentKind = "i32" | "u32" | "u64" | "f32" | "f64" | "buffer" | "handle" | "cancel";
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
  mg_last_error: { args: [FFIType.ptr, FFIType.u64], returns: FFIType.i32 },
});
invariant(library.symbols.mg_abi_version() === 1, "the embedded library has another ABI version");

const errorText = new Uint8Array(1024);
function lastNativeError(): string {
  library.symbols.mg_last_error(errorText, errorText.length);
  return cString(errorText);
}

/** Text up to the first NUL. */
export function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

const INTEGER_RANGES = {
  i32: [-(2 ** 31), 2 ** 31 - 1],
  u32: [0, 2 ** 32 - 1],
} as const;

/**
 * Turns one argument into what bun:ffi passes on; throws on anything that does not fit its kind.
 */
function convert(
  symbol: string,
  index: number,
  kind: ArgumentKind,
  value: unknown,
): number | bigint {
  const where = `${symbol}, argument ${index}`;
  switch (kind) {
    case "i32":
    case "u32": {
      const [low, high] = INTEGER_RANGES[kind];
      const fits = Number.isInteger(value) && (value as number) >= low && (value as number) <= high;
      invariant(fits, `${where}: ${String(value)} is not a ${kind}`);
      return value as number;
    }
    case "u64": {
      const fits =
        typeof value === "bigint"
          ? value >= 0n && value < 2n ** 64n
          : Number.isSafeInteger(value) && (value as number) >= 0;
      invariant(fits, `${where}: ${String(value)} is not a u64`);
      return BigInt(value as number | bigint);
    }
    case "f32":
    case "f64":
      invariant(typeof value === "number", `${where}: not a number`);
      return value as number;
    case "handle":
      invariant(typeof value === "number" && value > 0, `${where}: a null or freed handle`);
      return value as number;
    case "buffer":
      if (value === null || value === undefined) return 0;
      if (typeof value === "number") return value;
      invariant(ArrayBuffer.isView(value), `${where}: not a typed array`);
      // ptr() of an empty array is an error object, not a pointer.
      return value.byteLength === 0 ? 0 : (ptr(value as NodeJS.TypedArray) as number);
    case "cancel":
      return 0;
  }
}

function convertAll(
  symbol: string,
  kinds: readonly ArgumentKind[],
  args: unknown[],
  cancel: number,
) {
  const expected = kinds.filter((kind) => kind !== "cancel").length;
  invariant(args.length === expected, `${symbol} takes ${expected} arguments, not ${args.length}`);
  let next = 0;
  return kinds.map((kind, i) =>
    kind === "cancel" ? cancel : convert(symbol, i, kind, args[next++]),
  );
}

/**
 * Declares symbols of the library; each returns nothing and throws MagnetError on a failure status.
 */
export function bind<const D extends Declarations>(declarations: D): Bound<D> {
  const symbols = dlopen(
    libraryFile,
    Object.fromEntries(
      Object.entries(declarations).map(([name, kinds]) => [
        name,
        { args: kinds.map((kind) => FFI_TYPES[kind]), returns: FFIType.i32 },
      ]),
    ),
  ).symbols as unknown as Record<string, (...args: (number | bigint)[]) => number>;
  const bound: Record<string, (...args: unknown[]) => void> = {};
  for (const [name, kinds] of Object.entries(declarations)) {
    const call = symbols[name]!;
    bound[name] = (...args) => {
      const status = call(...convertAll(name, kinds, args, 0)); // `args` keeps the buffers alive
      if (status !== 0) throw statusError(status, name, lastNativeError());
    };
  }
  return bound as Bound<D>;
}

/**
 * The same symbols, run on a worker thread: the event loop stays free. Buffers are kept referenced
 * until the call has ended and must not be touched meanwhile. Aborting the signal sets the native
 * cancel flag and the promise rejects with CANCELLED once the library has returned.
 */
export function bindAsync<const D extends Declarations>(declarations: D): BoundAsync<D> {
  const bound: Record<
    string,
    (signal: AbortSignal | undefined, ...args: unknown[]) => Promise<void>
  > = {};
  for (const [name, kinds] of Object.entries(declarations)) {
    bound[name] = async (signal, ...args) => {
      const cancelFlag = new Int32Array(new SharedArrayBuffer(64));
      const values = convertAll(name, kinds, args, ptr(cancelFlag) as number);
      const onAbort = () => Atomics.store(cancelFlag, 0, 1);
      if (signal?.aborted) onAbort();
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        const { status, message } = await runOnPool({ symbol: name, kinds, values });
        if (status !== 0) throw statusError(status, name, message);
      } finally {
        signal?.removeEventListener("abort", onAbort);
        keepAlive(args, cancelFlag);
      }
    };
  }
  return bound as BoundAsync<D>;
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
