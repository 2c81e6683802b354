/**
 * Structured log on LogTape: an event in snake_case and its fields. Lines go to stderr, as text on
 * a terminal and as JSON elsewhere. Secrets and user data never reach a line: fields with such
 * names are replaced and bytes are shown by length. Before `startLog` nothing is written.
 */
import { configureSync, getLogger, type LogRecord } from "@logtape/logtape";
import { MagnetError } from "./errors.ts";
import { writeToDescriptor } from "./stdio.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Record<string, unknown>;
export interface Log {
  /** `event` names what happened ("round_merged"); fields follow the naming of JSON output. */
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

/** The log of one room: its name is part of every line. */
export function roomLog(room: string): Log {
  const logger = getLogger(["magnet", room]);
  return {
    debug: (event, fields = {}) => logger.debug(event, fields),
    info: (event, fields = {}) => logger.info(event, fields),
    warn: (event, fields = {}) => logger.warn(event, fields),
    error: (event, fields = {}) => logger.error(event, fields),
  };
}

/** The log of the process itself. */
export const log: Log = roomLog("main");

export interface LogOptions {
  level: LogLevel;
  format: "text" | "json";
  color: boolean;
  /** Where lines go; stderr unless given. */
  write?: (line: string) => void;
}

/** Sets up the process's log; a later call replaces the earlier one. */
export function startLog(options: LogOptions): void {
  const write = options.write ?? ((line: string) => void writeToDescriptor(2, line));
  const format = options.format === "json" ? jsonLine : textLine;
  configureSync({
    reset: true,
    sinks: { out: (record) => write(`${format(record, options.color)}\n`) },
    loggers: [
      {
        category: ["magnet"],
        sinks: ["out"],
        lowestLevel: options.level === "warn" ? "warning" : options.level,
      },
      { category: ["logtape", "meta"], sinks: ["out"], lowestLevel: "error" },
    ],
  });
}

/**
 * Field names whose values are secret or a user's own text. `tokens` (a count) is not among them.
 */
const SECRET =
  /(^|_)(private_key|secret|secret_key|password|passphrase|mnemonic|token|api_key|authorization|cookie|pem|prompt|completion|text)$/;
const PEM = /-----BEGIN [A-Z ]*PRIVATE KEY-----/;
/** Longest string of one field; the rest is cut, so that a peer's text cannot flood the log. */
const TEXT_MAX = 1000;
const DEPTH_MAX = 4;

/** The value as it may be logged: redacted, shortened, JSON-safe. */
export function redact(key: string, value: unknown, depth = 0): unknown {
  if (SECRET.test(key) && value !== null && value !== undefined) return "[redacted]";
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "string") {
    if (PEM.test(value)) return "[redacted]";
    return value.length > TEXT_MAX ? `${value.slice(0, TEXT_MAX)}...` : value;
  }
  if (value instanceof Error) {
    const code = value instanceof MagnetError ? { code: value.code } : {};
    return { ...code, message: redact("message", value.message) };
  }
  if (ArrayBuffer.isView(value)) return `<${value.byteLength} bytes>`;
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH_MAX) return "[deep]";
  if (Array.isArray(value)) return value.map((item) => redact(key, item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, redact(name, item, depth + 1)]),
  );
}

const RESERVED = new Set(["time", "level", "room", "event"]);
const eventOf = (record: LogRecord) => record.message.map(String).join("");
const levelOf = (record: LogRecord) => (record.level === "warning" ? "warn" : record.level);

function jsonLine(record: LogRecord): string {
  const line: Record<string, unknown> = {
    time: new Date(record.timestamp).toISOString(),
    level: levelOf(record),
    room: record.category[1] ?? "main",
    event: eventOf(record),
  };
  for (const [key, value] of Object.entries(record.properties))
    line[RESERVED.has(key) ? `field_${key}` : key] = redact(key, value);
  return JSON.stringify(line);
}

const COLORS: Record<string, number> = { debug: 2, info: 32, warn: 33, error: 31, fatal: 31 };

function textLine(record: LogRecord, color: boolean): string {
  const time = new Date(record.timestamp).toISOString().slice(11, 23);
  const level = levelOf(record);
  const word = level.toUpperCase().padEnd(5);
  const shown = color ? `\x1b[${COLORS[level] ?? 0}m${word}\x1b[0m` : word;
  const fields = Object.entries(record.properties).map(([key, value]) => {
    const safe = redact(key, value);
    // Quoted unless plain, so that a peer's text cannot forge a line or move the cursor.
    const plain = typeof safe === "string" && /^[\w.:/@+-]+$/.test(safe);
    return `${key}=${plain ? safe : JSON.stringify(safe)}`;
  });
  return [time, shown, record.category[1] ?? "main", eventOf(record), ...fields].join(" ");
}
