/** Curves made of characters, for terminals: eighths of blocks, or ASCII where there is no UTF-8. */

const EIGHTHS = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const ASCII = [" ", ".", ":", "|", "#"];

/** Whether the locale of `env` shows block characters. */
export const hasBlocks = (env: Record<string, string | undefined>): boolean =>
  /utf-?8/i.test(env.LC_ALL || env.LC_CTYPE || env.LANG || "");

/** Means of `columns` equally wide parts of the points by x; parts without a point are undefined. */
export function resample(
  points: readonly (readonly [number, number])[],
  columns: number,
): (number | undefined)[] {
  const sums = Array.from({ length: columns }, () => ({ y: 0, n: 0 }));
  const low = points[0]?.[0] ?? 0;
  const span = (points.at(-1)?.[0] ?? 0) - low;
  for (const [x, y] of points) {
    const at = span > 0 ? Math.min(columns - 1, Math.floor(((x - low) / span) * columns)) : 0;
    sums[at]!.y += y;
    sums[at]!.n++;
  }
  return sums.map(({ y, n }) => (n === 0 ? undefined : y / n));
}

/**
 * Area under the curve in `rows` lines of at most `columns` characters: few points are drawn as few
 * columns. The values at the top and at the bottom of the picture are given back for the axis.
 */
export function areaChart(
  points: readonly (readonly [number, number])[],
  size: { columns: number; rows: number; blocks: boolean },
): { lines: string[]; high: number; low: number } {
  const { rows, blocks } = size;
  const levels = blocks ? EIGHTHS : ASCII;
  const per_row = levels.length - 1;
  const values = resample(points, Math.max(1, Math.min(size.columns, points.length)));
  let last = values.find((v) => v !== undefined) ?? 0;
  const filled = values.map((value) => (last = value ?? last)); // a gap goes on as before
  const high = Math.max(...filled);
  const low = Math.min(...filled);
  const span = high > low ? high - low : 1;
  // The lowest value keeps one level, so that the curve never vanishes.
  const heights = filled.map((v) => 1 + Math.round(((v - low) / span) * (rows * per_row - 1)));
  const lines = Array.from({ length: rows }, (_, row) => {
    const floor = (rows - 1 - row) * per_row;
    const cells = heights.map((h) => levels[Math.max(0, Math.min(per_row, h - floor))]);
    return cells.join("").trimEnd();
  });
  return { lines, high, low };
}
