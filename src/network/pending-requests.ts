/**
 * Our requests to one peer that wait for an answer: bounded, each with a deadline and a way to
 * cancel.
 */
import { MagnetError } from "../core/errors.ts";
import type { RequestOptions } from "./transport-types.ts";

interface Waiting {
  type: string;
  deadline_ms: number;
  settle(result: Settlement): void;
}
/** How a request ends. */
export type Settlement = { body: unknown } | { error: MagnetError };

/** A failure that may pass. */
export const retryable = (code: string, message: string) =>
  new MagnetError(code, message, { retryable: true, exit: "retry", hint: "try again" });

const aborted = (type: string) =>
  new MagnetError("REQUEST_ABORTED", `${type} was cancelled`, { exit: "interrupted" });

/** The table of one connection. */
export class PendingRequests {
  readonly #waiting = new Map<number, Waiting>();
  readonly #capacity: number;
  #next_id = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  has(id: number): boolean {
    return this.#waiting.has(id);
  }

  /** The request's type; undefined where no request with this id waits. */
  typeOf(id: number): string | undefined {
    return this.#waiting.get(id)?.type;
  }

  /** Enters a request and sends it; `write` returns false where it could not be sent. */
  add(
    type: string,
    { timeout_ms, signal }: RequestOptions,
    now_ms: number,
    write: (id: number) => boolean,
  ): Promise<unknown> {
    if (this.#waiting.size >= this.#capacity)
      return Promise.reject(retryable("PEER_BUSY", "too many requests wait for this peer"));
    if (signal?.aborted) return Promise.reject(aborted(type));
    this.#next_id = (this.#next_id % 0xffff_ffff) + 1;
    const id = this.#next_id;
    return new Promise((resolve, reject) => {
      const onAbort = () => this.settle(id, { error: aborted(type) });
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.set(id, {
        type,
        deadline_ms: now_ms + timeout_ms,
        settle: (result) => {
          signal?.removeEventListener("abort", onAbort);
          if ("error" in result) reject(result.error);
          else resolve(result.body);
        },
      });
      if (!write(id))
        this.settle(id, { error: retryable("PEER_BUSY", "the peer does not keep up") });
    });
  }

  settle(id: number, result: Settlement): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.settle(result);
  }

  /** Ends the requests whose time is over. */
  sweep(now_ms: number): void {
    for (const [id, { deadline_ms, type }] of this.#waiting)
      if (now_ms >= deadline_ms)
        this.settle(id, { error: retryable("REQUEST_TIMEOUT", `no answer to ${type} in time`) });
  }

  /** The connection is gone: so are the answers. */
  lose(reason: string): void {
    for (const id of [...this.#waiting.keys()])
      this.settle(id, { error: retryable("PEER_LOST", `the connection ended: ${reason}`) });
  }
}
