/**
 * JSON-RPC over HTTP to the chain, with what is known of its health: since when it is down, and why.
 * No retries in here: whoever can wait (the queue, the agent) asks again, whoever cannot says so at
 * once. The address is shown without its path, which is where providers put their customers' keys.
 */
import type { Clock } from "../../core/clock.ts";
import { MagnetError } from "../../core/errors.ts";
import { type Answer, readAnswer } from "./rpc-answer.ts";

/** An answer takes at most so long; then the RPC counts as down. */
const TIMEOUT_MS = 15_000;

/** The RPC answered, with an error: the call is wrong, or the chain refuses it. */
export class RpcFailure extends Error {
  constructor(
    readonly method: string,
    readonly code: number,
    message: string,
    readonly data: unknown,
  ) {
    super(message);
    this.name = "RpcFailure";
  }
}

export interface RpcHealth {
  state: "unknown" | "up" | "down";
  /** When it got into this state. */
  since_ms: number;
  /** Why it is down; empty where it is not. */
  reason: string;
}

export interface Rpc {
  /** For messages: scheme, host and port. */
  readonly name: string;
  /** Throws RPC_DOWN (retryable) where no answer comes, RpcFailure where it is an error. */
  request<T>(method: string, params?: readonly unknown[]): Promise<T>;
  health(): RpcHealth;
}

export interface RpcOptions {
  url: string;
  clock: Clock;
  timeout_ms?: number;
  /** Ends requests on their way when the program stops. */
  signal?: AbortSignal;
}

const badUrl = (url: string, why: string) =>
  new MagnetError("BAD_RPC_URL", `--rpc ${url}: ${why}`, {
    hint: "it looks like http://127.0.0.1:8545",
    exit: "usage",
  });

/** Scheme, host and port of an RPC's address. Throws BAD_RPC_URL. */
export function rpcName(url: string): string {
  if (!URL.canParse(url)) throw badUrl(url, "is no address");
  const { protocol, host } = new URL(url);
  if (protocol !== "http:" && protocol !== "https:") throw badUrl(url, "must be http or https");
  return `${protocol}//${host}`;
}

/** What went wrong on the way to the RPC, in a few words. */
function reasonOf(error: unknown, timeout_ms: number): string {
  const { name, code, message } = error as { name?: string; code?: string; message?: string };
  if (name === "TimeoutError") return `no answer within ${timeout_ms / 1000} s`;
  if (/ConnectionRefused|ECONNREFUSED/.test(`${code} ${message}`)) return "connection refused";
  if (/TooManyRedirects/.test(`${code} ${message}`)) return "it redirects without end";
  return message ?? String(error);
}

/** An address that may hold a token: `http://TOKEN@host` is sent as `Authorization: Bearer`. */
function target(text: string): { url: string; headers: Record<string, string> } {
  const url = new URL(text);
  const { username, password } = url;
  [url.username, url.password] = ["", ""];
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (username !== "" && password === "")
    headers.authorization = `Bearer ${decodeURIComponent(username)}`;
  else if (username !== "")
    headers.authorization = `Basic ${btoa(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`)}`;
  return { url: url.href, headers };
}

/**
 * Opens nothing: the first request does. A token for the RPC stands before the host:
 * `http://TOKEN@10.0.0.5:8545`. Throws BAD_RPC_URL.
 */
export function openRpc({ url, clock, timeout_ms = TIMEOUT_MS, signal }: RpcOptions): Rpc {
  const name = rpcName(url);
  const to = target(url);
  let health: RpcHealth = { state: "unknown", since_ms: clock.now_ms(), reason: "" };
  let next_id = 1;
  const turn = (state: "up" | "down", reason: string) => {
    const since_ms = health.state === state ? health.since_ms : clock.now_ms();
    health = { state, since_ms, reason };
  };
  function down(error: unknown): MagnetError {
    turn("down", reasonOf(error, timeout_ms));
    const since = new Date(health.since_ms).toISOString().slice(0, 19);
    return new MagnetError("RPC_DOWN", `RPC ${name} down since ${since}Z: ${health.reason}`, {
      hint: "is the chain running? magnet chain host starts one of your own; --rpc names another",
      retryable: true,
      exit: "chain",
      cause: error,
    });
  }
  return {
    name,
    health: () => health,
    async request<T>(method: string, params: readonly unknown[] = []): Promise<T> {
      const body = JSON.stringify({ jsonrpc: "2.0", id: next_id++, method, params });
      const timeout = AbortSignal.timeout(timeout_ms);
      let answer: Answer;
      try {
        const ends = signal ? AbortSignal.any([timeout, signal]) : timeout;
        const { url: address, headers } = to;
        const response = await fetch(address, { method: "POST", headers, body, signal: ends });
        answer = await readAnswer(response, method, params);
      } catch (error) {
        throw down(error);
      }
      const { error } = answer;
      // 429 and -32005 in a JSON body: the provider's limit, not an answer to the call.
      if (error && (error.code === 429 || error.code === -32005))
        throw down(new Error(String(error.message ?? "too many requests")));
      turn("up", "");
      if (error)
        throw new RpcFailure(method, Number(error.code), String(error.message), error.data);
      return answer.result as T;
    },
  };
}
