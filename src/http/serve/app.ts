/**
 * The server's routes with all their guards, as a function from request to response: no socket, no
 * clock and no model of its own, so that tests run it with theirs. start-server.ts puts it on a
 * port.
 */
import { Hono } from "hono";
import { toHex } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { Random } from "../../core/random.ts";
import { addOllamaRoutes, ollamaError } from "../ollama/routes.ts";
import { errorObject } from "../openai/envelope.ts";
import { addOpenAiRoutes } from "../openai/routes.ts";
import { keyGuard, loadGuard, originGuard } from "./admission.ts";
import { ApiError, toApiError } from "./api-error.ts";
import { ApiKeys } from "./api-keys.ts";
import type {
  OpenPaidDoor,
  ServeContext,
  ServeEnvironment,
  ServeHono,
  ServeParts,
} from "./context.ts";
import { embedAll } from "./embed-all.ts";
import type { ServeLimits } from "./limits.ts";
import { ServeMetrics } from "./metrics.ts";
import type { ModelHost } from "./model-host.ts";
import { checkOrigins } from "./origin-check.ts";
import { readBody } from "./read-body.ts";
import { RequestWork } from "./request-work.ts";
import { methodsOf, routeOf } from "./route-table.ts";
import { parseStrictJson } from "./strict-json.ts";

export interface ServeAppOptions {
  models: ModelHost;
  /** Empty: no key is asked for. */
  api_keys: readonly string[];
  /** Origins of pages that may use the server; `*` for any. */
  cors_origins: readonly string[];
  /** The server listens on a loopback address: it answers only to names of this machine. */
  loopback: boolean;
  limits: ServeLimits;
  clock: Clock;
  /** For durations; unlike the clock it never goes back. */
  monotonic_ms(): number;
  random: Random;
  log: Log;
  version: string;
  resident_bytes(): number;
  /** Sells routes: who brings no key pays for them. */
  paid?: OpenPaidDoor | undefined;
}

/** What the app needs of the connection that a request came by. */
export interface Connection {
  address: string;
  /** Lets the connection rest for as long as it takes: an answer may wait for its first byte. */
  hold(): void;
  /** The connection is closed again when nothing moves on it. */
  release(): void;
}

export interface ServeApp {
  fetch(request: Request, connection: Connection): Promise<Response>;
  /** Requests whose answers are not sent to the end yet. */
  readonly in_flight: number;
  /** Refuses new work; resolves once the running work has ended or, after grace_ms, was cancelled. */
  drain(grace_ms: number): Promise<void>;
}

class WorkTable {
  readonly all = new Set<RequestWork>();
  stopping = false;
  #idle: (() => void) | undefined;

  remove(work: RequestWork): void {
    this.all.delete(work);
    if (this.all.size === 0) this.#idle?.();
  }

  async drain(grace_ms: number): Promise<void> {
    this.stopping = true;
    if (this.all.size === 0) return;
    const idle = new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
    const timer = setTimeout(() => {
      for (const work of this.all) work.cancel("stopping");
    }, grace_ms);
    await idle;
    clearTimeout(timer);
  }
}

const seedOf = (random: Random): bigint => Buffer.from(random.bytes(8)).readBigUInt64LE();

function partsOf(options: ServeAppOptions, metrics: ServeMetrics): ServeParts {
  const { limits, random } = options;
  const bytes = async (context: ServeContext) => {
    const read = context.get("bytes") ?? (await readBody(context.req.raw, limits));
    context.set("bytes", read);
    return read;
  };
  return {
    ...{ models: options.models, clock: options.clock, random, version: options.version },
    bytes,
    body: async (context) => context.get("body") ?? parseStrictJson(await bytes(context)),
    randomSeed: () => seedOf(random),
    job: (model, work, choices) => ({ model, work, choices, limits, metrics }),
    embed: embedAll,
  };
}

const isOllama = (route: string): boolean => route.startsWith("/api/");

function errorResponse(context: ServeContext, error: ApiError): Response {
  const body = isOllama(context.req.path) ? ollamaError(error) : errorObject(error);
  // A client that went away reads nothing: any status that a response may have will do.
  const status = error.status === 499 ? 408 : error.status;
  return context.json(body, status as 400, error.headers);
}

