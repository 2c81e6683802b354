/**
 * The lines that were typed, for the up arrow of the next chat: a file of JSON strings, one a line,
 * readable by its owner only. Losing it costs nothing, so every failure is one warning and the end
 * of remembering; it never ends the chat.
 */
import fs from "node:fs";
import path from "node:path";
import { toMagnetError } from "../../core/errors.ts";
import { requireFile } from "../../core/read-file.ts";

/** Lines kept; the file is shortened to them when it holds twice as many. */
const LINES_MAX = 1000;
/** A longer line (a pasted text) is not worth an up arrow. */
const LINE_CHARS_MAX = 4096;
/** A larger file is none of ours: a JSON string is at most six times its characters. */
const FILE_BYTES_MAX = 12 * LINES_MAX * LINE_CHARS_MAX;

function parseLine(line: string): string[] {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "string" ? [value] : [];
  } catch {
    return []; // the last line of a disk that was full: the others are good
  }
}

export class LineHistory {
  private failed = false;

  constructor(
    private readonly file: string,
    private readonly warn: (text: string) => void,
  ) {}

  /** The newest first, as readline wants them. */
  load(): string[] {
    return (
      this.attempt(() => {
        if (!fs.existsSync(this.file)) return [];
        requireFile(this.file);
        if (fs.statSync(this.file).size > FILE_BYTES_MAX) throw new Error("the file is too large");
        const all = fs.readFileSync(this.file, "utf8").split("\n").flatMap(parseLine);
        const kept = all.slice(-LINES_MAX);
        if (all.length > 2 * LINES_MAX) this.rewrite(kept);
        return kept.reverse();
      }) ?? []
    );
  }

  add(line: string): void {
    if (line.trim() === "" || line.length > LINE_CHARS_MAX) return;
    this.attempt(() => {
      fs.mkdirSync(path.dirname(this.file), { recursive: true, mode: 0o700 });
      const fd = fs.openSync(this.file, "a", 0o600);
      try {
        if ((fs.fstatSync(fd).mode & 0o077) !== 0) fs.fchmodSync(fd, 0o600);
        fs.writeSync(fd, `${JSON.stringify(line)}\n`);
      } finally {
        fs.closeSync(fd);
      }
    });
  }

  private rewrite(lines: readonly string[]): void {
    const temporary = `${this.file}.${process.pid}.tmp`;
    try {
      const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
      fs.writeFileSync(temporary, text, { mode: 0o600 });
      fs.renameSync(temporary, this.file);
    } finally {
      fs.rmSync(temporary, { force: true });
    }
  }

  private attempt<T>(work: () => T): T | undefined {
    if (this.failed) return undefined;
    try {
      return work();
    } catch (error) {
      this.failed = true;
      this.warn(`lines are not remembered: ${this.file}: ${toMagnetError(error).message}`);
      return undefined;
    }
  }
}
