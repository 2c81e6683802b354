/**
 * The configuration of a series model: that of a tabular model, and how many of the newest rows it is
 * fitted on. The window is the axis of the data-scale expansion (paper 7.3, 9.5).
 */
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";
import {
  parseTabular,
  type TabularConfiguration,
  type TaskOffers,
} from "../tabular/configuration.ts";
import type { Configuration } from "../types.ts";

export interface SeriesConfiguration extends TabularConfiguration {
  /** Newest rows that are fitted on; 0 = all there are. */
  readonly window: number;
}

/** Fewer rows are no history to learn from. */
export const WINDOW_MIN = 50;
const windowSchema = z.union([z.literal(0), z.int().min(WINDOW_MIN).max(1e9)]);

/** A series has neither contexts nor a pipeline, and its window stands for recency. */
export const SERIES_OFFERS: TaskOffers = { contexts: false, pipeline: false, time: false };

/** Checks and completes; a missing window is the task's first one. Throws BAD_CONFIGURATION. */
export function parseSeries(value: unknown, window: number): SeriesConfiguration {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return { ...parseTabular(value, SERIES_OFFERS), window };
  const { window: own = window, ...rest } = value as Record<string, unknown>;
  const checked = windowSchema.safeParse(own);
  if (!checked.success)
    throw new MagnetError("BAD_CONFIGURATION", `window: ${JSON.stringify(own)} is no row count`, {
      hint: `the newest rows to fit on, at least ${WINDOW_MIN}, or 0 for all`,
      exit: "config",
    });
  return { ...parseTabular(rest, SERIES_OFFERS), window: checked.data };
}

/** The tabular part alone. */
export function withoutWindow(configuration: SeriesConfiguration): TabularConfiguration {
  const { window: _, ...rest } = configuration;
  return rest;
}

export const seriesOf = (configuration: Configuration): SeriesConfiguration =>
  configuration as unknown as SeriesConfiguration;
export const asSeries = (configuration: SeriesConfiguration): Configuration =>
  configuration as unknown as Configuration;
