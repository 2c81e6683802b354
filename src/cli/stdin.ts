/** Standard input with limits: a pipe that never ends, or never breaks a line, costs no memory. */
import { MagnetError } from "../core/errors.ts";

const tooLarge = (what: string, bytes_max: number, hint: string) =>
  new MagnetError("INPUT_TOO_LARGE", `${what} is longer than ${bytes_max} bytes`, {
    hint,
    exit: "usage",
  });

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

/** Its lines, without their ends; ends early on `signal`. Throws INPUT_TOO_LARGE for a long line. */
export async function* stdinLines(line_bytes_max: number, signal: AbortSignal) {
  const reader = Bun.stdin.stream().getReader();
  const stop = () => void reader.cancel();
  signal.addEventListener("abort", stop, { once: true });
  const decoder = new TextDecoder();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (signal.aborted) return;
      pending += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const lines = pending.split(/\r?\n/);
      pending = lines.pop()!;
      yield* lines;
      if (pending.length > line_bytes_max)
        throw tooLarge("a line", line_bytes_max, "ask with less text, or break it into lines");
      if (!done) continue;
      if (pending !== "") yield pending;
      return;
    }
  } finally {
    signal.removeEventListener("abort", stop);
    await reader.cancel();
  }
}
