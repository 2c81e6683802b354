/**
 * Opens a run's folder for its coordinator: the lock, the store, the workers. The task's document is
 * kept in the store, so that workers, and a resumed run, need the folder only, and a task file that
 * is edited meanwhile changes nothing.
 */
import os from "node:os";
import path from "node:path";
import { sha256 } from "../../core/bytes.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import type { Hash } from "../../core/types.ts";
import { requireMemory } from "../../model/memory.ts";
import { parseTask, type Task } from "../task/load.ts";
import type { Json } from "../types.ts";
import { DurableRunner, type RunnerOptions } from "./durable-runner.ts";
import { LocalWorkers } from "./local-workers.ts";
import { workerMemoryBytes } from "./process-memory.ts";
import { RunReader } from "./run-reader.ts";
import type { RunHeader } from "./trial-rows.ts";
import { TrialStore } from "./trial-store.ts";
import type { WorkerSource } from "./trial-worker.ts";

/** The task as a run keeps it. */
export interface RunTask {
  /** Where the document was read; relative paths in it start at its folder. */
  readonly file: string;
  readonly document: Json;
  /** The seed on the command line; null: the document's. */
  readonly seed: number | null;
}

export interface OpenRunOptions {
  readonly folder: string;
  readonly task: RunTask;
  readonly task_hash: Hash;
  /** What else decides the result: budget, batch size, level of the loop. */
  readonly settings: Json;
  readonly code_version: string;
  /** How this program starts itself (cli/self-command.ts). */
  readonly self: readonly string[];
  /** Processes of this machine. */
  readonly workers: number;
  /** Threads of each. */
  readonly threads: number;
  /** Memory that each may have; absent: as the run began, or its share of what is free. */
  readonly memory_bytes?: number | undefined;
  /** Further workers, of the network. */
  readonly sources?: readonly WorkerSource[];
  readonly ownCpu?: RunnerOptions["ownCpu"];
  readonly onTrial?: RunnerOptions["onTrial"];
  readonly clock?: Clock;
}

export interface OpenedRun {
  readonly header: RunHeader;
  readonly store: TrialStore;
  readonly runner: DurableRunner;
  /** True where an earlier process worked on it. */
  readonly resumed: boolean;
  /** Ends the workers and gives the folder free. */
  close(): Promise<void>;
}

/**
 * Throws RUN_BUSY, RUN_DIFFERS, RUN_CORRUPT, NOT_ENOUGH_MEMORY, disk errors; nothing is left open
 * then.
 */
export function openRun(options: OpenRunOptions): OpenedRun {
  const { task_hash, settings, code_version, workers, threads } = options;
  const folder = path.resolve(options.folder);
  const store = TrialStore.openFolder(folder, options.clock ?? systemClock);
  try {
    const known = store.header();
    const resumed = known !== null;
    const task = options.task as unknown as Json;
    const memory_bytes = options.memory_bytes ?? memoryOf(known, workers);
    const header = store.begin({ task_hash, task, settings, code_version, memory_bytes });
    const command = [...options.self, "research", "worker", folder, "--threads", String(threads)];
    const local = () => new LocalWorkers({ command, task_hash, memory_bytes });
    // Without nodes as well: an earlier life may have asked some. It starts when it is needed.
    const secret = crypto.getRandomValues(new Uint8Array(16));
    const verifier = { source: local(), isDue: sampled(secret) };
    const runner = new DurableRunner({
      store,
      verifier,
      sources: [...Array.from({ length: workers }, local), ...(options.sources ?? [])],
      ...(options.ownCpu ? { ownCpu: options.ownCpu } : {}),
      ...(options.onTrial ? { onTrial: options.onTrial } : {}),
    });
    const close = async () => {
      await runner.close();
      store.close();
    };
    return { header, store, runner, resumed, close };
  } catch (error) {
    store.close();
    throw error;
  }
}

/**
 * A resumed run must end what the first life would have ended, whatever is free by now. Throws
 * NOT_ENOUGH_MEMORY where the machine has less than that in all.
 */
function memoryOf(known: RunHeader | null, workers: number): number | null {
  const kept = known?.memory_bytes;
  if (kept === undefined) return workerMemoryBytes(workers);
  if (kept !== null)
    requireMemory(kept, os.totalmem(), {
      what: "a worker of this run, with the memory that it began with, needs",
      hint: "resume it on the larger machine; with a smaller --memory, other trials may crash",
    });
  return kept;
}

/** One in so many results of other machines is computed again. */
const VERIFY_ONE_IN = 16;

/** By a secret of this process: a node must not know which of its results are looked at. */
const sampled =
  (secret: Uint8Array) =>
  (address: Hash): boolean =>
    sha256(secret, address)[0]! % VERIFY_ONE_IN === 0;

/** The task of a run that was begun. Throws RUN_NOT_FOUND, RUN_NOT_BEGUN. */
export function taskOfRun(folder: string): Task {
  const reader = RunReader.open(folder);
  try {
    return taskOfHeader(reader.begun());
  } finally {
    reader.close();
  }
}

export function taskOfHeader(header: RunHeader): Task {
  const { file, document, seed } = header.task as unknown as RunTask;
  return parseTask(document, file, seed === null ? {} : { seed });
}
