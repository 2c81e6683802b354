/**
 * Workers as processes of this machine. They are watched from outside: a process that crashes,
 * hangs, takes too much memory, writes what is no answer or floods its output is ended and reported
 * as lost, and one that uses more CPU than the trial may is ended as timed out. CPU time and memory
 * are the kernel's count.
 */
import type { Subprocess } from "bun";
import { formatBytes, sha256Hex } from "../../core/bytes.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import type { TrialSpec } from "../types.ts";
import { FAILED_STARTS_MAX, LOG_BYTES_MAX, STALL_WATCHES, WATCH_MS } from "./limits.ts";
import type { OutcomeRecord } from "./outcome-record.ts";
import { processCpuSeconds } from "./process-cpu.ts";
import { endFirstWithoutMemory, processMemoryBytes } from "./process-memory.ts";
import { badLine, type EvaluateRequest, LOG_MARK, linesOf, readWorkerLine } from "./protocol.ts";
import {
  type EvaluateLimits,
  localName,
  type TrialWorker,
  type WorkerAnswer,
  type WorkerSource,
} from "./trial-worker.ts";

export interface LocalWorkerOptions {
  /** Starts a worker process: the program and its arguments. */
  readonly command: readonly string[];
  readonly env?: Record<string, string | undefined>;
  /** What the workers must have opened. */
  readonly task_hash: Hash;
  /** Resident bytes that a worker may have; null = no limit. */
  readonly memory_bytes?: number | null;
  /** Watches without any CPU time after which a worker hangs (limits.ts). */
  readonly stall_watches?: number;
}

type Child = Subprocess<"pipe", "pipe", "pipe">;
type Answer = ReturnType<typeof readWorkerLine>;

/** What a worker writes for people: the end of it, cut where its answers say. */
class WorkerLog {
  #text = "";
  #marked: (string | null)[] = [];
  #heard: (() => void) | undefined;
  #open = true;

  async follow(stream: AsyncIterable<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const bytes of stream) this.#add(decoder.decode(bytes, { stream: true }));
    } finally {
      this.#open = false;
      this.#heard?.();
    }
  }

  #add(text: string): void {
    const parts = text.split(LOG_MARK);
    for (const [i, part] of parts.entries()) {
      this.#text = (this.#text + part).slice(-LOG_BYTES_MAX);
      if (i < parts.length - 1) this.#marked.push(this.rest());
    }
    this.#heard?.();
  }

  /** What belongs to the answer that has just come. */
  async next(): Promise<string | null> {
    while (this.#marked.length === 0 && this.#open)
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    return this.#marked.shift() ?? this.rest();
  }

  /** What came after the last mark. */
  rest(): string | null {
    const text = this.#text.trim();
    this.#text = "";
    return text === "" ? null : text;
  }
}

/** How a process ended, for people. */
function endOf(child: Child): string {
  const { signalCode, exitCode } = child;
  return signalCode === null
    ? `its worker ended with exit code ${exitCode}`
    : `its worker was ended by ${signalCode}`;
}

class LocalWorker implements TrialWorker {
  readonly name: string;
  readonly #child: Child;
  readonly log = new WorkerLog();
  readonly #stall_watches: number;
  readonly #memory_bytes: number;
  /** Why we ended it, where we did. */
  #ended_by_us: string | null = null;
  #waiting: { resolve(answer: Answer): void; reject(error: unknown): void } | undefined;
  #id = 0;
  #cpu_s = 0;
  readonly #log_read: Promise<void>;

