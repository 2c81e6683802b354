/**
 * Line plots as SVG: axes with round ticks, lines, dots, a legend and vertical marks. No script, no
 * font and no file from elsewhere; colours read on light and on dark pages.
 */

export interface PlotSeries {
  name: string;
  /** (x, y) by rising x; only finite ones are drawn. */
  points: readonly (readonly [number, number])[];
  kind: "line" | "dots" | "line with dots";
  colour: PlotColour;
  /** Noisy data behind a clearer line. */
  faint?: boolean;
}

export interface Plot {
  title: string;
  x_label: string;
  series: readonly PlotSeries[];
  /** Vertical lines, with a word at their top. */
  marks?: readonly { x: number; label: string }[];
  width?: number;
  height?: number;
  /** x is a count: ticks are whole numbers. */
  whole_x?: boolean;
  /** Of text and axes; "currentColor" inside of a page. */
  ink?: string;
}

const COLOURS = {
  blue: "#2f81f7",
  amber: "#d29922",
  green: "#2da44e",
  purple: "#a371f7",
  red: "#da3633",
  teal: "#1b9aaa",
} as const;
export type PlotColour = keyof typeof COLOURS;
/** For series without a colour of their own, in this order. */
export const PLOT_COLOURS = Object.keys(COLOURS) as PlotColour[];

const LEFT = 64;
const RIGHT = 24;
const TOP = 48;
const BOTTOM = 52;
const FONT_PX = 13;
/** Average of system fonts: the legend is laid out without measuring text. */
const LETTER_PX = 7;

const escaped = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
const px = (value: number) => value.toFixed(1);

/** 1, 2 or 5 times a power of ten, so that `span` has at most `count` steps. */
export function tickStep(span: number, count: number): number {
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const factor = [1, 2, 5, 10].find((f) => f * power >= raw * (1 - 1e-9)) ?? 10;
  return factor * power;
}

/** 12500 -> "12.5k"; `step` says how many digits tell two ticks apart. */
function tickText(value: number, step: number): string {
  const [scale, unit] =
    Math.abs(value) >= 1e6 ? [1e6, "M"] : Math.abs(value) >= 1e4 ? [1e3, "k"] : [1, ""];
  const digits = Math.max(0, Math.min(12, -Math.floor(Math.log10(step / scale) + 1e-9)));
  const text = (value / scale).toFixed(digits);
  return `${Math.abs(value) < step * 1e-9 ? "0" : text}${unit}`;
}

interface Axis {
  low: number;
  high: number;
  step: number;
}

/** Ticks of an axis; `snap` widens the range to whole steps. */
function axisOf(values: readonly number[], count: number, snap: boolean, whole: boolean): Axis {
  const low = values.length > 0 ? Math.min(...values) : 0;
  const top = values.length > 0 ? Math.max(...values) : 1;
  const high = top > low ? top : low + Math.max(Math.abs(low) * 1e-3, 1e-3);
  const step = Math.max(tickStep(high - low, count), whole ? 1 : 0);
  if (!snap) return { low, high, step };
  return { low: Math.floor(low / step) * step, high: Math.ceil(high / step) * step, step };
}

function ticksOf({ low, high, step }: Axis): number[] {
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

/** A standalone SVG document. */
export function svgPlot(plot: Plot): string {
  const { width = 760, height = 360, ink = "#7d8590", series } = plot;
  const drawn = series.map((s) => ({
    ...s,
    points: s.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)),
  }));
  const all = drawn.flatMap(({ points }) => points);
  const x_axis = axisOf(
    all.map(([x]) => x),
    10,
    false,
    plot.whole_x === true,
  );
  const y_axis = axisOf(
    all.map(([, y]) => y),
    7,
    true,
    false,
  );
  const x = (v: number) =>
    LEFT + ((v - x_axis.low) / (x_axis.high - x_axis.low)) * (width - LEFT - RIGHT);
  const y = (v: number) =>
    TOP + ((y_axis.high - v) / (y_axis.high - y_axis.low)) * (height - TOP - BOTTOM);
  const parts = [
    ...axes({ width, height, ink, x_axis, y_axis, x, y }),
    ...drawn.flatMap((s) => seriesParts(s, x, y)),
    ...(plot.marks ?? []).flatMap((mark) => markParts(mark, x(mark.x), height)),
    text(LEFT, 24, "start", plot.title),
    text((LEFT + width - RIGHT) / 2, height - 12, "middle", plot.x_label),
    ...legend(drawn, width - RIGHT),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(plot.title)}" font-family="system-ui, sans-serif" font-size="${FONT_PX}" fill="${ink}">
