/** Research over the network, as a local command asks the running node for it. */
import { z } from "zod";
import { taskRefSchema } from "../agent/research/research-job.ts";
import type { RunningNode } from "../agent/runtime.ts";
import { MagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import { publicKeySchema } from "../network/wire-types.ts";
import { trialSpecSchema } from "../research/trials/protocol.ts";
import type { Json, TrialSpec } from "../research/types.ts";

const shareSchema = z.strictObject({
  /** Absolute path of the task file, at whose folder relative paths start. */
  file: z.string().max(4096),
  document: z.json(),
  seed: z.int().nullable(),
});
const trialSchema = z.strictObject({
  node: publicKeySchema,
  task: taskRefSchema,
  spec: trialSpecSchema,
  cpu_limit_s: z.number().positive(),
});

/** Throws REQUEST_INVALID with the field's name. */
function checked<T>(schema: z.ZodType<T>, request: unknown): T {
  const result = schema.safeParse(request);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const field = issue.path.join(".") || "request";
  throw new MagnetError("REQUEST_INVALID", `${field}: ${issue.message}`, { exit: "usage" });
}

export interface ResearchControl {
  nodes(): Promise<unknown>;
  /** Makes a task's data available to the nodes; returns what names it. */
  share(request: unknown): Promise<unknown>;
  /** Runs one trial on one node and waits for its end; the outputs are then in the store. */
  trial(request: unknown, signal: AbortSignal): Promise<unknown>;
  /** Path of a trial's outputs, or undefined. */
  outputsPath(hash: string): string | undefined;
}

export function researchControl({ research }: RunningNode): ResearchControl {
  const { dispatcher, tasks, blobs } = research;
  return {
    nodes: async () => ({ nodes: await dispatcher.nodes() }),
    async share(request) {
      const { file, document, seed } = checked(shareSchema, request);
      return { task: await tasks.share({ file, document: document as Json, seed }) };
    },
    async trial(request, signal) {
      const { node, task, spec, cpu_limit_s } = checked(trialSchema, request);
      const trial = spec as unknown as TrialSpec;
      return { result: await dispatcher.run({ node, task, spec: trial, cpu_limit_s, signal }) };
    },
    outputsPath: (hash) => (blobs.has(hash as Hash) ? blobs.pathOf(hash as Hash) : undefined),
  };
}
