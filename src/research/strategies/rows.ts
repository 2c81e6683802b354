/**
 * Strategies over the rows that are learnt from: more of them (paper 9: "data scale is a separate
 * axis"), only the newest, or without those whose labels are probably wrong.
 */
import type { TabularConfiguration } from "../tabular/configuration.ts";
import type { Dimension, Strategy } from "../types.ts";
import type { CatalogueTask } from "./catalogue.ts";
import { bestOf, searchRows, sweepOf } from "./edits.ts";

const withRows = (
  configuration: TabularConfiguration,
  rows: Partial<TabularConfiguration["rows"]>,
): TabularConfiguration => ({ ...configuration, rows: { ...configuration.rows, ...rows } });

export function rowStrategies({ facts, offers }: CatalogueTask): Strategy[] {
  const moreData: Strategy = {
    id: "more_data",
    family: "more_data",
    targets: ["data_limited"],
    summary: "Trains on more of the rows there are.",
    sweep(state) {
      const best = bestOf(state);
      const now = best.rows.rows_max;
      if (now === 0 || now >= searchRows(facts)) return null;
      const [all, double] = [
        withRows(best, { rows_max: 0 }),
        withRows(best, { rows_max: 2 * now }),
      ];
      const axis: Dimension = {
        kind: "integer",
        min: now,
        max: Math.max(now + 1, searchRows(facts)),
        log: true,
      };
      return sweepOf(double, { "rows.rows_max": axis }, [double, all], 4);
    },
  };
  const noiseList: Strategy = {
    id: "noise_list",
    family: "noise_list",
    targets: ["label_noise"],
    summary: "Leaves out the training rows that an inner cross-validation finds confidently wrong.",
    sweep(state) {
      const best = bestOf(state);
      const without = (noise_share: number) => withRows(best, { noise_share });
      const suspected = state.failures.find((f) => f.kind === "label_noise")?.evidence.share;
      const share = typeof suspected === "number" ? Math.min(0.3, Math.max(0.02, suspected)) : 0.08;
      const axis: Dimension = { kind: "real", min: 0.01, max: 0.3, log: true };
      return sweepOf(without(share), { "rows.noise_share": axis }, [without(share)], 4);
    },
  };
  if (!offers.time) return [moreData, noiseList];
  const recency: Strategy = {
    id: "recency",
    family: "recency",
    targets: ["drift"],
    summary: "Trains on the newest rows only.",
    sweep(state) {
      const best = bestOf(state);
      const newest = (recency: number) => withRows(best, { recency });
      const axis: Dimension = { kind: "real", min: 0.1, max: 1, log: true };
      return sweepOf(newest(0.5), { "rows.recency": axis }, [newest(0.5), newest(0.25)], 5);
    },
  };
  return [moreData, noiseList, recency];
}
