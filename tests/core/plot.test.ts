/** SVG plots: where points land, which ticks stand at the axes, and nothing from elsewhere. */
import { expect, test } from "bun:test";
import { svgPlot, tickStep } from "../../src/core/plot.ts";

const plot = (points: [number, number][]) =>
  svgPlot({
    title: 'Loss <1> & "2"',
    x_label: "step",
    whole_x: true,
    series: [{ name: "a", kind: "line with dots", colour: "blue", points }],
  });

test("ticks are 1, 2 or 5 times a power of ten, and never too many", () => {
  expect([tickStep(10, 10), tickStep(11, 10), tickStep(21, 10), tickStep(60, 10)]).toEqual([
    1, 2, 5, 10,
  ]);
  expect(tickStep(0.7, 7)).toBeCloseTo(0.1, 12);
  for (let span = 0.001; span < 1e7; span *= 1.37)
    expect(span / tickStep(span, 8)).toBeLessThanOrEqual(8 + 1e-6);
});

test("corners of the data are corners of the picture", () => {
  const svg = plot([
    [0, 2],
    [10, 1],
  ]);
  expect(svg).toContain('points="64.0,48.0 736.0,308.0"');
  expect(svg).toContain(">2.0</text>");
  expect(svg).toContain(">10</text>");
  // One document that a parser of XML accepts, with its texts escaped.
  expect(svg).toContain("Loss &lt;1> &amp; &quot;2&quot;");
  expect(svg.match(/<svg /g)).toHaveLength(1);
  expect(svg).not.toMatch(/href|url\(|<script|<image/);
});

test("no points, one point, equal points and unknown values are drawn too", () => {
  const empty = plot([]);
  expect(empty).not.toContain("NaN");
  expect(empty).not.toContain("<polyline");
  expect(plot([[3, 5]])).toContain("<circle");
  for (const svg of [
    plot([[3, 5]]),
    plot([
      [1, 5],
      [2, 5],
    ]),
    plot([
      [1, Number.NaN],
      [2, 1],
      [3, 2],
    ]),
  ])
    expect(svg).not.toMatch(/NaN|Infinity/);
});

test("large and small numbers stay readable", () => {
  const svg = plot([
    [0, 0.0012],
    [2_500_000, 0.0019],
  ]);
  expect(svg).toContain(">2.5M</text>");
  expect(svg).toContain(">0.0012</text>");
});
