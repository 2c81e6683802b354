/**
 * The chain's JSON-RPC over HTTP. A page of any site can make a browser send requests here, so a
 * request that names an origin is answered only for allowed ones, and on a loopback address only
 * loopback names count (DNS rebinding). An address that other machines reach needs a token. Bodies,
 * batches, answers and requests at once are bounded.
 */
import crypto from "node:crypto";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { roomLog } from "../../core/log.ts";
import type { EmbeddedChain } from "./chain.ts";
import { HTTP_LIMITS } from "./limits.ts";
import { callMethod, type Methods, rpcMethods } from "./rpc.ts";
import { RPC_CODE, RpcError, tooMuch } from "./rpc-error.ts";

const log = roomLog("chain");

export interface ServeChainOptions {
  /** 127.0.0.1 unless given. Another machine's address needs tokens. */
  host?: string | undefined;
  /** 0: any free one. */
  port?: number | undefined;
  /** Whoever sends one as `Authorization: Bearer` is let in; none: everyone on this machine. */
  tokens?: readonly string[] | undefined;
  /** Of pages that may use the chain. */
  origins?: readonly string[] | undefined;
}

export interface RunningChain {
  url: string;
  /** Lets running requests end, then stops listening. The chain itself stays open. */
  stop(): Promise<void>;
}

/** Shorter tokens can be guessed over the network. */
const TOKEN_LENGTH_MIN = 16;

function isLoopback(host: string): boolean {
  const name = host
    .toLowerCase()
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "");
  if (name === "localhost" || name.endsWith(".localhost") || name === "::1") return true;
  return /^127(\.\d{1,3}){3}$/.test(name) || /^::ffff:127(\.\d{1,3}){3}$/.test(name);
}

const digest = (text: string) => crypto.createHash("sha256").update(text).digest();

interface Gate {
  loopback: boolean;
  tokens: Buffer[];
  origins: readonly string[];
}

const nameOf = (host: string) =>
  /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/.exec(host)?.[1];

/** Why the request may not be answered; undefined where it may. */
function refusal(request: Request, gate: Gate): [status: number, reason: string] | undefined {
  const host = request.headers.get("host");
  const name = host === null ? undefined : nameOf(host);
  if (gate.loopback && (name === undefined || !isLoopback(name)))
    return [403, "this chain answers to names of this machine only"];
  const origin = request.headers.get("origin");
  if (origin !== null && !gate.origins.includes(origin) && !gate.origins.includes("*"))
    return [403, "pages of this origin may not use the chain (--cors-origin)"];
  if (gate.tokens.length === 0) return undefined;
  const given = /^Bearer (.+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  const hash = digest(given ?? "");
  let found = false;
  for (const token of gate.tokens) if (crypto.timingSafeEqual(token, hash)) found = true;
  return found && given !== undefined
    ? undefined
    : [401, "a token is needed: Authorization: Bearer TOKEN"];
}

function corsHeaders(request: Request, gate: Gate): Record<string, string> {
  const origin = request.headers.get("origin");
  if (origin === null || gate.origins.length === 0) return {};
  return {
    "access-control-allow-origin": origin,
    "access-control-allow-headers": "content-type, authorization",
    "access-control-allow-methods": "POST, OPTIONS",
    vary: "origin",
  };
}

const failure = (id: unknown, code: number, message: string, data?: string) => ({
  ...{ jsonrpc: "2.0", id: id ?? null },
  error: data === undefined ? { code, message } : { code, message, data },
});

/** Reads the body within its limits; undefined where it is too long or too slow. */
async function readBody(request: Request): Promise<string | undefined> {
  const reader = request.body?.getReader();
  if (reader === undefined) return "";
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), HTTP_LIMITS.body_ms);
  });
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for (;;) {
      const next = await Promise.race([reader.read(), late]);
      if (next === undefined) return undefined;
      if (next.done) return Buffer.concat(parts, length).toString("utf8");
      length += next.value.byteLength;
      if (length > HTTP_LIMITS.body_bytes) return undefined;
      parts.push(next.value);
    }
  } finally {
    clearTimeout(timer);
    void reader.cancel().catch(() => undefined);
  }
}

/** One call of a batch; undefined for a notification, which gets no answer. */
async function answer(methods: Methods, call: unknown): Promise<object | undefined> {
  if (typeof call !== "object" || call === null || Array.isArray(call))
    return failure(null, RPC_CODE.invalid_request, "a call is an object");
  const { id, method, params } = call as Record<string, unknown>;
  if (id !== undefined && id !== null && typeof id !== "string" && typeof id !== "number")
    return failure(null, RPC_CODE.invalid_request, "an id is text or a number");
  if (typeof method !== "string")
    return failure(id, RPC_CODE.invalid_request, "there is no method");
  try {
    const result = await callMethod(methods, method, params);
    return id === undefined ? undefined : { jsonrpc: "2.0", id, result: result ?? null };
  } catch (error) {
    if (error instanceof RpcError)
      return id === undefined ? undefined : failure(id, error.code, error.message, error.data);
    // Not the caller's fault: the log says what happened, the caller only that it did.
    const { code, message } = toMagnetError(error);
    log.error("request_failed", { method: method.slice(0, 80), code, reason: message });
    return failure(id, RPC_CODE.internal, "internal error");
  }
}

/** How long a batch may keep all others waiting at a stretch. */
const TURN_MS = 50;

async function tooLong(call: unknown): Promise<object> {
  const { id } = (call ?? {}) as { id?: unknown };
  return failure(id, RPC_CODE.limit_exceeded, "the batch's answer is too long");
}

