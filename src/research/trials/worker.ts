/**
 * A worker process of a research run: it opens the task once and evaluates the trials that come on
 * stdin, one after the other, until stdin ends; then it ends at once, whatever it was doing: the run
 * that started it is gone. Only the protocol goes to stdout.
 */
import { toMagnetError } from "../../core/errors.ts";
import { writeToDescriptor } from "../../core/stdio.ts";
import type { ResearchDomain, TrialSpec } from "../types.ts";
import { outputBytes, recordOf } from "./outcome-record.ts";
import { evaluateRequestSchema, LOG_MARK, linesOf, type WorkerLine } from "./protocol.ts";

export interface WorkerOptions {
  open(): Promise<ResearchDomain>;
  threads: number;
  input: AsyncIterable<Uint8Array>;
}

/** The mark on stderr, behind all that waits there, ends what belongs to this answer on stdout. */
async function say(message: WorkerLine): Promise<void> {
  await new Promise<void>((resolve) => process.stderr.write(LOG_MARK, () => resolve()));
  writeToDescriptor(1, `${JSON.stringify(message)}\n`);
}

const cpuSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** One line for people; the trace goes to stderr, of which the run keeps the end. */
function lineOf(error: unknown): string {
  const { code, message } = toMagnetError(error);
  const trace = error instanceof Error ? (error.stack ?? message) : String(error);
  process.stderr.write(`${trace}\n`);
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
    await say({
      type: "done",
      id,
      record: recordOf({ ...outcome, cpu_s }),
      outputs: outputs.length === 0 ? null : Buffer.from(outputBytes(outputs)).toString("base64"),
      cpu_s,
    });
  } catch (error) {
    await say({ type: "failed", id, error: lineOf(error), cpu_s: cpuSeconds() - before_s });
  }
}

/**
 * Serves until stdin ends; the caller then ends the process, whatever still runs. Throws nothing:
 * what goes wrong is told to the run. Returns false where the worker was of no use.
 */
export async function serveTrials({ open, threads, input }: WorkerOptions): Promise<boolean> {
  // A library that prints must not break the protocol.
  const { error, warn } = globalThis.console;
  Object.assign(globalThis.console, { log: error, info: warn });
  const refused = Promise.withResolvers<boolean>();
  const opened = open();
  let running: Promise<unknown> = opened.then(
    ({ task_hash }) => say({ type: "ready", task_hash }),
    async (error) => {
      const { code, message, hint } = toMagnetError(error);
      await say({ type: "refused", code, message, hint: hint ?? null });
      refused.resolve(false);
    },
  );
  const serve = async (): Promise<boolean> => {
    for await (const line of linesOf(input)) {
      const { id, spec } = evaluateRequestSchema.parse(JSON.parse(line));
      running = running.then(async () =>
        evaluate(await opened, id, spec as unknown as TrialSpec, threads),
      );
    }
    return true;
  };
  const served = serve().catch((error) => {
    lineOf(error);
    return false;
  });
  return Promise.race([served, refused.promise]);
}
