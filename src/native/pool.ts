/**
 * Fixed pool of worker threads for native calls that take longer than a few milliseconds, so that
 * timers and sockets of the main thread stay punctual. A job is a symbol with already converted
 * arguments (addresses and numbers): memory is shared by the process, nothing is copied.
 */
import os from "node:os";
import { MagnetError } from "../core/errors.ts";
import type { ArgumentKind } from "./arguments.ts";
import { libraryFile } from "./loader.ts";

export interface NativeJob {
  symbol: string;
  kinds: readonly ArgumentKind[];
  values: (number | bigint)[];
  /** The library with the symbol; magnet's own unless given. */
  library?: string;
}
export interface NativeResult {
  status: number;
  message: string;
}

/**
 * Native calls use their own threads inside; more workers than this would only compete for cores.
 */
const WORKERS_MAX = Math.max(2, Math.min(8, os.availableParallelism()));
/** A job waits behind at most this many others; beyond it the caller is told to slow down. */
const QUEUE_MAX = 1024;

interface Pending {
  job: NativeJob;
  resolve: (result: NativeResult) => void;
  reject: (error: Error) => void;
}
const queue: Pending[] = [];
const idle: Worker[] = [];
const busy = new Map<Worker, Pending>();

/** In the binary the worker is an entry point of its own below Bun's virtual root. */
function workerUrl(): string {
  return import.meta.url.includes("/$bunfs/")
    ? "/$bunfs/root/native/worker.js"
    : new URL("./worker.ts", import.meta.url).href;
}

function startWorker(): Worker {
  const worker = new Worker(workerUrl());
  worker.addEventListener("message", (event: MessageEvent<NativeResult>) => {
    const done = busy.get(worker);
    busy.delete(worker);
    idle.push(worker);
    if (busy.size === 0) for (const w of idle) w.unref();
    done?.resolve(event.data);
    dispatch();
  });
  worker.addEventListener("error", (event: ErrorEvent) => {
    const failed = busy.get(worker);
    busy.delete(worker);
    failed?.reject(
      new MagnetError("WORKER_FAILED", `a native worker stopped: ${event.message}`, {
        retryable: true,
      }),
    );
    dispatch();
  });
  return worker;
}

function dispatch(): void {
  while (queue.length > 0) {
    const worker = idle.pop() ?? (busy.size < WORKERS_MAX ? startWorker() : undefined);
    if (!worker) return;
    const next = queue.shift()!;
    worker.ref(); // a running job keeps the process alive, an idle worker does not
    busy.set(worker, next);
    worker.postMessage({ library: libraryFile, ...next.job });
  }
}

/** Runs one native call on a worker. Rejects with QUEUE_FULL at the limit. */
export function runOnPool(job: NativeJob): Promise<NativeResult> {
  if (queue.length >= QUEUE_MAX)
    return Promise.reject(
      new MagnetError("QUEUE_FULL", `${QUEUE_MAX} native calls are waiting`, { retryable: true }),
    );
  return new Promise((resolve, reject) => {
    queue.push({ job, resolve, reject });
    dispatch();
  });
}