/** /health, /ready, /metrics: for whoever runs the server. */
function addOperatorRoutes(app: ServeHono, options: ServeAppOptions, metrics: ServeMetrics): void {
  app.get("/health", (context) => context.json({ status: "ok" }));
  app.get("/ready", (context) => {
    if (options.models.ready) return context.json({ status: "ready" });
    context.header("retry-after", "1");
    return context.json({ status: "loading" }, 503);
  });
  app.get("/metrics", async (context) =>
    context.body(await metrics.text(), 200, { "content-type": metrics.contentType }),
  );
}

function notFound(context: ServeContext): never {
  const { method, path } = context.req;
  const methods = methodsOf(path);
  if (methods.length > 0 && !methods.includes(method))
    throw new ApiError(405, "method_not_allowed", `${path} takes ${methods.join(", ")}`, {
      headers: { allow: methods.join(", ") },
    });
  const shown = JSON.stringify(path.slice(0, 128));
  throw new ApiError(404, "unknown_url", `there is no ${method} ${shown} here`);
}

/** Throws BAD_API_KEY, BAD_ORIGIN. */
export function createServeApp(options: ServeAppOptions): ServeApp {
  checkOrigins(options.cors_origins);
  const keys = new ApiKeys(options.api_keys);
  const table = new WorkTable();
  const { limits, clock, models } = options;
  const metrics = new ServeMetrics({
    version: options.version,
    models: () => models.list(),
    ready: () => models.ready,
    resident_bytes: options.resident_bytes,
  });
  const app: ServeHono = new Hono<ServeEnvironment>();
  app.onError((thrown, context) => errorResponse(context, context.get("work").fail(thrown)));
  app.notFound(notFound);
  app.use((context, next) => {
    context.set("work", context.env.work);
    return next();
  });
  const parts = partsOf(options, metrics);
  const paid = options.paid?.(parts, metrics.registry);
  app.use(originGuard({ ...options, exposed_headers: paid?.exposed_headers ?? [] }));
  app.use(keyGuard(keys, { sold: paid !== undefined }));
  const inWork = () => table.all;
  app.use(loadGuard({ limits, clock, inWork, stopping: () => table.stopping }));
  if (paid) app.use(paid.guard);
  paid?.addRoutes(app);
  addOperatorRoutes(app, options, metrics);
  addOpenAiRoutes(app, parts);
  addOllamaRoutes(app, parts);
  return {
    fetch: (request, connection) => handle(app, table, options, metrics, request, connection),
    get in_flight() {
      return table.all.size;
    },
    drain: (grace_ms) => table.drain(grace_ms),
  };
}

/** One request from its arrival to the end of its answer. */
async function handle(
  app: ServeHono,
  table: WorkTable,
  options: ServeAppOptions,
  metrics: ServeMetrics,
  request: Request,
  connection: Connection,
): Promise<Response> {
  const { log, monotonic_ms, limits, random } = options;
  const work = new RequestWork({
    id: `req_${toHex(random.bytes(12))}`,
    method: request.method,
    route: routeOf(new URL(request.url).pathname),
    ...{ address: connection.address, log, metrics, monotonic_ms },
    onEnd: (ended) => {
      clearTimeout(deadline);
      request.signal.removeEventListener("abort", onClosed);
      connection.release();
      table.remove(ended);
      metrics.inFlight(table.all.size);
    },
  });
  const deadline = setTimeout(() => work.cancel("deadline"), limits.answer_ms);
  const onClosed = () => work.cancel("closed");
  request.signal.addEventListener("abort", onClosed, { once: true });
  connection.hold();
  table.all.add(work);
  metrics.inFlight(table.all.size);
  let response: Response;
  try {
    response = await app.fetch(request, { work });
  } catch (error) {
    response = Response.json(errorObject(toApiError(error)), { status: 500 });
  }
  response.headers.set("x-request-id", work.id);
  if (!work.streaming) work.end(work.cancelled === "closed" ? 499 : response.status);
  return response;
}
