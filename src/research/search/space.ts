/**
 * Search spaces as vectors: axes in the order of their paths, numbers scaled to [0, 1] (in the
 * logarithm where the axis says so), choices as the index of their option. Points are what the
 * optimiser works on; settings (values by path) are what goes into configurations.
 */
import { canonicalJson } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import type { Configuration, Dimension, Json, Space } from "../types.ts";

/** One coordinate by axis: [0, 1] for numbers, the option's index for choices. */
export type Point = readonly number[];
/** Values by dotted path. */
export type Settings = { readonly [path: string]: Json };

/** Significant digits kept of a real setting: enough for any model, short in reports. */
const DIGITS = 4;

export interface Axis {
  readonly path: string;
  readonly dimension: Dimension;
  /** Options of a choice, 0 of a number. */
  readonly options: number;
}

/** The axes in the order of their paths, so that a space's own key order decides nothing. */
export function axesOf(space: Space): Axis[] {
  return Object.keys(space)
    .sort()
    .map((path) => {
      const dimension = space[path]!;
      checkDimension(path, dimension);
      return {
        path,
        dimension,
        options: dimension.kind === "choice" ? dimension.options.length : 0,
      };
    });
}

function checkDimension(path: string, dimension: Dimension): void {
  const bad = (why: string) => {
    throw new MagnetError("BAD_SPACE", `search axis "${path}": ${why}`, {
      hint: "correct the axis where the strategy makes its sweep",
    });
  };
  if (dimension.kind === "choice") {
    if (dimension.options.length === 0) bad("it has no options");
    return;
  }
  const { min, max } = dimension;
  if (!Number.isFinite(min) || !Number.isFinite(max) || min > max)
    bad(`its bounds ${min}..${max} are no range`);
  if (dimension.log && min <= 0) bad(`it is logarithmic but starts at ${min}`);
}

/** Uniform in the space. */
export function samplePoint(axes: readonly Axis[], random: Random): number[] {
  return axes.map((axis) => (axis.options > 0 ? random.below(axis.options) : random.next()));
}

export function settingsOf(axes: readonly Axis[], point: Point): Settings {
  return Object.fromEntries(axes.map((axis, i) => [axis.path, valueAt(axis.dimension, point[i]!)]));
}

function valueAt(dimension: Dimension, coordinate: number): Json {
  if (dimension.kind === "choice") return dimension.options[coordinate]!;
  const { min, max } = dimension;
  if (dimension.kind === "integer") {
    // Equal parts of [0, 1] for each integer, so that both ends are as likely as the middle.
    const [low, high] = [min - 0.5, max + 0.5];
    const value = dimension.log
      ? Math.max(low, 0.5) * (high / Math.max(low, 0.5)) ** coordinate
      : low + coordinate * (high - low);
    return Math.min(max, Math.max(min, Math.round(value)));
  }
  const value = dimension.log ? min * (max / min) ** coordinate : min + coordinate * (max - min);
  // Rounding also hides the last bits of `**`, which differ between machines.
  return Math.min(max, Math.max(min, Number(value.toPrecision(DIGITS))));
}

/** The coordinate of a value on an axis, null where the axis does not hold it. */
function coordinateOf(dimension: Dimension, value: Json | undefined): number | null {
  if (value === undefined) return null;
  if (dimension.kind === "choice") {
    const text = canonicalJson(value);
    const index = dimension.options.findIndex((option) => canonicalJson(option) === text);
    return index < 0 ? null : index;
  }
  if (typeof value !== "number" || value < dimension.min || value > dimension.max) return null;
  const half = dimension.kind === "integer" ? 0.5 : 0;
  const [low, high] = [dimension.min - half, dimension.max + half];
  if (high === low) return 0.5;
  if (!dimension.log) return (value - low) / (high - low);
  const from = dimension.kind === "integer" ? Math.max(low, 0.5) : low;
  return Math.log(value / from) / Math.log(high / from);
}

/**
 * The point of a configuration, an axis that it does not hold filled from `fallback`; null where
 * fewer than half of the axes are held: such a configuration says little about this space.
 */
export function pointOf(
  axes: readonly Axis[],
  read: (path: string) => Json | undefined,
  fallback: (axis: number) => number,
): number[] | null {
  let held = 0;
  const point = axes.map((axis, i) => {
    const coordinate = coordinateOf(axis.dimension, read(axis.path));
    if (coordinate === null) return fallback(i);
    held++;
    return coordinate;
  });
  return axes.length === 0 || held * 2 < axes.length ? null : point;
}

/** The value at a dotted path; undefined where the path leaves the configuration. */
export function readPath(configuration: Json, path: string): Json | undefined {
  let at: Json | undefined = configuration;
  for (const step of path.split(".")) {
    if (at === null || typeof at !== "object") return undefined;
    at = (at as { readonly [key: string]: Json })[step];
  }
  return at;
}

/** A copy of `base` with the settings in place; short paths first, so that nested ones win. */
export function applySettings(base: Configuration, settings: Settings): Configuration {
  const copy = structuredClone(base) as { [key: string]: Json };
  const paths = Object.keys(settings).sort(
    (a, b) => a.split(".").length - b.split(".").length || (a < b ? -1 : 1),
  );
  for (const path of paths) setPath(copy, path, settings[path]!);
  return copy;
}

function setPath(root: { [key: string]: Json }, path: string, value: Json): void {
  const steps = path.split(".");
  let at = root;
  for (const [i, step] of steps.slice(0, -1).entries()) {
    if (Array.isArray(at) && !(step in at))
      throw new MagnetError(
        "BAD_SPACE",
        `search axis "${path}": the configuration has no ${steps.slice(0, i + 1).join(".")}`,
        { hint: "the sweep's base must hold every list entry that its space varies" },
      );
    const next = at[step];
    if (next === undefined || next === null || typeof next !== "object") at[step] = {};
    at = at[step] as { [key: string]: Json };
  }
  at[steps.at(-1)!] = structuredClone(value) as Json;
}
