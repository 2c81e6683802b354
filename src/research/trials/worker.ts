/**
 * A worker process of a research run: it opens the task once and evaluates the trials that come on
 * stdin, one after the other, until stdin ends; then it ends at once, whatever it was doing: the run
 * that started it is gone. Only the protocol goes to stdout.
 */
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { writeToDescriptor } from "../../core/stdio.ts";
import type { ResearchDomain, TrialSpec } from "../types.ts";
import { outputBytes, recordOf } from "./outcome-record.ts";
import { evaluateRequestSchema, linesOf, type WorkerLine } from "./protocol.ts";

export interface WorkerOptions {
  open(): Promise<ResearchDomain>;
  threads: number;
  input: AsyncIterable<Uint8Array>;
}

const say = (message: WorkerLine): void => {
  writeToDescriptor(1, `${JSON.stringify(message)}\n`);
};

const cpuSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** One line for people; the trace goes to stderr, of which the run keeps the end. */
function lineOf(error: unknown): string {
  const { code, message } = toMagnetError(error);
  process.stderr.write(`${error instanceof Error ? (error.stack ?? message) : String(error)}\n`);
  return code === "INTERNAL" ? message : `${code}: ${message}`;
}

async function evaluate(
  domain: ResearchDomain,
  id: number,
  spec: TrialSpec,
  threads: number,
): Promise<void> {
  const before_s = cpuSeconds();
  try {
    const configuration = domain.parse(spec.configuration);
    const outcome = await domain.evaluate({ ...spec, configuration }, { threads });
    const cpu_s = cpuSeconds() - before_s;
    const { outputs } = outcome;
    say({
      type: "done",
      id,
      record: recordOf({ ...outcome, cpu_s }),
      outputs: outputs.length === 0 ? null : Buffer.from(outputBytes(outputs)).toString("base64"),
      cpu_s,
    });
  } catch (error) {
    say({ type: "failed", id, error: lineOf(error), cpu_s: cpuSeconds() - before_s });
  }
}

/** Serves until stdin ends, then ends the process. Throws nothing: what goes wrong is told. */
export async function serveTrials({ open, threads, input }: WorkerOptions): Promise<never> {
  // A library that prints must not break the protocol.
  console.log = console.error;
  console.info = console.error;
  const lines = linesOf(input);
  const opened = open();
  opened.catch(() => undefined); // told below, where it is awaited
  let running: Promise<unknown> = opened.then(
    ({ task_hash }) => say({ type: "ready", task_hash }),
    (error) => {
      const { code, message, hint } = toMagnetError(error);
      say({ type: "refused", code, message, hint: hint ?? null });
      process.exit(1);
    },
  );
  try {
    for await (const line of lines) {
      const parsed = evaluateRequestSchema.safeParse(JSON.parse(line));
      if (!parsed.success) throw new MagnetError("BAD_REQUEST", parsed.error.issues[0]!.message);
      const { id, spec } = parsed.data;
      running = running
        .then(() => opened)
        .then((domain) => evaluate(domain, id, spec as unknown as TrialSpec, threads));
    }
  } catch (error) {
    lineOf(error);
    process.exit(1);
  }
  process.exit(0);
}
