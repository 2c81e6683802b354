/**
 * A few lines at the end of a terminal that are redrawn in place, ten times a second at most. Each
 * redraw is one write: it goes to the first line, overwrites each line and clears the rest of it,
 * so nothing flickers. Lines are cut to the terminal's width; after a resize the lines that were
 * drawn before may take more rows, which the next redraw counts.
 */
export interface LiveSurface {
  write(text: string): void;
  /** Of the terminal, asked at every redraw. */
  columns(): number;
  rows(): number;
  now_ms(): number;
}

const REDRAW_MS = 100;
const SYNC_BEGIN = "\x1b[?2026h"; // terminals that know it show the frame at once
const SYNC_END = "\x1b[?2026l";

const ESCAPE = "\x1b";
const STYLES = new RegExp(`(${ESCAPE}\\[[0-9;]*m)`);

/** Columns that a text takes; styles take none. */
export const visibleLength = (text: string): number => Bun.stringWidth(text);

/** As much as fits into `columns`, with all styles, so that none stays on. */
export function cutVisible(text: string, columns: number): string {
  let left = columns;
  let cut = "";
  for (const part of text.split(STYLES)) {
    if (part.startsWith(ESCAPE)) {
      cut += part;
      continue;
    }
    for (const character of part) {
      left -= visibleLength(character);
      if (left >= 0) cut += character;
    }
  }
  return cut;
}

export class LiveRegion {
  /** Visible lengths of the lines on the screen. */
  private drawn: number[] = [];
  private shown_ms = Number.NEGATIVE_INFINITY;
  private ended = false;

  constructor(
    private readonly surface: LiveSurface,
    /** The lines for a terminal of this size. */
    private readonly lines: (columns: number, rows: number) => string[],
  ) {}

  get running(): boolean {
    return !this.ended;
  }

  /** Draws if the last redraw is long enough ago, or in any case if `now`. */
  update(now = false): void {
    const time_ms = this.surface.now_ms();
    if (this.ended || (!now && time_ms - this.shown_ms < REDRAW_MS)) return;
    this.shown_ms = time_ms;
    this.surface.write(this.frame());
  }

  /** What takes the lines off the screen, before something is written above them. */
  clear(): string {
    const up = this.toTop();
    this.drawn = [];
    this.shown_ms = Number.NEGATIVE_INFINITY;
    return `${up}\x1b[J`;
  }

  /** Draws the last state, which stays on the screen. */
  end(): void {
    if (this.ended) return;
    this.update(true);
    this.ended = true;
  }

  private frame(): string {
    const columns = Math.max(20, this.surface.columns());
    const lines = this.lines(columns, this.surface.rows()).map((l) => cutVisible(l, columns - 1));
    const top = this.toTop();
    this.drawn = lines.map(visibleLength);
    return `${SYNC_BEGIN}${top}${lines.map((line) => `${line}\x1b[K\n`).join("")}\x1b[J${SYNC_END}`;
  }

  /** To the first drawn line; the cursor stands below the last. */
  private toTop(): string {
    const columns = Math.max(1, this.surface.columns());
    const rows = this.drawn.reduce(
      (sum, length) => sum + Math.max(1, Math.ceil(length / columns)),
      0,
    );
    return rows === 0 ? "\r" : `\r\x1b[${rows}A`;
  }
}
