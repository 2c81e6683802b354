/**
 * Failures as HTTP answers: a status, a code that clients may test for, and the parameter at fault.
 * Both APIs render the same error in their own form. A failure of our own is shown without its
 * message, which may name files of this machine; the log has it under the request's id.
 */
import { EXIT, type MagnetError, toMagnetError } from "../../core/errors.ts";

export type ApiErrorType =
  | "invalid_request_error"
  | "authentication_error"
  | "permission_error"
  | "rate_limit_error"
  | "server_error";

export interface ApiErrorOptions {
  /** The request's field at fault. */
  param?: string | undefined;
  type?: ApiErrorType;
  headers?: Record<string, string>;
  cause?: unknown;
}

function typeOf(status: number): ApiErrorType {
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  if (status === 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

export class ApiError extends Error {
  readonly type: ApiErrorType;
  readonly param: string | null;
  readonly headers: Record<string, string>;

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    options: ApiErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ApiError";
    this.type = options.type ?? typeOf(status);
    this.param = options.param ?? null;
    this.headers = options.headers ?? {};
  }
}

/** A request that can never succeed as it is. */
export const badRequest = (code: string, message: string, param?: string): ApiError =>
  new ApiError(400, code, message, { param });

/** The server is there but cannot take the request now; `after_s` goes into Retry-After. */
export const busy = (status: 429 | 503, code: string, message: string, after_s = 1): ApiError =>
  new ApiError(status, code, message, { headers: { "retry-after": String(Math.ceil(after_s)) } });

/** Status of a request whose client went away; nobody reads it but the log and the metrics. */
export const CLIENT_CLOSED = 499;

const CODES: Record<string, (error: MagnetError) => ApiError> = {
  PROMPT_TOO_LONG: ({ message }) => badRequest("context_length_exceeded", message),
  ENGINE_BUSY: ({ message }) => busy(503, "engine_busy", message),
  QUEUE_FULL: ({ message }) => busy(503, "engine_busy", message),
  CANCELLED: ({ message }) => new ApiError(CLIENT_CLOSED, "cancelled", message),
};

/** What a thrown value means to the client. */
export function toApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const error = toMagnetError(thrown);
  const known = CODES[error.code];
  if (known) return known(error);
  const text = error.hint === undefined ? error.message : `${error.message}: ${error.hint}`;
  if (EXIT[error.exit] === EXIT.usage)
    return new ApiError(400, error.code.toLowerCase(), text, { cause: thrown });
  if (error.retryable) return busy(503, error.code.toLowerCase(), text);
  return new ApiError(500, "internal_error", "the server failed; its log has the reason", {
    cause: thrown,
  });
}
