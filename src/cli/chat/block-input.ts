/**
 * Lines as they are typed or pasted become messages: a message is one line, or the lines between
 * two """, or lines that end with a backslash and the one after them, or what was pasted at once.
 * No I/O: lines in, messages out.
 */
const QUOTES = '"""';

export class BlockInput {
  private lines: string[] = [];
  private quoted = false;

  /** Lines are waiting for the rest of their message. */
  get pending(): boolean {
    return this.lines.length > 0 || this.quoted;
  }

  /** Takes one line; returns the message that it completes. `pasted`: more of the paste follows. */
  push(line: string, pasted = false): string | undefined {
    if (this.quoted) return this.inQuotes(line, pasted);
    if (this.lines.length === 0 && line.trimStart().startsWith(QUOTES)) {
      this.quoted = true;
      return this.inQuotes(line.trimStart().slice(QUOTES.length), pasted);
    }
    if (!pasted && line.endsWith("\\")) {
      this.lines.push(line.slice(0, -1));
      return undefined;
    }
    this.lines.push(line);
    return pasted ? undefined : this.take();
  }

  /** What has come so far; the message of an input that ended within a block. */
  take(): string {
    const message = this.lines.join("\n");
    this.clear();
    return message;
  }

  clear(): void {
    this.lines = [];
    this.quoted = false;
  }

  private inQuotes(line: string, pasted: boolean): string | undefined {
    const closed = line.trimEnd().endsWith(QUOTES);
    const text = closed ? line.trimEnd().slice(0, -QUOTES.length) : line;
    // The line breaks after the opening and before the closing quotes are not part of the text.
    const empty = text === "" && (closed || this.lines.length === 0);
    if (!empty) this.lines.push(text);
    if (!closed) return undefined;
    this.quoted = false;
    return pasted ? undefined : this.take();
  }
}
