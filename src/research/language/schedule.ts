/**
 * The learning rate of a step where warm-up and decay are axes of the search. With the shares of the
 * native "wsd" (1% and 15%) the rates are the same; only + - * / are used, so every host agrees.
 */
import { learningRate } from "../../model/schedule.ts";
import type { LanguageConfiguration } from "./configuration.ts";

/** Steps of a share, rounded up; shares are taken in parts of 10^4, so that no rounding differs. */
const stepsOf = (share: number, total: number) =>
  Math.ceil((Math.round(share * 10_000) * total) / 10_000);

/** Rate of a 1-based step. */
export function rateAt(
  c: Pick<LanguageConfiguration, "schedule" | "lr" | "warmup" | "decay">,
  step: number,
  total: number,
): number {
  if (c.schedule === "constant") return learningRate("constant", step, total, c.lr);
  const warmup = stepsOf(c.warmup, total);
  if (step <= warmup) return Math.fround((c.lr * step) / warmup);
  if (c.schedule !== "wsd") return learningRate(c.schedule, step, total, c.lr);
  const decay = Math.min(total - warmup, stepsOf(c.decay, total));
  const left = total - step;
  return Math.fround(left >= decay ? c.lr : (c.lr * left) / decay);
}
