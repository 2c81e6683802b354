/** Talks to the node that runs on a data folder, through its control.json. */
import fs from "node:fs";
import { z } from "zod";
import { EXIT, type ExitKind, MagnetError, toMagnetError } from "../core/errors.ts";
import { controlFile } from "./control-server.ts";

/** A question is answered from memory; a blob comes from the disk of the same machine. */
const READ_DEADLINE_MS = 120_000;
/** Handing a job over copies its data and computes its initial state. */
const WORK_DEADLINE_MS = 3_600_000;

const addressSchema = z.object({ url: z.string(), token: z.string(), pid: z.int() });
const failureSchema = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    hint: z.string().optional(),
    retryable: z.boolean().optional(),
    exit: z.enum(Object.keys(EXIT) as [ExitKind, ...ExitKind[]]).optional(),
  }),
});

export interface ControlClient {
  get(route: string): Promise<unknown>;
  /** `signal` gives up waiting, and the node stops what it was asked for. */
  post(route: string, body?: unknown, signal?: AbortSignal): Promise<unknown>;
  /** The bytes of a blob that the node holds. */
  blob(hash: string): Promise<Response>;
  /** The outputs of a trial that a node of the network has run. */
  researchOutputs(hash: string): Promise<Response>;
}

const notRunning = (data_dir: string, cause?: unknown) =>
  new MagnetError("NODE_NOT_RUNNING", `no node runs on ${data_dir}`, {
    hint: `start one: magnet join --data-dir ${data_dir}`,
    exit: "unreachable",
    cause,
  });

/** Throws NODE_NOT_RUNNING where no node answers; a node's own refusal keeps its code. */
export function connectControl(data_dir: string): ControlClient {
  let address: z.infer<typeof addressSchema>;
  try {
    address = addressSchema.parse(JSON.parse(fs.readFileSync(controlFile(data_dir), "utf8")));
  } catch (error) {
    throw notRunning(data_dir, error);
  }
  const call = async (route: string, init: RequestInit): Promise<Response> => {
    const deadline_ms = init.method === "POST" ? WORK_DEADLINE_MS : READ_DEADLINE_MS;
    let response: Response;
    try {
      response = await fetch(address.url + route, {
        ...init,
        headers: { authorization: `Bearer ${address.token}`, "content-type": "application/json" },
        signal: AbortSignal.any([
          AbortSignal.timeout(deadline_ms),
          ...(init.signal ? [init.signal] : []),
        ]),
      });
    } catch (error) {
      if (init.signal?.aborted) throw toMagnetError(init.signal.reason);
      if ((error as Error).name !== "TimeoutError") throw notRunning(data_dir, error);
      throw new MagnetError("CONTROL_TIMEOUT", `the node did not answer in ${deadline_ms} ms`, {
        hint: "its log says what it does; magnet node status tries again",
        retryable: true,
        exit: "timeout",
        cause: error,
      });
    }
    if (response.ok) return response;
    const failure = failureSchema.safeParse(await response.json().catch(() => undefined));
    if (!failure.success)
      throw new MagnetError("CONTROL_FAILED", `the node answered ${response.status} to ${route}`);
    const { code, message, hint, retryable = false, exit = "failed" } = failure.data.error;
    throw new MagnetError(code, message, { retryable, exit, ...(hint && { hint }) });
  };
  return {
    get: async (route) => (await call(route, { method: "GET" })).json(),
    post: async (route, body, signal) => {
      const init = { method: "POST", body: JSON.stringify(body ?? {}) };
      return (await call(route, signal ? { ...init, signal } : init)).json();
    },
    blob: (hash) => call(`/v1/blobs/${hash}`, { method: "GET" }),
    researchOutputs: (hash) => call(`/v1/research/outputs/${hash}`, { method: "GET" }),
  };
}
