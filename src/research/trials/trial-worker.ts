/**
 * Who evaluates trials: a process of this machine, or a node of the network. The runner sees all of
 * them through this face; what they answer is a result, a failure of the trial, or their own loss.
 */
import type { TrialSpec } from "../types.ts";
import type { OutcomeRecord } from "./outcome-record.ts";

export interface EvaluateLimits {
  /** CPU seconds, all threads; null = no limit. */
  readonly cpu_limit_s: number | null;
}

interface Cost {
  readonly cpu_s: number;
  /** The end of what the worker wrote for people; null where there is nothing. */
  readonly log: string | null;
}
export type WorkerAnswer = Cost &
  (
    | { readonly kind: "done"; readonly record: OutcomeRecord; readonly outputs: Uint8Array | null }
    /** The trial itself failed; another worker would fail alike. */
    | { readonly kind: "failed"; readonly error: string }
    | { readonly kind: "timed_out"; readonly error: string }
    /**
     * The worker is gone and must be opened again. `blamed`: the trial may be why, so that it is
     * not tried for ever; a node that left the network blames no trial.
     */
    | { readonly kind: "lost"; readonly error: string; readonly blamed: boolean }
  );

/** Processes of this machine have names of their own kind, so that rows tell whose they are. */
export const localName = (pid: number): string => `process ${pid}`;
export const isForeign = (worker: string | null): worker is string =>
  worker !== null && !/^process \d+$/.test(worker);

export interface TrialWorker {
  /** For the trial's row: "process 123", "node-ab12...". */
  readonly name: string;
  /** One at a time. Never rejects. */
  evaluate(spec: TrialSpec, limits: EvaluateLimits): Promise<WorkerAnswer>;
  /** Ends it, whatever it does; a running evaluation resolves as lost. */
  close(): Promise<void>;
}

/** Opens a worker, and another one where that was lost. */
export interface WorkerSource {
  /** Another machine: a sample of what it says is computed again here. */
  readonly foreign?: boolean;
  /** Throws where it cannot be opened; `retryable` errors are no reason to end the run. */
  open(): Promise<TrialWorker>;
  /** CPU seconds of all workers that it has opened, until now. */
  cpuSeconds(): number;
}
