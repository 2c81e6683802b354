/**
 * Thread of the pool: calls one symbol at a time and reports its status. The library is already in
 * the process; opening it again only finds the symbol. The error text is thread-local, so it is
 * read here.
 */
import { dlopen, FFIType } from "bun:ffi";
import type { NativeJob, NativeResult } from "./pool.ts";

declare const self: Worker;

type Call = (...args: (number | bigint)[]) => number;
const calls = new Map<string, Call>();
const errorText = new Uint8Array(1024);

/** As FFI_TYPES in ffi.ts, which this thread must not import (it would open a second library). */
const TYPES = {
  i32: FFIType.i32,
  u32: FFIType.u32,
  u64: FFIType.u64,
  f32: FFIType.f32,
  f64: FFIType.f64,
  buffer: FFIType.ptr,
  handle: FFIType.ptr,
  cancel: FFIType.ptr,
} as const;

function find(job: NativeJob, library: string): Call {
  const name = `${library} ${job.symbol}`;
  const known = calls.get(name);
  if (known) return known;
  const { symbols } = dlopen(library, {
    [job.symbol]: { args: job.kinds.map((kind) => TYPES[kind]), returns: FFIType.i32 },
  });
  const call = symbols[job.symbol] as unknown as Call;
  calls.set(name, call);
  return call;
}

function errorMessage(library: string): string {
  const { symbols } = dlopen(library, {
    mg_last_error: { args: [FFIType.ptr, FFIType.u64], returns: FFIType.i32 },
  });
  symbols.mg_last_error(errorText, errorText.length);
  return new TextDecoder().decode(errorText.subarray(0, errorText.indexOf(0)));
}

self.onmessage = (event: MessageEvent<NativeJob & { library: string }>) => {
  const { library, ...job } = event.data;
  const status = find(job, library)(...job.values);
  const result: NativeResult = { status, message: status === 0 ? "" : errorMessage(library) };
  postMessage(result);
};
