/**
 * The server on a port. The port opens first and the models load behind it: /health answers at
 * once, /ready when all are there. Closing refuses new work, lets running answers end within the
 * grace period, and then gives everything back.
 */
import { type Clock, systemClock } from "../../core/clock.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { type Log, roomLog } from "../../core/log.ts";
import { type Random, systemRandom } from "../../core/random.ts";
import { createServeApp, type ServeApp } from "./app.ts";
import type { OpenPaidDoor } from "./context.ts";
import { DEFAULT_LIMITS, IDLE_TIMEOUT_S, type ServeLimits } from "./limits.ts";
import { ModelHost, type ModelSource } from "./model-host.ts";
import { isLoopback } from "./origin-check.ts";

export interface StartServerOptions {
  models: readonly ModelSource[];
  /** Default 127.0.0.1. Another machine's address needs an API key. */
  host?: string;
  /** 0: any free one. */
  port: number;
  /** From `loadApiKeys`; empty: no key is asked for. */
  api_keys?: readonly string[];
  cors_origins?: readonly string[];
  limits?: Partial<ServeLimits>;
  version: string;
  clock?: Clock;
  monotonic_ms?: () => number;
  random?: Random;
  log?: Log;
  /** Sells routes; then another machine's address needs no key. */
  paid?: OpenPaidDoor;
}

export interface RunningServer {
  url: string;
  /** Fulfilled once all models answer; rejected with the failure of the first that cannot. */
  ready: Promise<void>;
  app: ServeApp;
  /** Stops accepting, waits for running answers up to grace_ms (of the limits unless given). */
  close(grace_ms?: number): Promise<void>;
}

/** How long the last bytes of ended answers may take to their readers when the server stops. */
const LAST_BYTES_MS = 1000;

async function settledWithin(work: Promise<unknown>, limit_ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, limit_ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

/** Throws KEY_NEEDED: whoever reaches the port could use the machine. */
function checkExposure(host: string, keys: readonly string[]): void {
  if (isLoopback(host) || keys.length > 0) return;
  throw new MagnetError("KEY_NEEDED", `${host} can be reached from other machines`, {
    hint: "give API keys (a file with one a line, or MAGNET_API_KEYS), sell (--paid), or listen on 127.0.0.1",
    exit: "config",
  });
}

function listen(app: ServeApp, host: string, port: number, limits: ServeLimits) {
  try {
    return Bun.serve({
      hostname: host,
      port,
      // Our own limit answers in the client's form; this one bounds what is read of what is refused.
      maxRequestBodySize: 4 * limits.body_bytes,
      idleTimeout: IDLE_TIMEOUT_S,
      development: false,
      // Outside of development the runtime would share the port with another server in silence.
      reusePort: false,
      fetch(request, server) {
        return app.fetch(request, {
          address: server.requestIP(request)?.address ?? "unknown",
          hold: () => server.timeout(request, 0),
          release: () => server.timeout(request, IDLE_TIMEOUT_S),
        });
      },
    });
  } catch (error) {
    throw toMagnetError(error);
  }
}

/**
 * Opens the port and begins to load. Throws KEY_NEEDED, BAD_API_KEY, BAD_ORIGIN, BAD_MODEL_NAME,
 * NO_MODEL, PORT_IN_USE, BAD_ADDRESS.
 */
export async function startServer(options: StartServerOptions): Promise<RunningServer> {
  const { host = "127.0.0.1", port, api_keys = [], cors_origins = [], version } = options;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const log = options.log ?? roomLog("http");
  if (options.paid === undefined) checkExposure(host, api_keys);
  const models = new ModelHost(options.models);
  const app = createServeApp({
    ...{ models, api_keys, cors_origins, limits, version, log },
    loopback: isLoopback(host),
    paid: options.paid,
    clock: options.clock ?? systemClock,
    monotonic_ms: options.monotonic_ms ?? (() => performance.now()),
    random: options.random ?? systemRandom,
    resident_bytes: () => process.memoryUsage.rss(),
  });
  const server = listen(app, host, port, limits);
  const shown = host.includes(":") ? `[${host.replace(/^\[|\]$/g, "")}]` : host;
  const url = `http://${shown}:${server.port}`;
  log.info("listening", { url, models: options.models.map(({ id }) => id), keys: api_keys.length });
  const ready = models.load().then(() => log.info("ready", { url }));
  ready.catch(() => undefined); // the caller awaits it, perhaps later than it fails
  let closing: Promise<void> | undefined;
  const close = async (grace_ms: number) => {
    const sent = server.stop(false);
    log.info("stopping", { in_flight: app.in_flight, grace_ms });
    await app.drain(grace_ms);
    await settledWithin(sent, LAST_BYTES_MS);
    await server.stop(true);
    await models.close();
    log.info("stopped");
  };
  return {
    ...{ url, ready, app },
    close: (grace_ms = limits.grace_ms) => {
      closing ??= close(grace_ms);
      return closing;
    },
  };
}
