/**
 * Who is let in: the guards that every request passes, in order. Names and origins first, since
 * they cost nothing and tell a stranger nothing; then the key; then how much of the server one
 * client and all together may take.
 */
import type { MiddlewareHandler } from "hono";
import type { Clock } from "../../core/clock.ts";
import { ApiError, busy } from "./api-error.ts";
import type { ApiKeys } from "./api-keys.ts";
import type { ServeEnvironment } from "./context.ts";
import type { ServeLimits } from "./limits.ts";
import { hostName, isLoopback, originAllowed } from "./origin-check.ts";
import { RateLimiter } from "./rate-limit.ts";
import type { RequestWork } from "./request-work.ts";

type Middleware = MiddlewareHandler<ServeEnvironment>;

/** Answered without a key, so that whoever watches the server needs none. */
const OPEN_ROUTES = new Set(["/", "/health", "/ready"]);
/** Answered at any load. */
const LIGHT_ROUTES = new Set(["/", "/health", "/ready", "/metrics"]);
/** What a server that sells to strangers does not show them. */
const OPERATOR_ROUTE = "/metrics";
const PREFLIGHT_SECONDS = "600";

/** Refuses foreign names (DNS rebinding) and foreign pages; answers preflights. */
export function originGuard(options: {
  loopback: boolean;
  cors_origins: readonly string[];
  /** Of answers, besides ours. */
  exposed_headers: readonly string[];
}): Middleware {
  const { loopback, cors_origins } = options;
  const exposed = ["x-request-id", "retry-after", ...options.exposed_headers].join(", ");
  return async (context, next) => {
    const host = context.req.header("host");
    const name = host === undefined ? undefined : hostName(host);
    if (loopback && (name === undefined || !isLoopback(name)))
      throw new ApiError(
        403,
        "host_not_allowed",
        "this server answers only to names of this machine: use localhost or 127.0.0.1",
      );
    const origin = context.req.header("origin");
    if (!originAllowed(origin, host, cors_origins))
      throw new ApiError(
        403,
        "origin_not_allowed",
        "pages of this origin may not use this server; its operator can allow the origin",
      );
    if (origin !== undefined) allowOrigin(context, origin, { allowed: cors_origins, exposed });
    if (context.req.method === "OPTIONS" && origin !== undefined) return context.body(null, 204);
    return next();
  };
}

function allowOrigin(
  context: Parameters<Middleware>[0],
  origin: string,
  { allowed, exposed }: { allowed: readonly string[]; exposed: string },
): void {
  context.header("access-control-allow-origin", allowed.includes("*") ? "*" : origin);
  context.header("vary", "Origin");
  context.header("access-control-expose-headers", exposed);
  if (context.req.method !== "OPTIONS") return;
  context.header("access-control-allow-methods", "GET, HEAD, POST, OPTIONS");
  // The origin is trusted: it may send what headers it likes.
  const wanted = context.req.header("access-control-request-headers");
  if (wanted !== undefined) context.header("access-control-allow-headers", wanted);
  context.header("access-control-max-age", PREFLIGHT_SECONDS);
}

/**
 * Asks for an API key where the server has any. Where routes are sold, who brings no key may come
 * in and pays; what the operator alone should see still needs a key, or this machine.
 */
export function keyGuard(keys: ApiKeys, { sold }: { sold: boolean }): Middleware {
  return async (context, next) => {
    const { path } = context.req;
    if (keys.size === 0) {
      const own = isLoopback(context.get("work").address);
      if (!sold || own || path !== OPERATOR_ROUTE) return next();
    }
    const given = /^Bearer\s+(\S+)\s*$/i.exec(context.req.header("authorization") ?? "")?.[1];
    const id = given === undefined ? undefined : keys.find(given);
    context.get("work").key_id = id;
    if (id !== undefined || OPEN_ROUTES.has(path)) return next();
    if (sold && given === undefined && path !== OPERATOR_ROUTE) return next();
    const message =
      given === undefined
        ? "an API key is needed: send it as Authorization: Bearer KEY"
        : "the API key is not known here";
    throw new ApiError(401, "invalid_api_key", message, {
      headers: { "www-authenticate": "Bearer" },
    });
  };
}

export interface LoadOptions {
  limits: ServeLimits;
  clock: Clock;
  /** All requests in work, this one included. */
  inWork(): Iterable<RequestWork>;
  stopping(): boolean;
}

/** Bounds what one client and all clients together take. */
export function loadGuard({ limits, clock, inWork, stopping }: LoadOptions): Middleware {
  const rate = new RateLimiter(limits.requests_per_minute);
  return async (context, next) => {
    if (LIGHT_ROUTES.has(context.req.path)) return next();
    if (stopping()) throw busy(503, "server_stopping", "the server stops");
    const { client } = context.get("work");
    const wait_s = rate.take(client, clock.now_ms());
    if (wait_s > 0) {
      const allowed = `${limits.requests_per_minute} requests a minute are allowed`;
      throw busy(429, "rate_limit_exceeded", allowed, wait_s);
    }
    let all = 0;
    let own = 0;
    for (const work of inWork()) {
      all++;
      if (work.client === client) own++;
    }
    if (all > limits.requests_max)
      throw busy(503, "server_busy", `${limits.requests_max} requests are in work`);
    if (limits.requests_per_client > 0 && own > limits.requests_per_client) {
      const allowed = `${limits.requests_per_client} requests at once are allowed`;
      throw busy(429, "too_many_requests", allowed);
    }
    return next();
  };
}
