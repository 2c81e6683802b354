/**
 * Arrays of points as bytes: their SHA-256, to and from files, on a thread of their own (point-worker.ts).
 * The arrays must not change until a promise settles. On the disk and in hashes they are float32,
 * little-endian, as in the memory of every host that magnet runs on.
 */
import { ptr } from "bun:ffi";
import { toMagnetError } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import type { PointAnswer, PointRequest, Region } from "./point-worker.ts";

/** In the binary the thread is an entry point of its own below Bun's virtual root. */
const workerUrl = (): string =>
  import.meta.url.includes("/$bunfs/")
    ? "/$bunfs/root/agent/trail/point-worker.js"
    : new URL("./point-worker.ts", import.meta.url).href;

interface Waiting {
  /** Kept alive until the answer: the thread knows their addresses only. */
  arrays: readonly Float32Array[];
  resolve(answer: PointAnswer): void;
  reject(error: Error): void;
}
let worker: Worker | undefined;
/** In the order of the requests, which is that of the answers. */
const waiting: Waiting[] = [];

function start(): Worker {
  const started = new Worker(workerUrl());
  started.addEventListener("message", ({ data }: MessageEvent<PointAnswer>) => {
    waiting.shift()?.resolve(data);
    if (waiting.length === 0) started.unref(); // an idle thread does not keep the process alive
  });
  started.addEventListener("error", (event: ErrorEvent) => {
    worker = undefined; // the next request starts another
    for (const { reject } of waiting.splice(0)) reject(new Error(event.message));
  });
  return started;
}

async function ask(arrays: readonly Float32Array[], request: PointRequest): Promise<Hash> {
  worker ??= start();
  worker.ref();
  const { promise, resolve, reject } = Promise.withResolvers<PointAnswer>();
  waiting.push({ arrays, resolve, reject });
  worker.postMessage(request);
  const answer = await promise;
  if ("hash" in answer) return answer.hash as Hash;
  throw toMagnetError(Object.assign(new Error(answer.error), { code: answer.code }));
}

const regionsOf = (arrays: readonly Float32Array[]): Region[] =>
  arrays.map((array) => ({ address: ptr(array), bytes: array.byteLength }));

/** SHA-256 of the arrays one behind the other. */
export const hashArrays = (...arrays: Float32Array[]): Promise<Hash> =>
  ask(arrays, { do: "hash", regions: regionsOf(arrays) });

/** Writes them to a file that does not exist yet; their hash. Throws DISK_FULL and other disk errors. */
export const writeArrays = (file: string, ...arrays: Float32Array[]): Promise<Hash> =>
  ask(arrays, { do: "write", regions: regionsOf(arrays), file });

/** Fills them from a file of their length; its hash, which the caller compares. Throws disk errors. */
export const readArrays = (file: string, ...arrays: Float32Array[]): Promise<Hash> =>
  ask(arrays, { do: "read", regions: regionsOf(arrays), file });
