/** The demo's picture: held-out loss by round as an SVG, merged model and each worker's own. */
import type { RoundSeen } from "./cluster.ts";

const WIDTH = 760;
const HEIGHT = 360;
const LEFT = 64;
const RIGHT = 24;
const TOP = 48;
const BOTTOM = 52;

/** A standalone SVG; colours read on light and dark pages. */
export function lossPlot(rounds: readonly RoundSeen[], loss_before: number): string {
  const losses = rounds.flatMap((round) => [
    round.loss_merged ?? loss_before,
    ...round.workers.map(({ loss_after }) => loss_after ?? loss_before),
  ]);
  const low = Math.floor(Math.min(...losses) * 2) / 2;
  const high = Math.ceil(Math.max(loss_before, ...losses) * 2) / 2;
  const x = (round: number) => LEFT + (round / rounds.length) * (WIDTH - LEFT - RIGHT);
  const y = (loss: number) => TOP + ((high - loss) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const at = (value: number) => value.toFixed(1);
  const text = (px: number, py: number, anchor: string, content: string) =>
    `<text x="${at(px)}" y="${at(py)}" text-anchor="${anchor}">${content}</text>`;
  const parts: string[] = [];
  for (let loss = low; loss <= high; loss += 0.5) {
    const py = at(y(loss));
    parts.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${py}" y2="${py}"/>`);
    parts.push(text(LEFT - 8, y(loss) + 4, "end", loss.toFixed(1)));
  }
  const every = Math.ceil(rounds.length / 12);
  for (let round = 0; round <= rounds.length; round += every)
    parts.push(text(x(round), HEIGHT - BOTTOM + 18, "middle", String(round)));
  for (const [i, { workers }] of rounds.entries())
    for (const { loss_after } of workers)
      if (loss_after !== null)
        parts.push(
          `<circle class="worker" cx="${at(x(i + 1))}" cy="${at(y(loss_after))}" r="3.5"/>`,
        );
  const merged = rounds.map((r, i) => `${at(x(i + 1))},${at(y(r.loss_merged ?? loss_before))}`);
  const points = [`${at(x(0))},${at(y(loss_before))}`, ...merged];
  parts.push(`<polyline class="merged" points="${points.join(" ")}"/>`);
  for (const [i, { contributors }] of rounds.entries())
    if (i > 0 && contributors.length < rounds[i - 1]!.contributors.length) {
      const px = at((x(i) + x(i + 1)) / 2);
      parts.push(`<line class="kill" x1="${px}" x2="${px}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/>`);
      parts.push(text(Number(px) - 6, TOP + 14, "end", "an agent is killed"));
    }
  parts.push(text(LEFT, 24, "start", "Held-out loss, nats per token"));
  parts.push(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "middle", "round"));
  parts.push(`<circle class="worker" cx="${WIDTH - 236}" cy="20" r="3.5"/>`);
  parts.push(text(WIDTH - 226, 24, "start", "a worker before merging"));
  parts.push(`<line class="merged" x1="${WIDTH - 400}" x2="${WIDTH - 376}" y1="20" y2="20"/>`);
  parts.push(text(WIDTH - 370, 24, "start", "merged model"));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="13">
<style>text{fill:#57606a}.grid{stroke:#8b949e;stroke-opacity:.25}.worker{fill:#d29922;fill-opacity:.8}.merged{fill:none;stroke:#2f81f7;stroke-width:2.5}.kill{stroke:#da3633;stroke-dasharray:4 4}</style>
${parts.join("\n")}
</svg>
`;
}
