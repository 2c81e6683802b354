/**
 * Nodes of the network as workers of a run: trials go through the node that runs on this machine's
 * data folder to nodes that take them. Only the run's coordinator decides; a node that leaves costs
 * the trials that it had, which go to others.
 */
import { z } from "zod";
import { sha256Hex } from "../../core/bytes.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { ControlClient } from "../../http/control-client.ts";
import { overrunSeconds } from "../../research/trials/limits.ts";
import type { RunTask } from "../../research/trials/open-run.ts";
import { checkOutputs, outcomeRecordSchema } from "../../research/trials/outcome-record.ts";
import type {
  EvaluateLimits,
  TrialWorker,
  WorkerAnswer,
  WorkerSource,
} from "../../research/trials/trial-worker.ts";
import type { TrialSpec } from "../../research/types.ts";

const nodesSchema = z.object({
  nodes: z.array(
    z.object({
      public_key: z.string(),
      node_id: z.string(),
      workers: z.int(),
      trial_cpu_s: z.number(),
      version: z.string(),
    }),
  ),
});
type Node = z.infer<typeof nodesSchema>["nodes"][number];

const resultSchema = z.object({
  result: z.object({
    kind: z.enum(["done", "failed", "timed_out", "lost", "refused"]),
    record: outcomeRecordSchema.nullable(),
    error: z.string().nullable(),
    log: z.string().nullable(),
    cpu_s: z.number().nonnegative(),
  }),
});

/** How long a node that has left is waited for, before the run goes on without it. */
const ABSENT_MS = 600_000;
const LOOK_MS = 1000;
/** Trials in a row that a node has lost, before it is not asked any more. */
const LOSSES_MAX = 8;

export interface NetworkOptions {
  readonly control: ControlClient;
  readonly task: RunTask;
  /** Version of this program: another one may compute something else. */
  readonly version: string;
  /** Places to take at most. */
  readonly workers_max: number;
}

const nodesOf = async (control: ControlClient): Promise<Node[]> =>
  nodesSchema.parse(await control.get("/v1/research/nodes")).nodes;

/** One place on each node in turn, until there are enough. Throws NO_RESEARCH_NODES. */
export async function networkSources(
  options: NetworkOptions,
): Promise<{ sources: NetworkPlace[]; nodes: string[] }> {
  const { control, task, version, workers_max } = options;
  const all = await nodesOf(control);
  const nodes = all.filter((node) => node.version === version);
  if (nodes.length === 0)
    throw new MagnetError("NO_RESEARCH_NODES", "no connected node takes trials of this version", {
      hint: "start nodes with magnet join --research WORKERS; magnet peers list shows who is there",
      exit: "unreachable",
      retryable: true,
    });
  const shared = (await control.post("/v1/research/tasks", task)) as { task: unknown };
  const most = Math.max(...nodes.map(({ workers }) => workers));
  const places = Array.from({ length: most }, (_, i) => nodes.filter((n) => n.workers > i)).flat();
  const sources = places
    .slice(0, workers_max)
    .map((node) => new NetworkPlace(control, shared.task, node));
  return { sources, nodes: nodes.map(({ node_id }) => node_id) };
}

/** One place for a trial on one node. */
export class NetworkPlace implements WorkerSource {
  readonly foreign = true;
  #cpu_s = 0;
  /** Why the node cannot run this task: it is not asked again. */
  #refused: string | null = null;
  #losses = 0;

  constructor(
    private readonly control: ControlClient,
    private readonly task: unknown,
    private readonly node: Node,
  ) {}

  /** Waits until the node is connected and takes trials. Throws NODE_LOST after a while. */
  async open(): Promise<TrialWorker> {
    const began_ms = performance.now();
    const { public_key, node_id } = this.node;
    if (this.#refused !== null)
      throw new MagnetError("NODE_REFUSED", `${node_id} does not run this task: ${this.#refused}`, {
        hint: "its log says more; the run goes on without it",
      });
    while (performance.now() < began_ms + ABSENT_MS) {
      const nodes = await nodesOf(this.control);
      if (nodes.some((node) => node.public_key === public_key)) return this.#worker();
      await Bun.sleep(LOOK_MS);
    }
    throw new MagnetError("NODE_LOST", `${node_id} did not come back`, {
      hint: "the run goes on without it",
      exit: "unreachable",
    });
  }

  cpuSeconds(): number {
    return this.#cpu_s;
  }

  #worker(): TrialWorker {
    const closed = new AbortController();
    return {
      name: this.node.node_id,
      evaluate: (spec, limits) => this.#evaluate(spec, limits, closed.signal),
      async close() {
        closed.abort();
      },
    };
  }

  async #evaluate(
    spec: TrialSpec,
    { cpu_limit_s }: EvaluateLimits,
    signal: AbortSignal,
  ): Promise<WorkerAnswer> {
    const { public_key, trial_cpu_s } = this.node;
    const lost = (error: string): WorkerAnswer => ({
      ...{ kind: "lost", error, blamed: false, cpu_s: 0, log: null },
    });
    const limit_s = cpu_limit_s ?? trial_cpu_s;
    if (limit_s > trial_cpu_s) {
      this.#refused = `it allows ${trial_cpu_s} CPU seconds a trial, of ${limit_s}`;
      return lost(this.#refused);
    }
    try {
      const request = { node: public_key, task: this.task, spec, cpu_limit_s: limit_s };
      const answer = await this.control.post("/v1/research/trials", request, signal);
      const { result } = resultSchema.parse(answer);
      const { kind, record, error, log, cpu_s } = result;
      // Of a cache as well: the loop plans with it, and no re-computation can check it.
      const said = [cpu_s, record?.cpu_s ?? 0, record?.figures.kept_s ?? 0];
      const wrong = said.find((s) => !(Number(s) >= 0 && Number(s) <= overrunSeconds(limit_s)));
      if (wrong !== undefined) {
        this.#refused = `it charges ${wrong} CPU seconds, of ${limit_s} allowed`;
        return lost(this.#refused);
      }
      this.#cpu_s += cpu_s;
      const reason = error ?? "no reason given";
      if (kind === "lost") return { kind, error: reason, blamed: true, cpu_s, log };
      if (kind === "refused") {
        this.#refused = reason;
        return lost(reason);
      }
      if (kind !== "done") return { kind, error: reason, cpu_s, log };
      const outputs = record!.outputs_hash ? await this.#outputs(record!.outputs_hash) : null;
      checkOutputs(outputs);
      this.#losses = 0;
      return { kind, record: record as never, outputs, cpu_s, log };
    } catch (error) {
      const { code, message } = toMagnetError(error);
      // The same answer would come again: a node that answers nonsense is left.
      if (code === "BAD_OUTCOME" || ++this.#losses >= LOSSES_MAX) this.#refused = message;
      return lost(message);
    }
  }

  async #outputs(hash: string): Promise<Uint8Array> {
    const response = await this.control.researchOutputs(hash);
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (sha256Hex(bytes) !== hash)
      throw new MagnetError("BLOB_CORRUPT", "the outputs of a trial are damaged");
    return bytes;
  }
}
