/**
 * Progress of one task on stderr. On a terminal one line is redrawn (at most ten times a second)
 * with bar, rate and time left; elsewhere a plain line appears every five seconds and at the end.
 */
export interface ProgressOptions {
  label: string;
  /** Units in all; without it no bar and no time left. */
  total?: number;
  /** What is counted, for example "tokens". */
  unit: string;
}
export interface ProgressSurface {
  write(text: string): void;
  terminal: boolean;
  columns: number;
  now_ms(): number;
}

const REDRAW_MS = 100;
const PLAIN_LINE_MS = 5000;
const BAR_COLUMNS = 20;

/** 1234567 -> "1.23M". */
export function shortNumber(value: number): string {
  const units = ["", "k", "M", "G", "T"];
  let scaled = value;
  let unit = 0;
  while (Math.abs(scaled) >= 1000 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  const digits = unit === 0 && Number.isInteger(scaled) ? 0 : Math.abs(scaled) >= 100 ? 0 : 2;
  return `${scaled.toFixed(digits)}${units[unit]}`;
}

/** 83000 -> "1m23s". */
export function shortDuration(duration_ms: number): string {
  const seconds = Math.round(duration_ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  const pad = (n: number) => String(n).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${pad(seconds % 60)}s`;
  return `${Math.floor(seconds / 3600)}h${pad(Math.floor((seconds % 3600) / 60))}m`;
}

export class Progress {
  private readonly started_ms: number;
  private shown_ms: number;
  private start = 0;
  private done = 0;
  private detail = "";
  private ended = false;

  constructor(
    private readonly options: ProgressOptions,
    private readonly surface: ProgressSurface,
  ) {
    this.started_ms = surface.now_ms();
    this.shown_ms = surface.terminal ? Number.NEGATIVE_INFINITY : this.started_ms;
  }

  /** Between the first call and `end`. */
  get running(): boolean {
    return !this.ended;
  }

  /** Work found already done (a resumed run): it does not count into the rate. */
  startAt(done: number): void {
    this.start = done;
    this.done = done;
  }

  /** `done` units of the total; `detail` is shown after them, for example "loss 3.21". */
  update(done: number, detail = this.detail): void {
    this.done = done;
    this.detail = detail;
    const now = this.surface.now_ms();
    const { terminal } = this.surface;
    if (this.ended || now - this.shown_ms < (terminal ? REDRAW_MS : PLAIN_LINE_MS)) return;
    this.shown_ms = now;
    this.surface.write(terminal ? `\r\x1b[2K${this.line(now)}` : `${this.line(now)}\n`);
  }

  /** Draws the last state and ends the line; more calls do nothing. */
  end(detail = this.detail): void {
    if (this.ended) return;
    this.ended = true;
    this.detail = detail;
    const line = this.line(this.surface.now_ms());
    this.surface.write(this.surface.terminal ? `\r\x1b[2K${line}\n` : `${line}\n`);
  }

  private line(now_ms: number): string {
    const { label, total, unit } = this.options;
    const elapsed_s = Math.max((now_ms - this.started_ms) / 1000, 1e-3);
    const rate = (this.done - this.start) / elapsed_s;
    const parts = [label];
    if (total !== undefined && total > 0) {
      const share = Math.min(this.done / total, 1);
      const filled = Math.round(share * BAR_COLUMNS);
      if (this.surface.terminal)
        parts.push(`[${"#".repeat(filled)}${"-".repeat(BAR_COLUMNS - filled)}]`);
      parts.push(`${Math.floor(share * 100)}%`);
    }
    parts.push(`${shortNumber(this.done)}${total ? `/${shortNumber(total)}` : ""} ${unit}`);
    parts.push(`${shortNumber(rate)}/s`);
    if (this.ended) parts.push(`in ${shortDuration(now_ms - this.started_ms)}`);
    else if (total !== undefined && rate > 0)
      parts.push(`${shortDuration(((total - this.done) / rate) * 1000)} left`);
    if (this.detail) parts.push(this.detail);
    const text = parts.join("  ");
    return this.surface.terminal ? text.slice(0, Math.max(this.surface.columns - 1, 20)) : text;
  }
}