async function answerAll(methods: Methods, calls: unknown[]): Promise<string> {
  if (calls.length === 0)
    return JSON.stringify(failure(null, RPC_CODE.invalid_request, "the batch is empty"));
  if (calls.length > HTTP_LIMITS.batch) {
    const { code, message } = tooMuch(`a batch has at most ${HTTP_LIMITS.batch} calls`);
    return JSON.stringify(failure(null, code, message));
  }
  // Transactions begin at once, so that those of one batch share one block and one fsync; all else
  // runs in turn and stops when the answer is long enough.
  const sent = new Map<number, Promise<object | undefined>>();
  for (const [i, call] of calls.entries())
    if ((call as { method?: unknown } | null)?.method === "eth_sendRawTransaction")
      sent.set(i, answer(methods, call));
  const texts: string[] = [];
  let bytes = 0;
  let rested_ms = performance.now();
  for (const [i, call] of calls.entries()) {
    const full = bytes > HTTP_LIMITS.answer_bytes;
    const one = await (sent.get(i) ?? (full ? tooLong(call) : answer(methods, call)));
    if (one === undefined) continue;
    const text = JSON.stringify(one);
    bytes += text.length;
    texts.push(text);
    if (performance.now() - rested_ms < TURN_MS) continue;
    await new Promise<void>((resolve) => setImmediate(resolve)); // others are served meanwhile
    rested_ms = performance.now();
  }
  return texts.length === 0 ? "" : `[${texts.join(",")}]`;
}

async function handle(request: Request, methods: Methods): Promise<[status: number, body: string]> {
  if (request.method !== "POST") return [405, "POST a JSON-RPC call"];
  const body = await readBody(request);
  if (body === undefined)
    return [
      413,
      JSON.stringify(failure(null, RPC_CODE.invalid_request, "the body is too long or too slow")),
    ];
  let call: unknown;
  try {
    call = JSON.parse(body);
  } catch {
    return [200, JSON.stringify(failure(null, RPC_CODE.parse_error, "the body is no JSON"))];
  }
  if (Array.isArray(call)) return [200, await answerAll(methods, call)];
  const one = await answer(methods, call);
  return one === undefined ? [204, ""] : [200, JSON.stringify(one)];
}

function checkExposure(host: string, tokens: readonly string[]): void {
  const weak = tokens.find((token) => token.length < TOKEN_LENGTH_MIN);
  if (weak !== undefined)
    throw new MagnetError("BAD_API_KEY", "a token is too short", {
      hint: `a token has at least ${TOKEN_LENGTH_MIN} characters: openssl rand -hex 24`,
      exit: "config",
    });
  if (isLoopback(host) || tokens.length > 0) return;
  throw new MagnetError("KEY_NEEDED", `${host} can be reached from other machines`, {
    hint: "give tokens (--api-key-file, or MAGNET_API_KEYS), or listen on 127.0.0.1",
    exit: "config",
  });
}

/** How long running requests may take at the end, and then their last bytes to their readers. */
const GRACE_MS = 10_000;
const LAST_BYTES_MS = 500;

async function within(work: Promise<unknown>, limit_ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, limit_ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}

/** Opens the port. Throws KEY_NEEDED, BAD_API_KEY, PORT_IN_USE, BAD_ADDRESS. */
export function serveChain(chain: EmbeddedChain, options: ServeChainOptions = {}): RunningChain {
  const { host = "127.0.0.1", port = 0, tokens = [], origins = [] } = options;
  checkExposure(host, tokens);
  const gate: Gate = { loopback: isLoopback(host), tokens: tokens.map(digest), origins };
  const methods = rpcMethods(chain);
  let running = 0;
  let stopping: Promise<void> | undefined;
  const onIdle = new Set<() => void>();
  const fetch = async (request: Request): Promise<Response> => {
    const denied = refusal(request, gate);
    const headers = corsHeaders(request, gate);
    const text = { "content-type": "text/plain; charset=utf-8" };
    if (request.method === "OPTIONS" && (denied === undefined || denied[0] === 401))
      return new Response(null, { status: 204, headers }); // a preflight carries no token
    if (denied !== undefined) return new Response(denied[1], { status: denied[0], headers: text });
    if (running >= HTTP_LIMITS.requests)
      return new Response("too many requests at once", {
        status: 503,
        headers: { ...text, "retry-after": "1" },
      });
    running++;
    try {
      const [status, body] = await handle(request, methods);
      const type = status === 405 ? text : { "content-type": "application/json" };
      return new Response(status === 204 ? null : body, {
        status,
        headers: { ...type, ...headers },
      });
    } finally {
      running--;
      if (running === 0) for (const idle of onIdle) idle();
    }
  };
  let server: ReturnType<typeof Bun.serve>;
  try {
    server = Bun.serve({
      ...{ hostname: host, port, fetch, development: false, reusePort: false },
      idleTimeout: HTTP_LIMITS.idle_s,
      // Our own limit answers in the client's form; this bounds what is read of what is refused.
      maxRequestBodySize: 2 * HTTP_LIMITS.body_bytes,
    });
  } catch (error) {
    throw toMagnetError(error);
  }
  const shown = host.includes(":") ? `[${host.replace(/^\[|\]$/g, "")}]` : host;
  const url = `http://${shown}:${server.port}`;
  log.info("chain_listening", { url, chain_id: chain.chain_id, tokens: tokens.length });
  return {
    url,
    stop() {
      stopping ??= (async () => {
        const sent = server.stop(false);
        if (running > 0)
          await within(new Promise<void>((resolve) => onIdle.add(resolve)), GRACE_MS);
        await within(sent, LAST_BYTES_MS);
        await server.stop(true);
      })();
      return stopping;
    },
  };
}
