/** Reads a request's body within a size and a time, whatever length the client claims. */
import { ApiError } from "./api-error.ts";
import type { ServeLimits } from "./limits.ts";

const tooLarge = (limit: number) =>
  new ApiError(413, "request_too_large", `the body is larger than ${limit} bytes`);

const TOO_SLOW = Symbol("too slow");

/** Throws 413, 408, or CLIENT_CLOSED's error where the client went away. */
export async function readBody(
  request: Request,
  limits: Pick<ServeLimits, "body_bytes" | "body_ms">,
): Promise<Uint8Array> {
  const claimed = Number(request.headers.get("content-length") ?? "0");
  if (claimed > limits.body_bytes) throw tooLarge(limits.body_bytes);
  if (!request.body) return new Uint8Array(0);
  const reader = request.body.getReader();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<typeof TOO_SLOW>((resolve) => {
    timer = setTimeout(() => resolve(TOO_SLOW), limits.body_ms);
  });
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for (;;) {
      const next = await Promise.race([reader.read(), late]);
      if (next === TOO_SLOW)
        throw new ApiError(408, "request_timeout", `the body took over ${limits.body_ms} ms`);
      if (next.done) return Buffer.concat(parts, length);
      length += next.value.byteLength;
      if (length > limits.body_bytes) throw tooLarge(limits.body_bytes);
      parts.push(next.value);
    }
  } catch (error) {
    void reader.cancel().catch(() => undefined);
    if (error instanceof ApiError) throw error;
    throw new ApiError(499, "cancelled", "the client went away", { cause: error });
  } finally {
    clearTimeout(timer);
  }
}
