/**
 * What a run and its worker processes say to each other: one JSON object a line on the worker's
 * stdin and stdout. A worker is a process that may break in any way, so every line of it is checked;
 * one that is not of these ends the worker, not the run.
 */
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";
import type { TrialSpec } from "../types.ts";
import { ERROR_LENGTH_MAX, LINE_BYTES_MAX } from "./limits.ts";
import { type OutcomeRecord, outcomeRecordSchema } from "./outcome-record.ts";

export interface EvaluateRequest {
  readonly type: "evaluate";
  readonly id: number;
  readonly spec: TrialSpec;
}

const hash = z.string().regex(/^[0-9a-f]{64}$/);

/** On stderr before each answer: the two streams need not arrive in the order of writing. */
export const LOG_MARK = "\0";

export const trialSpecSchema = z.strictObject({
  task_hash: hash,
  configuration: z.record(z.string(), z.json()),
  seed: z.int(),
  fidelity: z.number().positive().max(1),
});

export const evaluateRequestSchema = z.strictObject({
  type: z.literal("evaluate"),
  id: z.int().min(0),
  spec: trialSpecSchema,
});

const seconds = z.number().nonnegative();
const line = z.string().transform((text) => text.slice(0, ERROR_LENGTH_MAX));

const answerSchema = z.discriminatedUnion("type", [
  /** The task is open; trials may come. */
  z.strictObject({ type: z.literal("ready"), task_hash: hash }),
  /** The task cannot be opened: no worker could. */
  z.strictObject({
    type: z.literal("refused"),
    code: z.string().regex(/^[A-Z][A-Z0-9_]{0,60}$/),
    message: line,
    hint: line.nullable(),
  }),
  /** `outputs`: the bytes in base64, null without any. */
  z.strictObject({
    type: z.literal("done"),
    id: z.int(),
    record: outcomeRecordSchema,
    outputs: z.string().nullable(),
    cpu_s: seconds,
  }),
  z.strictObject({ type: z.literal("failed"), id: z.int(), error: line, cpu_s: seconds }),
]);
type CheckedLine = z.output<typeof answerSchema>;
type DoneLine = Extract<CheckedLine, { type: "done" }>;
export type WorkerLine =
  | Exclude<CheckedLine, DoneLine>
  | (Omit<DoneLine, "record"> & { record: OutcomeRecord });

/** One line of a worker. Throws BAD_WORKER_LINE. */
export function readWorkerLine(text: string): CheckedLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw badLine("what is no JSON");
  }
  const parsed = answerSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw badLine(`${issue.path.join(".") || "an object"}: ${issue.message}`);
}

export const badLine = (what: string) =>
  new MagnetError("BAD_WORKER_LINE", `the worker wrote ${what}`);

/** The lines of a stream of bytes. Throws BAD_WORKER_LINE at one that never seems to end. */
export async function* linesOf(
  stream: AsyncIterable<Uint8Array>,
  bytes_max = LINE_BYTES_MAX,
): AsyncGenerator<string> {
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (let bytes of stream) {
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10)) {
      yield Buffer.concat([...parts, bytes.subarray(0, end)]).toString("utf8");
      [parts, length] = [[], 0];
      bytes = bytes.subarray(end + 1);
    }
    length += bytes.length;
    if (length > bytes_max) throw badLine("a line without an end");
    if (bytes.length > 0) parts.push(bytes);
  }
}
