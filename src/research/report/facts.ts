/** The sentences and tables of a report, shared by its Markdown and its page. */
import path from "node:path";
import type { VersionResult } from "../loop/events.ts";
import type { DomainName, ScoreInterval } from "../types.ts";
import { MODEL_FOLDER, type ReportDocument } from "./report.ts";

export const digits = (value: number): string => value.toFixed(4);
export const signed = (value: number): string => `${value < 0 ? "" : "+"}${digits(value)}`;
export const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

export const counted = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

export const intervalText = ({ score, low, high }: ScoreInterval): string =>
  `${digits(score)} [${digits(low)}, ${digits(high)}]`;

const FINAL_REASONS = {
  baseline: "no version was better than the baseline beyond noise, so the baseline stays",
  accepted: "the last version that was accepted",
  tied: "tied with the last accepted version within noise, with the higher expected score",
} as const;

const STOP_REASONS = {
  converged: "converged: further versions brought nothing",
  budget: "the budget was used",
  exhausted: "no strategy was left to try",
} as const;

/** Nothing is said about a baseline that nothing was compared with. */
const triedNothing = ({ versions }: ReportDocument["result"]): boolean =>
  versions.every(({ strategies }) => strategies.every(({ trials }) => trials === 0));

/** The answer in one sentence, the first thing that is read. */
export function headline({ result }: ReportDocument): string {
  const { sealed, metric } = result;
  if (sealed.no_edge)
    return (
      `No edge: the sealed ${metric} ${intervalText(sealed.model)} does not exceed the trivial ` +
      `answer's ${digits(sealed.trivial.score)}.`
    );
  const { difference, low, high } = sealed.difference;
  const gain =
    result.final.reason === "baseline"
      ? triedNothing(result)
        ? "the baseline; the budget was too small to try anything else"
        : "the baseline could not be improved"
      : `${signed(difference)} [${signed(low)}, ${signed(high)}] over the baseline`;
  return `Sealed ${metric} ${intervalText(sealed.model)}: ${gain}.`;
}

/** The commands that use the model of a run in this folder. */
export function useCommands(domain: DomainName, folder: string): [string, ...string[]] {
  if (domain !== "language") return [`magnet research predict ${folder} NEW.csv`];
  const model = path.join(folder, MODEL_FOLDER);
  return [
    `magnet chat ${model} --complete --prompt TEXT`,
    `magnet serve ${model}`,
    `magnet export gguf ${model} --type f16 --out model.gguf`,
  ];
}

/** Name and value of each figure that judges the run. */
export function figureRows(report: ReportDocument): [string, string][] {
  const { result, reads, context_gap } = report;
  const { sealed, noise_floor, final, spent } = result;
  const count = (part: string) => reads.filter((read) => read.part === part).length;
  const trials = Object.entries(result.trials).map(([state, n]) => `${n} ${state}`);
  const rows: [string, string][] = [
    ["sealed score, 95% interval", `${intervalText(sealed.model)}, ${sealed.model.units} units`],
    ["sealed score of the baseline", intervalText(sealed.baseline)],
    ["sealed score of the trivial answer", intervalText(sealed.trivial)],
    [
      "search score, baseline -> final",
      `${digits(result.baseline.score)} -> ${digits(final.candidate.score)}`,
    ],
    [
      "final model",
      triedNothing(result)
        ? "the baseline: the budget was too small to try anything else"
        : FINAL_REASONS[final.reason],
    ],
    [
      "noise floor",
      noise_floor.seeds === 1
        ? "not measured: the budget was too small for a second seed"
        : `${digits(noise_floor.floor)} (deviation ${digits(noise_floor.deviation)} over ${noise_floor.seeds} seeds)`,
    ],
    ["reads of gate / sealed", `${count("gate")} / ${count("sealed")}`],
    ["trials", trials.join(", ")],
    ["used", `${spent.cpu_s.toFixed(1)} CPU seconds, ${spent.wall_s.toFixed(1)} s`],
    ["ended", STOP_REASONS[result.stop]],
  ];
  if (context_gap) {
    const text = (gap: number | null) => (gap === null ? "-" : digits(gap));
    rows.splice(5, 0, [
      "gap to contexts left out, baseline -> final",
      `${text(context_gap.baseline)} -> ${text(context_gap.final)}`,
    ]);
  }
  return rows;
}

export const VERSION_TITLES = ["version", "strategy", "trials", "best", "difference", "result"];

/** A row for each strategy of each version. */
export function strategyRows(versions: readonly VersionResult[]): string[][] {
  return versions.flatMap((v) =>
    v.strategies.map((s) => {
      const interval = s.difference;
      const kept = v.contender?.strategy === s.strategy && v.verdict?.accepted ? "kept" : "";
      return [
        String(v.version),
        s.strategy,
        `${s.trials}${s.failed > 0 ? ` (${s.failed} failed)` : ""}`,
        s.best_score === null ? "-" : digits(s.best_score),
        interval
          ? `${signed(interval.difference)} [${signed(interval.low)}, ${signed(interval.high)}]`
          : "-",
        kept || (s.trials === 0 ? "not reached" : s.result === "crashed" ? "crashed" : "discarded"),
      ];
    }),
  );
}

/** What a version found and decided, in sentences. */
export function versionSentences(version: VersionResult): string[] {
  const { failures, verdict, strategies, teacher } = version;
  const found =
    failures.length === 0
      ? ["The analysis found no failure beyond chance."]
      : failures.map((f) => `${f.text} (strength ${f.strength.toFixed(1)})`);
  const tried = strategies.map((s) => `Tried ${s.strategy}: ${s.why}`);
  const taught =
    teacher.offered > 0
      ? [`The teacher offered ${teacher.offered} configurations, ${teacher.used} were used.`]
      : [];
  return [...found, ...tried, ...taught, ...(verdict ? [verdict.reason] : [])];
}
