/**
 * The course of a run for plots and views, in constant memory: where there are more steps than a
 * picture has room for, neighbours are averaged. Filled by the lines of metrics.jsonl.
 */
import fs from "node:fs";
import readline from "node:readline";
import { MagnetError, toMagnetError } from "../core/errors.ts";

/** More than a screen has columns; a full series is halved. */
const POINTS_MAX = 1024;

/** At most POINTS_MAX means of equally many neighbours. */
export class ThinnedSeries {
  private points: { x: number; y: number }[] = [];
  /** Samples of a point. */
  private per = 1;
  private pending = { x: 0, y: 0, n: 0 };

  add(x: number, y: number): void {
    this.pending.x += x;
    this.pending.y += y;
    if (++this.pending.n < this.per) return;
    this.points.push({ x: this.pending.x / this.per, y: this.pending.y / this.per });
    this.pending = { x: 0, y: 0, n: 0 };
    if (this.points.length < POINTS_MAX) return;
    const half = POINTS_MAX / 2;
    this.points = Array.from({ length: half }, (_, i) => {
      const [a, b] = [this.points[2 * i]!, this.points[2 * i + 1]!];
      return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    });
    this.per *= 2;
  }

  /** By rising x; the samples that do not fill a point yet are the last one. */
  get values(): [number, number][] {
    const { x, y, n } = this.pending;
    const whole = this.points.map((p) => [p.x, p.y] as [number, number]);
    return n === 0 ? whole : [...whole, [x / n, y / n]];
  }
}

/** A line of metrics.jsonl, as far as plots use it. */
export interface MetricsLine {
  step: number;
  loss?: number;
  lr?: number;
  heldout_loss?: number;
  heldout_bits_per_byte?: number;
  heldout_sources?: Record<string, { loss: number; bits_per_byte: number }>;
}

export class LossHistory {
  readonly train = new ThinnedSeries();
  readonly lr = new ThinnedSeries();
  readonly heldout = new ThinnedSeries();
  /** Held-out loss of each of several sources. */
  readonly sources = new Map<string, ThinnedSeries>();
  /** Steps done. */
  step = 0;
  last_loss: number | null = null;
  last_heldout: { step: number; loss: number; bits_per_byte: number | null } | null = null;
  best_heldout: { step: number; loss: number } | null = null;

  add(line: MetricsLine): void {
    const { step, loss, lr, heldout_loss } = line;
    this.step = Math.max(this.step, step);
    if (typeof loss === "number") {
      this.train.add(step, loss);
      this.last_loss = loss;
    }
    if (typeof lr === "number") this.lr.add(step, lr);
    if (typeof heldout_loss !== "number") return;
    this.heldout.add(step, heldout_loss);
    this.last_heldout = {
      ...{ step, loss: heldout_loss },
      bits_per_byte: line.heldout_bits_per_byte ?? null,
    };
    if (this.best_heldout === null || heldout_loss < this.best_heldout.loss)
      this.best_heldout = { step, loss: heldout_loss };
    for (const [name, source] of Object.entries(line.heldout_sources ?? {})) {
      const series = this.sources.get(name) ?? new ThinnedSeries();
      series.add(step, source.loss);
      this.sources.set(name, series);
    }
  }

  /**
   * Reads a metrics.jsonl. A last line that a crash has cut off is left out. Throws NOT_FOUND or
   * BAD_METRICS with the line's number.
   */
  static async read(file: string): Promise<LossHistory> {
    const history = new LossHistory();
    const stream = fs.createReadStream(file);
    const failed = Promise.withResolvers<never>();
    failed.promise.catch(() => undefined); // listened to below, where lines are read
    stream.on("error", (error) => failed.reject(toMagnetError(error)));
    const lines = readline.createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
    const read = async () => {
      let number = 0;
      let torn: number | null = null;
      for await (const text of lines) {
        number++;
        if (torn !== null) throw badLine(file, torn);
        const line = parseLine(text);
        if (line === null) torn = number;
        else history.add(line);
      }
      return history;
    };
    return await Promise.race([read(), failed.promise]);
  }
}

function parseLine(text: string): MetricsLine | null {
  try {
    const line = JSON.parse(text) as MetricsLine | null;
    return Number.isSafeInteger(line?.step) ? line : null;
  } catch {
    return null; // the caller names it
  }
}

const badLine = (file: string, number: number) =>
  new MagnetError("BAD_METRICS", `${file}: line ${number} is no line of metrics`, {
    hint: "name a run folder of magnet train, or its metrics.jsonl",
  });