${parts.join("\n")}
</svg>
`;
}

const text = (at_x: number, at_y: number, anchor: string, content: string) =>
  `<text x="${px(at_x)}" y="${px(at_y)}" text-anchor="${anchor}">${escaped(content)}</text>`;

interface Frame {
  width: number;
  height: number;
  ink: string;
  x_axis: Axis;
  y_axis: Axis;
  x: (value: number) => number;
  y: (value: number) => number;
}

function axes({ width, height, ink, x_axis, y_axis, x, y }: Frame): string[] {
  const horizontal = ticksOf(y_axis).flatMap((tick) => [
    `<line x1="${LEFT}" x2="${width - RIGHT}" y1="${px(y(tick))}" y2="${px(y(tick))}" stroke="${ink}" stroke-opacity=".25"/>`,
    text(LEFT - 8, y(tick) + 4, "end", tickText(tick, y_axis.step)),
  ]);
  const vertical = ticksOf(x_axis).map((tick) =>
    text(x(tick), height - BOTTOM + 18, "middle", tickText(tick, x_axis.step)),
  );
  return [...horizontal, ...vertical];
}

function seriesParts(
  { points, kind, colour, faint, name }: PlotSeries,
  x: (value: number) => number,
  y: (value: number) => number,
): string[] {
  const parts: string[] = [];
  const ink = COLOURS[colour];
  if (kind !== "dots" && points.length > 1) {
    const path = points.map(([px_x, px_y]) => `${px(x(px_x))},${px(y(px_y))}`).join(" ");
    const style = faint ? 'stroke-width="1" stroke-opacity=".45"' : 'stroke-width="2.2"';
    parts.push(
      `<polyline fill="none" stroke="${ink}" ${style} stroke-linejoin="round" points="${path}"/>`,
    );
  }
  if (kind !== "line" || points.length === 1)
    for (const [at_x, at_y] of points)
      parts.push(
        `<circle cx="${px(x(at_x))}" cy="${px(y(at_y))}" r="3.2" fill="${ink}" fill-opacity=".85"><title>${escaped(`${name} ${at_x}: ${at_y.toPrecision(5)}`)}</title></circle>`,
      );
  return parts;
}

function markParts({ label }: { label: string }, at_x: number, height: number): string[] {
  const line = `<line x1="${px(at_x)}" x2="${px(at_x)}" y1="${TOP}" y2="${height - BOTTOM}" stroke="${COLOURS.red}" stroke-dasharray="4 4"/>`;
  return [line, text(at_x - 6, TOP + 14, "end", label)];
}

/** Names from right to left, beside the title. */
function legend(series: readonly PlotSeries[], right: number): string[] {
  const parts: string[] = [];
  let end = right;
  for (const { name, kind, colour, faint } of [...series].reverse()) {
    const start = end - name.length * LETTER_PX;
    parts.push(text(start, 24, "start", name));
    const ink = COLOURS[colour];
    if (kind === "dots")
      parts.push(`<circle cx="${px(start - 12)}" cy="20" r="3.2" fill="${ink}"/>`);
    else
      parts.push(
        `<line x1="${px(start - 26)}" x2="${px(start - 6)}" y1="20" y2="20" stroke="${ink}" stroke-width="2.2"${faint ? ' stroke-opacity=".45"' : ""}/>`,
      );
    end = start - 40;
  }
  return parts;
}
