/** The loss of several runs over trained tokens as a standalone SVG. */
import type { CurvePoint } from "./train-row.ts";

export interface Curve {
  name: string;
  /** Drawn as a line. */
  train: CurvePoint[];
  /** Drawn as dots. */
  heldout: CurvePoint[];
}

const WIDTH = 760;
const HEIGHT = 380;
const LEFT = 56;
const RIGHT = 24;
const TOP = 52;
const BOTTOM = 52;
/** Both read on light and dark pages. */
const COLOURS = ["#2f81f7", "#d29922", "#3fb950", "#da3633"];
/** The first losses are those of guessing; the axis ends above what training soon leaves. */
const AXIS_QUANTILE = 0.97;

const at = (value: number) => value.toFixed(1);
const text = (x: number, y: number, anchor: string, content: string) =>
  `<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}">${content}</text>`;

/** Losses in nats per token over tokens in millions. */
export function lossCurves(curves: readonly Curve[]): string {
  const points = curves.flatMap(({ train, heldout }) => [...train, ...heldout]);
  const losses = points.map(({ loss }) => loss).sort((a, b) => a - b);
  const low = Math.floor(losses[0]! * 2) / 2;
  const high = Math.ceil(losses[Math.floor(AXIS_QUANTILE * (losses.length - 1))]! * 2) / 2;
  const last = Math.max(...points.map(({ tokens }) => tokens));
  const x = (tokens: number) => LEFT + (tokens / last) * (WIDTH - LEFT - RIGHT);
  const y = (loss: number) =>
    TOP + ((high - Math.min(loss, high)) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const parts: string[] = [];
  for (let loss = low; loss <= high; loss += 0.5) {
    const py = at(y(loss));
    parts.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${py}" y2="${py}"/>`);
    parts.push(text(LEFT - 8, y(loss) + 4, "end", loss.toFixed(1)));
  }
  const every = Math.max(1, Math.ceil(last / 1e6 / 10)) * 1e6;
  for (let tokens = 0; tokens <= last; tokens += every)
    parts.push(text(x(tokens), HEIGHT - BOTTOM + 18, "middle", `${tokens / 1e6}M`));
  for (const [i, { name, train, heldout }] of curves.entries()) {
    const colour = COLOURS[i % COLOURS.length]!;
    const line = train.map((p) => `${at(x(p.tokens))},${at(y(p.loss))}`).join(" ");
    parts.push(`<polyline fill="none" stroke="${colour}" stroke-width="2" points="${line}"/>`);
    for (const { tokens, loss } of heldout)
      if (loss <= high)
        parts.push(`<circle cx="${at(x(tokens))}" cy="${at(y(loss))}" r="3.5" fill="${colour}"/>`);
    const px = WIDTH - RIGHT - 90 * (curves.length - i);
    parts.push(
      `<line stroke="${colour}" stroke-width="3" x1="${px}" x2="${px + 18}" y1="20" y2="20"/>`,
    );
    parts.push(text(px + 24, 24, "start", name));
  }
  parts.push(text(LEFT, 24, "start", "Loss, nats per token: line training, dots held out"));
  parts.push(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "middle", "tokens trained on"));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="13">
<style>text{fill:#57606a}.grid{stroke:#8b949e;stroke-opacity:.25}</style>
${parts.join("\n")}
</svg>
`;
}
