/**
 * The one error type of expected failures, and the exit code of each kind. A broken invariant is an
 * assertion (`invariant`), which is not meant to be caught.
 */

/** Exit codes of the executable; scripts rely on them. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  config: 3,
  unreachable: 4,
  auth: 5,
  verification: 6,
  hardware: 7,
  chain: 8,
  retry: 75,
  timeout: 124,
  sim_crash: 127,
  sim_liveness: 128,
  sim_correctness: 129,
  interrupted: 130,
} as const;
export type ExitKind = keyof typeof EXIT;

export interface MagnetErrorOptions {
  /** What the user can do about it, one sentence. */
  hint?: string;
  /** The same call may succeed later without a change. */
  retryable?: boolean;
  /** Which exit code the CLI ends with; `failed` unless given. */
  exit?: ExitKind;
  cause?: unknown;
}

/** An expected failure: a stable code in SCREAMING_SNAKE_CASE, what happened, and what to do. */
export class MagnetError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly retryable: boolean;
  readonly exit: ExitKind;

  constructor(code: string, message: string, options: MagnetErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "MagnetError";
    this.code = code;
    this.hint = options.hint;
    this.retryable = options.retryable ?? false;
    this.exit = options.exit ?? "failed";
  }
}

/** Stops at a broken invariant: a bug of ours, never the user's input. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${message}`);
}

const SYSTEM_HINTS: Record<string, [code: string, what: string, hint: string]> = {
  ENOENT: ["NOT_FOUND", "no such file or folder", "check the path"],
  EACCES: [
    "NOT_PERMITTED",
    "permission denied",
    "check the owner and mode, or choose another path",
  ],
  EPERM: [
    "NOT_PERMITTED",
    "operation not permitted",
    "check the owner and mode, or choose another path",
  ],
  EROFS: ["NOT_PERMITTED", "read-only file system", "choose a path on a writable file system"],
  ENOSPC: [
    "DISK_FULL",
    "no space left on the device",
    "free some space or choose another disk; nothing was overwritten",
  ],
  SQLITE_FULL: [
    "DISK_FULL",
    "no space left for the database",
    "free some space or choose another disk; nothing was overwritten",
  ],
  EDQUOT: [
    "DISK_FULL",
    "disk quota exceeded",
    "free some space or choose another disk; nothing was overwritten",
  ],
  ELOOP: ["NOT_FOUND", "a loop of symbolic links", "name the file itself"],
  ENAMETOOLONG: ["BAD_PATH", "the name is too long", "choose a shorter path"],
  EISDIR: ["NOT_A_FILE", "is a folder, not a file", "name a file"],
  ENOTDIR: ["NOT_A_FOLDER", "a part of the path is not a folder", "check the path"],
  EEXIST: ["FILE_EXISTS", "exists already", "choose another name"],
  EFBIG: ["DISK_FULL", "the file would be larger than allowed", "raise the limit: ulimit -f"],
  ENOMEM: ["MEMORY_FULL", "not enough memory", "close other programs, or give less input"],
  EIO: ["DISK_ERROR", "the disk reports an error", "check the disk; the system log says more"],
  EADDRNOTAVAIL: [
    "BAD_ADDRESS",
    "this machine has no such address",
    "listen on 0.0.0.0 or on an address of this machine",
  ],
  EADDRINUSE: [
    "PORT_IN_USE",
    "the address is already in use",
    "choose another port, or port 0 for any free one",
  ],
  EMFILE: ["TOO_MANY_FILES", "too many open files", "raise the limit: ulimit -n 65536"],
};

/** Turns any thrown value into a MagnetError: system errors get their hint, others `INTERNAL`. */
export function toMagnetError(error: unknown): MagnetError {
  if (error instanceof MagnetError) return error;
  const system = error as { code?: unknown; path?: unknown; message?: unknown };
  const known = typeof system?.code === "string" ? SYSTEM_HINTS[system.code] : undefined;
  if (known) {
    const [code, what, hint] = known;
    const subject = typeof system.path === "string" ? `${system.path}: ${what}` : what;
    return new MagnetError(code, subject, { hint, cause: error });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new MagnetError("INTERNAL", message, {
    hint: "this is a bug in magnet; run again with --verbose and report the trace",
    cause: error,
  });
}
