/**
 * One request while it is in work: its id, who sent it, what it cost so far, and the signal that
 * ends its work when the client goes away, the time is up, or the server stops. Ends exactly once,
 * with a line in the access log and a count in the metrics; both without prompts, texts or keys.
 */
import type { Log } from "../../core/log.ts";
import { ApiError, busy, CLIENT_CLOSED, toApiError } from "./api-error.ts";
import type { ServeMetrics } from "./metrics.ts";
import type { AnswerResult } from "./served-model.ts";

export type CancelReason = "closed" | "stalled" | "deadline" | "stopping";

/** Where in a request that stands which only the engine can judge, by code and route. */
const FIELDS: Record<string, Record<string, string>> = {
  context_length_exceeded: {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
  },
  unsupported_schema: { "/v1/chat/completions": "response_format" },
  bad_schema: { "/v1/chat/completions": "response_format" },
};

export interface WorkOptions {
  id: string;
  method: string;
  /** A route's pattern, never the path as it was sent: paths are the client's text. */
  route: string;
  address: string;
  log: Log;
  metrics: ServeMetrics;
  monotonic_ms(): number;
  onEnd(work: RequestWork): void;
}

export class RequestWork {
  readonly id: string;
  readonly route: string;
  readonly address: string;
  /** Id of the API key; undefined without one. */
  key_id: string | undefined;
  /** Id of the model that answers. */
  model: string | undefined;
  /** The end is told by the stream that goes on after the response was made. */
  streaming = false;
  cancelled: CancelReason | undefined;
  /** Called once with the final status, before the request counts as ended. */
  onOutcome: ((status: number) => void) | undefined;
  readonly #abort = new AbortController();
  readonly #started_ms: number;
  #ended = false;
  #first_ms: number | undefined;
  #usage = { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0 };

  constructor(private readonly options: WorkOptions) {
    this.id = options.id;
    this.route = options.route;
    this.address = options.address;
    this.#started_ms = options.monotonic_ms();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get elapsed_ms(): number {
    return this.options.monotonic_ms() - this.#started_ms;
  }

  get usage(): Readonly<{
    prompt_tokens: number;
    cached_tokens: number;
    completion_tokens: number;
  }> {
    return this.#usage;
  }

  /** Whom limits are counted for. */
  get client(): string {
    return this.key_id === undefined ? `address ${this.address}` : `key ${this.key_id}`;
  }

  cancel(reason: CancelReason): void {
    if (this.#ended || this.cancelled) return;
    this.cancelled = reason;
    this.options.metrics.cancelled(reason);
    this.#abort.abort();
  }

  /** The first token of the answer has come. */
  firstToken(): void {
    if (this.#first_ms !== undefined) return;
    this.#first_ms = this.elapsed_ms;
    this.options.metrics.firstToken(this.model ?? "", this.#first_ms / 1000);
  }

  /** Several choices of one request share their prompt: it counts once for each text. */
  addResult(result: Pick<AnswerResult, "prompt_tokens" | "cached_tokens" | "completion_tokens">) {
    this.#usage.prompt_tokens += result.prompt_tokens;
    this.#usage.cached_tokens += result.cached_tokens;
    this.#usage.completion_tokens += result.completion_tokens;
  }

  /** What a failure of this request means to the client; counted, and logged where it is ours. */
  fail(thrown: unknown): ApiError {
    const error = this.#meaning(toApiError(thrown));
    this.options.metrics.refused(error.code);
    if (error.status >= 500 && error.status !== 503)
      this.options.log.error("request_failed", {
        request_id: this.id,
        route: this.route,
        error: thrown,
        ...(thrown instanceof Error ? { trace: thrown.stack } : {}),
      });
    return error;
  }

  /** A cancelled request says why it was; a prompt or schema that is refused, where it stands. */
  #meaning(error: ApiError): ApiError {
    const { status, code, message, cause } = error;
    const param = error.param === null ? FIELDS[code]?.[this.route] : undefined;
    if (param !== undefined) return new ApiError(status, code, message, { param, cause });
    if (status !== CLIENT_CLOSED) return error;
    if (this.cancelled === "stopping") return busy(503, "server_stopping", "the server stops");
    if (this.cancelled === "deadline")
      return new ApiError(504, "answer_timeout", "the answer took longer than this server allows");
    return error;
  }

  end(status: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.onOutcome?.(status);
    const { log, metrics, method } = this.options;
    const { route, id, model, key_id, cancelled } = this;
    const duration_ms = Math.round(this.elapsed_ms * 10) / 10;
    metrics.request({ route, method, status, seconds: duration_ms / 1000 });
    log.info("request", {
      request_id: id,
      ...{ method, route, status, duration_ms },
      client: this.client,
      ...(key_id === undefined ? {} : { address: this.address }),
      ...(model === undefined ? {} : { model, ...this.#usage }),
      ...(this.#first_ms === undefined ? {} : { first_token_ms: Math.round(this.#first_ms) }),
      ...(cancelled === undefined ? {} : { cancelled }),
    });
    this.options.onEnd(this);
  }
}
