/**
 * Everything a command prints. stdout carries the result and nothing else: text for people, or with
 * --json exactly one document (NDJSON for streams) whose first key is its schema. Notes and
 * progress go to stderr. Writes are synchronous, so that nothing is lost when the process ends.
 */
import { writeToDescriptor } from "../../core/stdio.ts";
import { LiveRegion } from "./live.ts";
import { Progress, type ProgressOptions } from "./progress.ts";

/**
 * Thrown when the reader of stdout went away (`magnet ... | head`); the process then ends quietly.
 */
export class OutputClosed extends Error {}

function writeResult(text: string): void {
  if (!writeToDescriptor(1, text)) throw new OutputClosed("stdout was closed");
}

export interface OutputOptions {
  json: boolean;
  quiet: boolean;
  color: boolean;
  /** stderr is a terminal. */
  terminal: boolean;
}

/** A schema name without "magnet." and version: "version" becomes "magnet.version/1". */
const schemaOf = (name: string) => `magnet.${name}/1`;
const jsonText = (schema: string, data: object) =>
  JSON.stringify({ schema: schemaOf(schema), ...data }, (_, value: unknown) =>
    typeof value === "bigint" ? value.toString() : value,
  );

export type Style = "bold" | "dim" | "red" | "yellow" | "green";
const STYLES: Record<Style, [number, number]> = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  yellow: [33, 39],
  green: [32, 39],
};

export class Output {
  private bar: Progress | LiveRegion | undefined;

  constructor(readonly options: OutputOptions) {}

  get json(): boolean {
    return this.options.json;
  }

  /**
   * The command's result: the document under --json, else the text (a function is called only
   * then).
   */
  result(schema: string, data: object, text: string | (() => string)): void {
    if (this.options.json) writeResult(`${jsonText(schema, data)}\n`);
    else writeResult(`${typeof text === "string" ? text : text()}\n`);
  }

  /** One record of a stream: a line of NDJSON, or the text where one is given. */
  record(schema: string, data: object, text?: string | (() => string)): void {
    if (this.options.json) writeResult(`${jsonText(schema, data)}\n`);
    else if (text !== undefined) writeResult(`${typeof text === "string" ? text : text()}\n`);
  }

  /** Text for people on stdout, as is (a streamed answer); nothing under --json. */
  text(text: string): void {
    if (!this.options.json) writeResult(text);
  }

  /** A remark on stderr; silenced by --quiet. */
  note(text: string): void {
    if (!this.options.quiet) writeToDescriptor(2, `${this.aboveBar()}${text}\n`);
  }

  /** A warning on stderr, shown even with --quiet. */
  warn(text: string): void {
    writeToDescriptor(2, `${this.aboveBar()}${this.style("yellow", "warning")}: ${text}\n`);
  }

  /** Raw text on stderr (errors, prompts). */
  stderr(text: string): void {
    writeToDescriptor(2, text);
  }

  /** Progress on stderr: a bar with rate and ETA on a terminal, plain lines elsewhere. */
  progress(options: ProgressOptions): Progress {
    const bar = new Progress(options, {
      write: this.options.quiet ? () => undefined : (text) => void writeToDescriptor(2, text),
      terminal: this.options.terminal,
      columns: process.stderr.columns ?? 80,
      now_ms: () => performance.now(),
    });
    this.bar = bar;
    return bar;
  }

  /** Lines that are redrawn in place on stderr; for terminals only. */
  live(lines: (columns: number, rows: number) => string[]): LiveRegion {
    const surface = {
      write: (text: string) => void writeToDescriptor(2, text),
      columns: () => process.stderr.columns ?? 80,
      rows: () => process.stderr.rows ?? 24,
      now_ms: () => performance.now(),
    };
    const region = new LiveRegion(surface, lines);
    this.bar = region;
    return region;
  }

  /** Clears what a running bar has drawn; its next update draws it again below. */
  private aboveBar(): string {
    if (!this.options.terminal || !this.bar?.running) return "";
    return this.bar instanceof LiveRegion ? this.bar.clear() : "\r\x1b[2K";
  }

  /** Colour is decoration only: the word itself says what it means. */
  style(style: Style, text: string): string {
    if (!this.options.color) return text;
    const [on, off] = STYLES[style];
    return `\x1b[${on}m${text}\x1b[${off}m`;
  }
}

/** Rows as aligned columns below their titles; numbers to the right. */
export function table(titles: readonly string[], rows: readonly (string | number)[][]): string {
  const cells = [titles.map(String), ...rows.map((row) => row.map(String))];
  const widths = titles.map((_, i) => Math.max(...cells.map((row) => row[i]?.length ?? 0)));
  const right = titles.map(
    (_, i) => rows.length > 0 && rows.every((r) => typeof r[i] === "number"),
  );
  return cells
    .map((row) =>
      row
        .map((cell, i) => (right[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
