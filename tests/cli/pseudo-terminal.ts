/** A program on a real pseudo-terminal: what it shows is collected, keys are written to it. */
import { stripVTControlCharacters } from "node:util";

const LIMIT_MS = 20_000;

export interface OnTerminal {
  /** Everything shown so far, without escape sequences. */
  shown(): string;
  /** As it came, with them. */
  raw(): string;
  type(keys: string): void;
  /** Waits until `wanted` is shown after what was consumed; consumes up to its end. */
  see(wanted: string | RegExp): Promise<string>;
  exited: Promise<number>;
  kill(): void;
}

export function onTerminal(command: string[], env: Record<string, string>): OnTerminal {
  let raw = "";
  let consumed = 0;
  let changed = Promise.withResolvers<void>();
  const decoder = new TextDecoder();
  const signal = () => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  const child = Bun.spawn(command, {
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin", TERM: "xterm", ...env },
    terminal: {
      cols: 100,
      rows: 30,
      data(_, bytes) {
        raw += decoder.decode(bytes, { stream: true });
        signal();
      },
    },
  });
  void child.exited.then(signal);
  const shown = () => stripVTControlCharacters(raw).replaceAll("\r", "");
  const find = (wanted: string | RegExp): number => {
    const rest = shown().slice(consumed);
    if (typeof wanted === "string") {
      const at = rest.indexOf(wanted);
      return at < 0 ? -1 : at + wanted.length;
    }
    const match = wanted.exec(rest);
    return match === null ? -1 : match.index + match[0].length;
  };
  return {
    shown,
    raw: () => raw,
    type: (keys) => void child.terminal!.write(keys),
    async see(wanted) {
      const deadline = Promise.withResolvers<"late">();
      const timer = setTimeout(() => deadline.resolve("late"), LIMIT_MS);
      try {
        for (;;) {
          const next = changed.promise;
          const end = find(wanted);
          if (end >= 0) {
            const text = shown().slice(consumed, consumed + end);
            consumed += end;
            return text;
          }
          const gone = child.exitCode !== null || child.signalCode !== null;
          if (gone || (await Promise.race([next, deadline.promise])) === "late")
            throw new Error(`${wanted} was not shown:\n${shown().slice(consumed)}`);
        }
      } finally {
        clearTimeout(timer);
      }
    },
    exited: child.exited,
    kill: () => child.kill("SIGKILL"),
  };
}
