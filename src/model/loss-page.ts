/**
 * OUT/loss.html: the curves of a run as one page without script that needs nothing from elsewhere.
 * It is made from metrics.jsonl and can be made anew from it at any time.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { toMagnetError } from "../core/errors.ts";
import { PLOT_COLOURS, type PlotColour, type PlotSeries, svgPlot } from "../core/plot.ts";
import { temporaryBeside } from "./file-system.ts";
import { LossHistory, type MetricsLine } from "./loss-history.ts";

export interface PlottedRun {
  name: string;
  history: LossHistory;
}

const escaped = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

const WIDTH = 960;
const HEIGHT = 400;
/** The first steps fall so far that nothing else is seen: the second picture leaves them out. */
const SKIPPED_SHARE = 0.1;

/** Mean over a fiftieth of the points around each, and over fewer at the ends. */
function smoothed(points: readonly [number, number][]): [number, number][] {
  const reach = Math.floor(points.length / 100);
  return points.map(([x], i) => {
    const side = Math.min(reach, i, points.length - 1 - i);
    const near = points.slice(i - side, i + side + 1);
    return [x, near.reduce((sum, [, y]) => sum + y, 0) / near.length];
  });
}

/** Curves of one run; several runs tell themselves apart by colour and name. */
function seriesOf({ name, history }: PlottedRun, index: number, alone: boolean): PlotSeries[] {
  const label = (what: string) => (alone ? what : `${name} ${what}`);
  const of = (offset: number): PlotColour =>
    PLOT_COLOURS[(index * 2 + offset) % PLOT_COLOURS.length]!;
  const train = history.train.values;
  const heldout = history.heldout.values;
  const series: PlotSeries[] = [];
  if (alone)
    series.push({ name: "each step", points: train, kind: "line", colour: of(0), faint: true });
  series.push({ name: label("training"), points: smoothed(train), kind: "line", colour: of(0) });
  if (heldout.length > 0)
    series.push({
      ...{ name: label("held out"), points: heldout },
      ...{ kind: "line with dots", colour: of(1) },
    });
  if (alone)
    for (const [i, [source, { values }]] of [...history.sources].entries())
      series.push({ name: source, points: values, kind: "line with dots", colour: of(2 + i) });
  return series;
}

const after = (series: PlotSeries[], x: number): PlotSeries[] =>
  series.map((s) => ({ ...s, points: s.points.filter(([at]) => at >= x) }));

function factsOf({ name, history }: PlottedRun): string {
  const { step, last_loss, last_heldout, best_heldout } = history;
  const cells = [
    name,
    String(step),
    last_loss?.toFixed(4) ?? "-",
    last_heldout ? last_heldout.loss.toFixed(4) : "-",
    last_heldout?.bits_per_byte?.toFixed(4) ?? "-",
    best_heldout ? `${best_heldout.loss.toFixed(4)} (step ${best_heldout.step})` : "-",
  ];
  return `<tr>${cells.map((cell) => `<td>${escaped(cell)}</td>`).join("")}</tr>`;
}

const STYLE = `:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#1f2328;background:#fff}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}}
h1{font-size:1.3rem}svg{width:100%;height:auto}table{border-collapse:collapse}
td,th{padding:.2rem 1.2rem .2rem 0;text-align:left;font-variant-numeric:tabular-nums}`;

/** The page of one run, or of several to compare them. */
export function lossPage(runs: readonly PlottedRun[]): string {
  const alone = runs.length === 1;
  const series = runs.flatMap((run, i) => seriesOf(run, i, alone));
  const steps = Math.max(...runs.map(({ history }) => history.step));
  const common = { x_label: "step", width: WIDTH, whole_x: true, ink: "currentColor" };
  const late = after(series, steps * SKIPPED_SHARE);
  const lr = runs.map(
    ({ name, history }, i): PlotSeries => ({
      ...{ name: alone ? "learning rate" : name, points: history.lr.values },
      ...{ kind: "line", colour: PLOT_COLOURS[(i * 2) % PLOT_COLOURS.length]! },
    }),
  );
  const pictures = [
    svgPlot({ ...common, title: "Loss, nats per token", series, height: HEIGHT }),
    svgPlot({ ...common, title: "Without the first tenth", series: late, height: HEIGHT }),
    svgPlot({ ...common, title: "Learning rate", series: lr, height: 220 }),
  ];
  const title = escaped(`Training of ${runs.map(({ name }) => name).join(", ")}`);
  const heads = ["run", "steps", "loss", "held out", "bits per byte", "best held out"];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${title}</title><style>${STYLE}</style></head>
<body><h1>${title}</h1>
<table><tr>${heads.map((h) => `<th>${h}</th>`).join("")}</tr>${runs.map(factsOf).join("")}</table>
${pictures.join("")}</body></html>
`;
}

/** Replaces a page in one step, so that a browser never reads half of it. */
export async function writeLossPage(file: string, runs: readonly PlottedRun[]): Promise<void> {
  const temporary = temporaryBeside(file);
  try {
    await fs.writeFile(temporary, lossPage(runs));
    await fs.rename(temporary, file);
  } catch (error) {
    await fs.rm(temporary, { force: true });
    throw toMagnetError(error);
  }
}

const metricsOf = (given: string) =>
  given.endsWith(".jsonl") ? given : path.join(given, "metrics.jsonl");

/**
 * Draws runs, given by folder or by metrics.jsonl, into `out` or the loss.html of the first. Throws
 * NOT_FOUND and BAD_METRICS.
 */
export async function plotRuns(
  paths: readonly string[],
  out: string | undefined,
): Promise<{ file: string; runs: string[] }> {
  const runs: PlottedRun[] = [];
  for (const given of paths) {
    const metrics = metricsOf(given);
    const name = path.basename(path.dirname(path.resolve(metrics)));
    runs.push({ name, history: await LossHistory.read(metrics) });
  }
  const file = out ?? path.join(path.dirname(metricsOf(paths[0]!)), "loss.html");
  await writeLossPage(file, runs);
  return { file, runs: runs.map(({ name }) => name) };
}

/** The page of a run that is going on. */
export class LossPlot {
  private constructor(
    readonly file: string,
    private readonly run: PlottedRun,
  ) {}

  /** `resumed`: the metrics of the steps before are read once. */
  static async open(out_dir: string, resumed: boolean): Promise<LossPlot> {
    const metrics = path.join(out_dir, "metrics.jsonl");
    const history = resumed ? await LossHistory.read(metrics) : new LossHistory();
    const name = path.basename(path.resolve(out_dir));
    return new LossPlot(path.join(out_dir, "loss.html"), { name, history });
  }

  add(line: MetricsLine): void {
    this.run.history.add(line);
  }

  async write(): Promise<void> {
    await writeLossPage(this.file, [this.run]);
  }
}
