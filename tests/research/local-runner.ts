/**
 * A runner of trials in this process: nothing is stored, so a run cannot be resumed. What ships is the
 * durable runner with workers (src/research/trials).
 */
import type { Clock } from "../../src/core/clock.ts";
import type {
  Proposal,
  RunTrialsOptions,
  Spent,
  TrialRunner,
} from "../../src/research/loop/faces.ts";
import type { ResearchDomain, Trial } from "../../src/research/types.ts";

/** How often a trial's CPU time is looked at. */
const CPU_CHECK_MS = 50;

export interface LocalRunnerOptions {
  readonly domain: ResearchDomain;
  readonly clock: Clock;
  /** Threads of each learner. */
  readonly threads?: number;
}

/** Trials one after the other in this process. A trial that never yields cannot be timed out. */
export function localRunner(options: LocalRunnerOptions): TrialRunner {
  const { domain, clock } = options;
  const cpu = process.cpuUsage();
  const started_ms = clock.now_ms();
  const steps = new Map<string, unknown>();
  let count = 0;

  const runOne = async (proposal: Proposal, run: RunTrialsOptions): Promise<Trial> => {
    run.signal?.throwIfAborted();
    const index = count++;
    const stop = new AbortController();
    const before = process.cpuUsage();
    const limit_us = run.cpu_limit_s === null ? Infinity : run.cpu_limit_s * 1e6;
    const used = () => {
      const now = process.cpuUsage(before);
      return now.user + now.system;
    };
    const timer = setInterval(() => used() > limit_us && stop.abort(), CPU_CHECK_MS);
    const signals = run.signal ? [run.signal, stop.signal] : [stop.signal];
    try {
      const outcome = await domain.evaluate(proposal.spec, {
        threads: options.threads ?? 1,
        signal: AbortSignal.any(signals),
      });
      return { index, ...proposal, state: "done", outcome, error: null };
    } catch (error) {
      run.signal?.throwIfAborted();
      const state = stop.signal.aborted ? "timed_out" : "crashed";
      const message = error instanceof Error ? error.message : String(error);
      return { index, ...proposal, state, outcome: null, error: message.split("\n")[0]! };
    } finally {
      clearInterval(timer);
    }
  };

  return {
    async run(batch, run) {
      const trials: Trial[] = [];
      for (const proposal of batch) trials.push(await runOne(proposal, run));
      return trials;
    },
    spent(): Spent {
      const now = process.cpuUsage(cpu);
      return {
        cpu_s: (now.user + now.system) / 1e6,
        wall_s: (clock.now_ms() - started_ms) / 1000,
      };
    },
    async once<T>(key: string, step: () => T | Promise<T>): Promise<T> {
      if (!steps.has(key)) steps.set(key, await step());
      return steps.get(key) as T;
    },
  };
}
