/**
 * What `magnet train` shows while it runs. On a terminal: the loss as a curve, with rate, learning
 * rate, time left, held-out loss and memory below it; elsewhere a plain line every few seconds.
 */
import { formatBytes } from "../core/bytes.ts";
import { residentBytes } from "../core/process-memory.ts";
import type { TrainingMemory } from "../model/gpu-memory.ts";
import { LossHistory } from "../model/loss-history.ts";
import type { TrainingEvent } from "../model/training-types.ts";
import { areaChart, hasBlocks } from "./chart.ts";
import type { LiveRegion } from "./frame/live.ts";
import type { Output } from "./frame/output.ts";
import { type Progress, shortDuration, shortNumber } from "./frame/progress.ts";

type Of<T extends TrainingEvent["type"]> = Extract<TrainingEvent, { type: T }>;

const CHART_ROWS = 8;
/** A curve wider than this says nothing more. */
const CHART_COLUMNS_MAX = 100;
/** The axis' labels, for example "10.2345 ". */
const LABEL_COLUMNS = 9;
/** A terminal lower than this gets the figures without the curve. */
const CHART_ROWS_MIN = 20;

/** Everything the view knows, and the lines that it makes of it. */
export class TrainScreen {
  private readonly history = new LossHistory();
  private step: Of<"step"> | undefined;
  private saved: number | undefined;

  constructor(
    private readonly started: Of<"started">,
    private readonly options: {
      style: Output["style"];
      blocks: boolean;
      memory_bytes: () => number | null;
    },
  ) {}

  add(event: TrainingEvent): void {
    if (event.type === "step") {
      this.step = event;
      this.history.add({ step: event.step, loss: event.loss });
    }
    if (event.type === "evaluated") {
      const { step, loss, bits_per_byte } = event;
      this.history.add({ step, heldout_loss: loss, heldout_bits_per_byte: bits_per_byte });
    }
    if (event.type === "checkpoint") this.saved = event.step;
  }

  lines(columns: number, rows: number): string[] {
    const curve = rows >= CHART_ROWS_MIN ? this.curve(columns) : [];
    return [...curve, this.headLine(columns), this.lossLine(), this.speedLine()];
  }

  private curve(columns: number): string[] {
    const points = this.history.train.values;
    if (points.length < 2) return [];
    const { style, blocks } = this.options;
    const width = Math.max(10, Math.min(columns - LABEL_COLUMNS - 2, CHART_COLUMNS_MAX));
    const chart = areaChart(points, { columns: width, rows: CHART_ROWS, blocks });
    return chart.lines.map((line, row) => {
      const value = row === 0 ? chart.high : row === CHART_ROWS - 1 ? chart.low : undefined;
      const label = (value?.toFixed(4) ?? "").padStart(LABEL_COLUMNS - 1);
      return `${style("dim", label)} ${style("green", line)}`;
    });
  }

  private headLine(columns: number): string {
    const { style } = this.options;
    const { steps, params } = this.started;
    const done = this.step?.step ?? this.started.step;
    const share = Math.min(1, done / steps);
    const width = Math.max(8, Math.min(30, columns - 60));
    const filled = Math.round(share * width);
    const bar = `[${"#".repeat(filled)}${"-".repeat(width - filled)}]`;
    const parts = [
      style("bold", "train"),
      bar,
      `${Math.floor(share * 100)}%`,
      `step ${done}/${steps}`,
      ...(this.step ? [`${shortDuration(this.step.eta_ms)} left`] : []),
      style("dim", `${shortNumber(params)} parameters`),
    ];
    return parts.join("  ");
  }

  private lossLine(): string {
    const { style } = this.options;
    const held = this.history.last_heldout;
    const parts = [
      `loss ${style("bold", this.step?.loss.toFixed(4) ?? "-")}`,
      ...(held
        ? [
            `held out ${style("bold", held.loss.toFixed(4))} (step ${held.step})`,
            `${held.bits_per_byte?.toFixed(3)} bits per byte`,
          ]
        : []),
    ];
    return parts.join("  ");
  }

