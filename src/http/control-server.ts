/**
 * The node's local control interface: HTTP on a loopback port with a random bearer token, both
 * written to control.json (mode 0600) in the data folder, so that only the same user's commands
 * reach it. Other machines never do: the listener is bound to 127.0.0.1.
 */
import fs from "node:fs";
import path from "node:path";
import { type Context, Hono } from "hono";
import { equalBytes, toHex } from "../core/bytes.ts";
import { EXIT, MagnetError, toMagnetError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { ResearchControl } from "./research-control.ts";

/** A request body is a job's specification or a research task's document at most. */
const BODY_LIMIT_BYTES = 2 << 20;

const STOP_DELAY_MS = 50;

/** What a running node lets its local user see and do; every answer is JSON. */
export interface NodeControl {
  status(): unknown;
  peers(): unknown;
  rounds(): unknown;
  storage(): unknown;
  /** The node's part in the network's ledger. */
  ledger(): Promise<unknown>;
  /** One epoch; null: the newest that is settled. */
  ledgerEpoch(epoch: number | null): Promise<unknown>;
  /** Imports the named local files as blobs, then announces the job. */
  submitJob(request: unknown): Promise<unknown>;
  /** Path of a local blob, or undefined. */
  blobPath(hash: string): string | undefined;
  /** Restores an erasure-coded object from its shards into a new file. */
  restoreObject(request: unknown): Promise<unknown>;
  /** Trials of research on other nodes. */
  research: ResearchControl;
  stop(): void;
}

export interface ControlServer {
  url: string;
  close(): Promise<void>;
}

/** Where a node's control address and token are found. */
export const controlFile = (data_dir: string): string => path.join(data_dir, "control.json");

function statusOf(error: MagnetError): 400 | 404 | 500 {
  if (EXIT[error.exit] === EXIT.usage || EXIT[error.exit] === EXIT.config) return 400;
  return error.code === "NOT_FOUND" ? 404 : 500;
}

async function bodyOf({ req }: Context): Promise<unknown> {
  try {
    return await req.json();
  } catch {
    throw new MagnetError("REQUEST_INVALID", "the request body is not JSON", { exit: "usage" });
  }
}

function routes(control: NodeControl, token: string): Hono {
  const app = new Hono();
  const expected = new TextEncoder().encode(`Bearer ${token}`);
  app.use(async (context, next) => {
    const given = new TextEncoder().encode(context.req.header("authorization") ?? "");
    if (equalBytes(given, expected)) return next();
    return context.json({ error: { code: "NOT_AUTHORIZED", message: "wrong control token" } }, 401);
  });
  app.onError((thrown, context) => {
    const error = toMagnetError(thrown);
    const { code, message, hint, retryable, exit } = error;
    return context.json({ error: { code, message, hint, retryable, exit } }, statusOf(error));
  });
  app.notFound((context) => {
    const message = `there is no ${context.req.method} ${context.req.path}`;
    return context.json({ error: { code: "NO_SUCH_ROUTE", message } }, 404);
  });
  app.get("/v1/status", (context) => context.json(control.status() as object));
  app.get("/v1/peers", (context) => context.json(control.peers() as object));
  app.get("/v1/rounds", (context) => context.json(control.rounds() as object));
  app.get("/v1/storage", (context) => context.json(control.storage() as object));
  app.get("/v1/ledger", async (context) => context.json((await control.ledger()) as object));
  app.get("/v1/ledger/epochs/:epoch{latest|[0-9]{1,12}}", async (context) => {
    const epoch = context.req.param("epoch");
    return context.json(
      (await control.ledgerEpoch(epoch === "latest" ? null : Number(epoch))) as object,
    );
  });
  app.post("/v1/jobs", async (context) =>
    context.json((await control.submitJob(await bodyOf(context))) as object),
  );
  app.post("/v1/objects/restore", async (context) =>
    context.json((await control.restoreObject(await bodyOf(context))) as object),
  );
  app.get("/v1/blobs/:hash{[0-9a-f]{64}}", (context) => {
    const file = control.blobPath(context.req.param("hash"));
    if (!file) throw new MagnetError("NOT_FOUND", "this node does not hold that blob");
    return new Response(Bun.file(file));
  });
  researchRoutes(app, control.research);
  app.post("/v1/stop", (context) => {
    setTimeout(control.stop, STOP_DELAY_MS); // after this answer has left
    return context.json({ stopping: true });
  });
  return app;
}

function researchRoutes(app: Hono, research: ResearchControl): void {
  app.get("/v1/research/nodes", async (context) =>
    context.json((await research.nodes()) as object),
  );
  app.post("/v1/research/tasks", async (context) =>
    context.json((await research.share(await bodyOf(context))) as object),
  );
  app.post("/v1/research/trials", async (context) => {
    const { signal } = context.req.raw; // aborted when the command that asked has gone
    return context.json((await research.trial(await bodyOf(context), signal)) as object);
  });
  app.get("/v1/research/outputs/:hash{[0-9a-f]{64}}", (context) => {
    const file = research.outputsPath(context.req.param("hash"));
    if (!file) throw new MagnetError("NOT_FOUND", "this node does not hold these outputs");
    return new Response(Bun.file(file));
  });
}

/** Starts the control interface and writes control.json (atomically, mode 0600). */
export function serveControl(
  control: NodeControl,
  options: { data_dir: string; random: Random },
): ControlServer {
  const token = toHex(options.random.bytes(32));
  const app = routes(control, token);
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    maxRequestBodySize: BODY_LIMIT_BYTES,
    // Importing a job's data takes as long as it takes; only this user's own commands wait here.
    idleTimeout: 0,
    fetch: app.fetch,
  });
  const url = `http://127.0.0.1:${server.port}`;
  const file = controlFile(options.data_dir);
  const temporary = `${file}.${process.pid}.tmp`;
  fs.writeFileSync(temporary, `${JSON.stringify({ url, token, pid: process.pid })}\n`, {
    mode: 0o600,
  });
  fs.renameSync(temporary, file);
  return {
    url,
    close: async () => {
      fs.rmSync(file, { force: true });
      await server.stop(true);
    },
  };
}
