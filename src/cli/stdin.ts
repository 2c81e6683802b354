/** Standard input with limits: a pipe that never ends, or never breaks a line, costs no memory. */
import { MagnetError } from "../core/errors.ts";

const tooLarge = (what: string, bytes_max: number, hint: string) =>
  new MagnetError("INPUT_TOO_LARGE", `${what} is longer than ${bytes_max} bytes`, {
    hint,
    exit: "usage",
  });

/** The bytes as text. Throws NOT_UTF8, naming them as `what`. */
export function utf8(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    const hint = "convert it first, for example with iconv -t utf-8";
    throw new MagnetError("NOT_UTF8", `${what} is not UTF-8`, { hint, exit: "usage", cause });
  }
}

/** All of it. Throws INPUT_TOO_LARGE as soon as the limit is passed. */
export async function readStdin(bytes_max: number, hint: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of Bun.stdin.stream()) {
    size += part.length;
    if (size > bytes_max) throw tooLarge("standard input", bytes_max, hint);
    parts.push(part);
  }
  return new Uint8Array(Buffer.concat(parts));
}

/**
 * Its lines, without their ends; ends early on `signal`. Throws INPUT_TOO_LARGE for a long line and
 * NOT_UTF8 for one that is no text.
 */
export async function* stdinLines(
  line_bytes_max: number,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const reader = Bun.stdin.stream().getReader();
  const stop = () => void reader.cancel();
  signal.addEventListener("abort", stop, { once: true });
  let pending = Buffer.alloc(0);
  let number = 0;
  const text = (line: Uint8Array) =>
    utf8(line, `line ${++number} of standard input`).replace(/\r$/, "");
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (signal.aborted) return;
      if (done) break;
      // Bytes are cut at line ends first: a character may be split between two reads.
      const bytes = pending.length === 0 ? Buffer.from(value) : Buffer.concat([pending, value]);
      let from = 0;
      for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
        yield text(bytes.subarray(from, end));
        from = end + 1;
      }
      pending = bytes.subarray(from);
      if (pending.length > line_bytes_max)
        throw tooLarge("a line", line_bytes_max, "ask with less text, or break it into lines");
    }
    if (pending.length > 0) yield text(pending);
  } finally {
    signal.removeEventListener("abort", stop);
    await reader.cancel();
  }
}