  constructor({ command, env, stall_watches, memory_bytes }: LocalWorkerOptions) {
    this.#child = Bun.spawn([...command], {
      ...{ stdin: "pipe", stdout: "pipe", stderr: "pipe" },
      ...(env ? { env } : {}),
      // Ctrl-C in the terminal is for the run, which then ends its workers in order.
      detached: true,
    });
    this.name = localName(this.#child.pid);
    this.#stall_watches = stall_watches ?? STALL_WATCHES;
    this.#memory_bytes = memory_bytes ?? Infinity;
    endFirstWithoutMemory(this.#child.pid);
    this.#log_read = this.log.follow(this.#child.stderr).catch(() => undefined); // it is gone
    void this.#read();
  }

  /** The kernel's count; after the end, its last word. */
  cpuSeconds(): number {
    const used = this.#child.resourceUsage();
    const now_s = used
      ? Number(used.cpuTime.total) / 1e6
      : (processCpuSeconds(this.#child.pid) ?? 0);
    this.#cpu_s = Math.max(this.#cpu_s, now_s);
    return this.#cpu_s;
  }

  async #read(): Promise<void> {
    try {
      for await (const line of linesOf(this.#child.stdout)) {
        const answer = readWorkerLine(line);
        if (!this.#waiting) throw badLine("an answer that nobody asked for");
        this.#waiting.resolve(answer);
        this.#waiting = undefined;
      }
    } catch (error) {
      this.#end(toMagnetError(error).message);
    }
    await this.#child.exited;
    await this.#log_read;
    const reason = this.#ended_by_us ?? endOf(this.#child);
    this.#waiting?.reject(new MagnetError("WORKER_LOST", reason));
    this.#waiting = undefined;
    this.#ended_by_us ??= reason;
  }

  #end(reason: string): void {
    this.#ended_by_us ??= reason;
    this.#child.kill("SIGKILL");
  }

  /** The next line of the worker. Rejects with WORKER_LOST. */
  #answer(): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null)
      return Promise.reject(new MagnetError("WORKER_LOST", endOf(this.#child)));
    this.#waiting = { resolve, reject };
    return promise;
  }

  /** Waits for an answer, and ends a process that hangs or reaches the limit. */
  async #watched(cpu_limit_s: number | null, timedOut: () => void): Promise<Answer> {
    const start_s = this.cpuSeconds();
    let [last_s, idle] = [start_s, 0];
    const timer = setInterval(() => {
      const now_s = this.cpuSeconds();
      idle = now_s > last_s ? 0 : idle + 1;
      last_s = now_s;
      if ((processMemoryBytes(this.#child.pid) ?? 0) > this.#memory_bytes)
        this.#end(
          `it used more than the ${formatBytes(this.#memory_bytes)} that a worker may have`,
        );
      else if (cpu_limit_s !== null && now_s - start_s > cpu_limit_s) {
        timedOut();
        this.#end(`it used more than its ${cpu_limit_s.toFixed(1)} CPU seconds`);
      } else if (idle >= this.#stall_watches) {
        const seconds = Math.round((this.#stall_watches * WATCH_MS) / 1000);
        this.#end(`its worker used no CPU for ${seconds} s`);
      }
    }, WATCH_MS);
    try {
      return await this.#answer();
    } finally {
      clearInterval(timer);
    }
  }

  /** Waits until the task is open there. Throws what the worker says, WORKER_LOST, TASK_CHANGED. */
  async ready(task_hash: Hash): Promise<void> {
    const answer = await this.#watched(null, () => undefined);
    if (answer.type === "refused") {
      const { code, message, hint } = answer;
      throw new MagnetError(code, message, hint === null ? {} : { hint });
    }
    await this.log.next();
    if (answer.type !== "ready") throw badLine(`"${answer.type}" before it was ready`);
    if (answer.task_hash !== task_hash)
      throw new MagnetError("TASK_CHANGED", "the task or its data changed while the run goes on", {
        hint: "put the files back as they were and resume, or start a new run",
      });
  }

  async evaluate(spec: TrialSpec, { cpu_limit_s }: EvaluateLimits): Promise<WorkerAnswer> {
    const before_s = this.cpuSeconds();
    const id = this.#id++;
    let timed_out = false;
    try {
      const request: EvaluateRequest = { type: "evaluate", id, spec };
      const asked = this.#watched(cpu_limit_s, () => {
        timed_out = true;
      });
      asked.catch(() => undefined); // awaited below
      this.#child.stdin.write(`${JSON.stringify(request)}\n`);
      await this.#child.stdin.flush();
      const answer = await asked;
      if (!("id" in answer) || answer.id !== id) throw badLine("the answer to another trial");
      const cost = { cpu_s: answer.cpu_s, log: await this.log.next() };
      if (answer.type === "failed") return { kind: "failed", error: answer.error, ...cost };
      return { kind: "done", ...withOutputs(answer), ...cost };
    } catch (error) {
      const { message } = toMagnetError(error);
      this.#end(message);
      await this.#child.exited;
      const reason = this.#ended_by_us ?? message;
      await this.#log_read;
      const cost = { cpu_s: this.cpuSeconds() - before_s, log: this.log.rest() };
      if (timed_out) return { kind: "timed_out", error: reason, ...cost };
      return { kind: "lost", error: reason, blamed: this.#ended_by_us !== CLOSED, ...cost };
    }
  }

  async close(): Promise<void> {
    this.#end(CLOSED);
    await this.#child.exited;
    this.cpuSeconds();
  }
}
const CLOSED = "the run stopped it";

/** The outputs must be what the record says: what is stored under a hash has that hash. */
function withOutputs(answer: Extract<Answer, { type: "done" }>): {
  record: OutcomeRecord;
  outputs: Uint8Array | null;
} {
  const record = answer.record as OutcomeRecord;
  const outputs = answer.outputs === null ? null : Buffer.from(answer.outputs, "base64");
  const hash = outputs === null ? null : sha256Hex(outputs);
  if (hash !== record.outputs_hash) throw badLine("outputs that are not those of its record");
  return { record, outputs };
}

/** One place for a worker process; a lost one is replaced. */
export class LocalWorkers implements WorkerSource {
  readonly #opened: LocalWorker[] = [];
  /** CPU seconds of the processes that have ended. */
  #ended_s = 0;

  constructor(private readonly options: LocalWorkerOptions) {}

  async open(): Promise<TrialWorker> {
    for (let failed = 1; ; failed++) {
      this.#drop();
      const worker = new LocalWorker(this.options);
      this.#opened.push(worker);
      try {
        await worker.ready(this.options.task_hash);
        return worker;
      } catch (error) {
        await worker.close();
        if (!(error instanceof MagnetError)) throw error;
        const lost = error.code === "WORKER_LOST" || error.code === "BAD_WORKER_LINE";
        if (!lost) throw error;
        if (failed < FAILED_STARTS_MAX) continue;
        const last = worker.log.rest()?.split("\n").at(-1);
        throw new MagnetError(
          "WORKER_FAILED",
          `no worker of the run starts: ${error.message}${last ? `; it said: ${last}` : ""}`,
          { hint: "run again with --verbose, fewer --workers, or more --memory", cause: error },
        );
      }
    }
  }

  /** Keeps the sum of those that are gone. Only one lives at a time. */
  #drop(): void {
    for (const worker of this.#opened.splice(0)) this.#ended_s += worker.cpuSeconds();
  }

  cpuSeconds(): number {
    return this.#opened.reduce((sum, worker) => sum + worker.cpuSeconds(), this.#ended_s);
  }
}
