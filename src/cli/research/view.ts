/**
 * What `magnet research run` shows while it runs. On a terminal: the best score so far as a curve,
 * the version, what it found and tries, and the last trial; elsewhere a plain line for each thing
 * decided. A resumed run tells its past again, which is shown quickly and without trials.
 */

import type { ResearchEvent } from "../../research/loop/events.ts";
import { counted, digits, signed } from "../../research/report/facts.ts";
import type { TaskFacts } from "../../research/types.ts";
import { areaChart, hasBlocks } from "../chart.ts";
import type { LiveRegion } from "../frame/live.ts";
import type { Output } from "../frame/output.ts";
import { shortDuration } from "../frame/progress.ts";

type Of<K extends ResearchEvent["kind"]> = Extract<ResearchEvent, { kind: K }>;

const CHART_ROWS = 6;
const CHART_COLUMNS_MAX = 100;
/** The axis' labels, for example "0.9545 ". */
const LABEL_COLUMNS = 9;
/** A terminal lower than this gets the figures without the curve. */
const CHART_ROWS_MIN = 18;

const sizeOf = ({ domain, rows, features, contexts }: TaskFacts): string =>
  domain === "language"
    ? `${counted(rows, "document")} of ${counted(contexts, "source")}`
    : `${rows} rows, ${features} features`;

/** A sentence for what is worth a line; null for what only the live view shows. */
export function eventLine(event: ResearchEvent): string | null {
  switch (event.kind) {
    case "started":
      return `task ${event.facts.name}: ${sizeOf(event.facts)}; score: ${event.metric}`;
    case "noise_floor":
      return event.seeds === 1
        ? `the baseline scores ${digits(event.mean)}; the budget is too small for the noise floor`
        : `noise floor ${digits(event.floor)}: the baseline scores ${digits(event.mean)} over ${event.seeds} seeds`;
    case "version":
      return `version ${event.version}: best so far ${digits(event.best.score)} (${event.best.strategy})`;
    case "failures":
      return event.failures.length === 0
        ? "  no failure beyond chance"
        : event.failures.map((f) => `  found ${f.kind}: ${f.text}`).join("\n");
    case "strategies":
      return event.chosen.map((c) => `  tries ${c.strategy}: ${c.why}`).join("\n");
    case "teacher":
      return `  teacher: ${event.offered} offered, ${event.refused} refused${event.note ? `; ${event.note}` : ""}`;
    case "strategy_result": {
      const { strategy, best_score, difference, trials, result } = event.result;
      if (trials === 0) return `  ${strategy}: no trials were left for it`;
      const gain = difference ? `, ${signed(difference.difference)}` : "";
      const score = best_score === null ? "none ended" : `best ${digits(best_score)}${gain}`;
      return `  ${strategy}: ${counted(trials, "trial")}, ${score}, ${result}`;
    }
    case "verdict":
      return `  ${event.verdict.accepted ? "accepted" : "not accepted"} (${event.contender.strategy}, trial ${event.contender.trial}): ${event.verdict.reason}`;
    case "converged":
      return `converged: ${counted(event.versions, "version")} in a row brought less than ${digits(event.epsilon)}`;
    case "final":
      return `final model: trial ${event.candidate.trial} (${event.candidate.strategy}), ${event.reason}`;
    default:
      return null;
  }
}

/** Everything the live view knows, and the lines that it makes of it. */
class Screen {
  private readonly best: [number, number][] = [];
  private version = 0;
  private last: Of<"trial"> | undefined;
  private cpu_s = 0;
  private trying = "the baseline";

  constructor(
    private readonly style: Output["style"],
    private readonly blocks: boolean,
    private readonly started_ms: number,
    private readonly now_ms: () => number,
  ) {}

  add(event: ResearchEvent): void {
    if (event.kind === "version") this.version = event.version;
    if (event.kind !== "trial") return;
    this.last = event;
    this.cpu_s += event.cpu_s;
    this.trying = event.place.strategy;
    if (Number.isFinite(event.best_score)) this.best.push([event.trial, event.best_score]);
  }

  lines(columns: number, rows: number): string[] {
    const { style, last } = this;
    const curve = rows >= CHART_ROWS_MIN ? this.curve(columns) : [];
    const head = [
      style("bold", "research"),
      this.version === 0 ? "baseline" : `version ${this.version}`,
      `${(last?.trial ?? -1) + 1} trials`,
      `${this.cpu_s.toFixed(1)} CPU s`,
      style("dim", shortDuration(this.now_ms() - this.started_ms)),
    ].join("  ");
    if (!last) return [head];
    const score = last.score === null ? last.state.replace("_", " ") : digits(last.score);
    return [
      ...curve,
      head,
      `best ${digits(last.best_score)}  last ${score}  trying ${this.trying} (${last.place.proposer})`,
    ];
  }

  private curve(columns: number): string[] {
    if (this.best.length < 2) return [];
    const width = Math.max(10, Math.min(columns - LABEL_COLUMNS - 2, CHART_COLUMNS_MAX));
    const chart = areaChart(this.best, { columns: width, rows: CHART_ROWS, blocks: this.blocks });
    return chart.lines.map((line, row) => {
      const value = row === 0 ? chart.high : row === CHART_ROWS - 1 ? chart.low : undefined;
      const label = (value === undefined ? "" : digits(value)).padStart(LABEL_COLUMNS - 1);
      return `${this.style("dim", label)} ${this.style("green", line)}`;
    });
  }
}

export class ResearchView {
  private region: LiveRegion | undefined;
  private readonly screen: Screen;

  constructor(
    private readonly out: Output,
    env: Record<string, string | undefined>,
    now_ms: () => number = () => performance.now(),
  ) {
    const style: Output["style"] = (name, text) => out.style(name, text);
    this.screen = new Screen(style, hasBlocks(env), now_ms(), now_ms);
    if (out.options.terminal && !out.options.quiet)
      this.region = out.live((columns, rows) => this.screen.lines(columns, rows));
  }

  show(event: ResearchEvent): void {
    this.screen.add(event);
    const line = eventLine(event);
    if (line !== null) this.out.note(line);
    this.region?.update();
  }

  end(): void {
    this.region?.end();
    this.region = undefined;
  }
}