  private speedLine(): string {
    const memory = this.options.memory_bytes();
    const parts = [
      ...(this.step
        ? [
            `${shortNumber(this.step.tokens_per_s)} tokens/s`,
            `lr ${this.step.lr.toExponential(2)}`,
            `gradient ${this.step.grad_norm.toFixed(3)}`,
          ]
        : []),
      ...(memory === null ? [] : [`memory ${formatBytes(memory)}`]),
      ...(this.saved === undefined ? [] : [`checkpoint ${this.saved}`]),
    ];
    return parts.join("  ");
  }
}

function memoryText(
  memory: Pick<TrainingMemory, "memory_bytes" | "memory_available_bytes">,
): string {
  const there = memory.memory_available_bytes;
  const available = there === null ? "" : ` of ${formatBytes(there)} available`;
  return `${formatBytes(memory.memory_bytes)}${available}`;
}
function memoryLine({ params, device, host, ...memory }: Of<"started">): string {
  const beside = host ? `, of the host's ${memoryText(host)}` : "";
  return `${params} parameters on ${device}; memory: ${memoryText(memory)}${beside}`;
}

/** Shows the events of a run: on a terminal as a screen, elsewhere as lines. */
export class TrainView {
  private progress: Progress | undefined;
  private live: { region: LiveRegion; screen: TrainScreen; redraw: () => void } | undefined;

  constructor(
    private readonly out: Output,
    private readonly env: Record<string, string | undefined>,
  ) {}

  prepare({ done_bytes, total_bytes }: { done_bytes: number; total_bytes: number }): void {
    const options = { label: "prepare", total: total_bytes, unit: "bytes" };
    this.progress ??= this.out.progress(options);
    this.progress.update(done_bytes);
  }

  show(event: TrainingEvent): void {
    if (this.out.json) {
      const { type, ...fields } = event;
      this.out.record(`train_${type}`, fields);
    }
    if (event.type === "started") this.start(event);
    else if (this.live) {
      this.live.screen.add(event);
      this.live.region.update();
    } else this.line(event);
  }

  /** The last state stays on the screen. */
  end(): void {
    this.progress?.end();
    if (!this.live) return;
    process.off("SIGWINCH", this.live.redraw);
    this.live.region.end();
  }

  private start(event: Of<"started">): void {
    this.progress?.end();
    const { terminal, quiet, json } = this.out.options;
    if (!json) this.out.note(memoryLine(event));
    if (!terminal || quiet || json) {
      this.progress = this.out.progress({ label: "train", total: event.steps, unit: "steps" });
      this.progress.startAt(event.step);
      return;
    }
    this.progress = undefined;
    const screen = new TrainScreen(event, {
      style: (style, text) => this.out.style(style, text),
      blocks: hasBlocks(this.env),
      memory_bytes: residentBytes,
    });
    const region = this.out.live((columns, rows) => screen.lines(columns, rows));
    const redraw = () => region.update(true);
    process.on("SIGWINCH", redraw);
    this.live = { region, screen, redraw };
  }

  private line(event: TrainingEvent): void {
    if (event.type === "step") {
      const speed = `${event.tokens_per_s} tokens/s`;
      this.progress?.update(event.step, `loss ${event.loss.toFixed(4)}  ${speed}`);
      if (event.step === event.steps) this.progress?.end();
    }
    if (event.type === "evaluated" && !this.out.json) {
      const { step, loss, bits_per_byte } = event;
      const figures = `${loss.toFixed(4)}, ${bits_per_byte.toFixed(3)} bits per byte`;
      const each = (event.sources ?? []).map((s) => `${s.name} ${s.bits_per_byte.toFixed(3)}`);
      this.out.note(`step ${step}: held-out loss ${[figures, ...each].join("; ")}`);
    }
  }
}
