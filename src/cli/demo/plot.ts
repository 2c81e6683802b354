/** The demo's picture: held-out loss by round as an SVG, merged model and each worker's own. */
import { svgPlot } from "../../core/plot.ts";
import type { RoundSeen } from "./cluster.ts";

/** A standalone SVG; a mark shows where an agent was killed. */
export function lossPlot(rounds: readonly RoundSeen[], loss_before: number): string {
  const workers = rounds.flatMap((round, i) =>
    round.workers.flatMap(({ loss_after }) =>
      loss_after === null ? [] : [[i + 1, loss_after] as const],
    ),
  );
  const merged = rounds.map((round, i) => [i + 1, round.loss_merged ?? loss_before] as const);
  const marks = rounds.flatMap(({ contributors }, i) =>
    i > 0 && contributors.length < rounds[i - 1]!.contributors.length
      ? [{ x: i + 0.5, label: "an agent is killed" }]
      : [],
  );
  return svgPlot({
    title: "Held-out loss, nats per token",
    x_label: "round",
    whole_x: true,
    marks,
    series: [
      { name: "merged model", kind: "line", colour: "blue", points: [[0, loss_before], ...merged] },
      { name: "a worker before merging", kind: "dots", colour: "amber", points: workers },
    ],
  });
}
