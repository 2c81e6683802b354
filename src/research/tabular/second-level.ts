/**
 * What is fitted on out-of-fold probabilities: the members' combination, calibration and the
 * decision rule, in this order. Each is fitted on some rows and applied to others, so that the
 * score of a decision never counts a row that the rule was chosen by.
 */
import { applyCalibration, type Calibration, fitCalibration } from "./calibrate.ts";
import { applyCombination, type Combination, fitCombination } from "./combine.ts";
import type { TabularConfiguration } from "./configuration.ts";
import { type DecisionRule, decideRow, fitDecision } from "./decide.ts";
import type { ConfusionScore, Labelled } from "./labelled.ts";

export interface SecondLevel {
  readonly combination: Combination;
  readonly calibration: Calibration;
  readonly rule: DecisionRule;
}

/** What the fits need beside the probabilities. */
export type Targets = Omit<Labelled, "probabilities">;

/** Fits all three on `rows`; `members` are out-of-fold probabilities, (rows of the part, classes). */
export function fitSecondLevel(
  configuration: TabularConfiguration,
  members: readonly Float32Array[],
  targets: Targets,
  rows: Uint32Array,
  score: ConfusionScore,
): SecondLevel {
  const combination = fitCombination(configuration, members, targets, rows, score);
  const probabilities = new Float32Array(members[0]!.length);
  applyCombination(combination, members, targets.classes, rows, probabilities);
  const data = { ...targets, probabilities };
  const calibration = fitCalibration(data, rows, configuration.calibration);
  applyCalibration(calibration, probabilities, targets.classes, rows);
  const rule = fitDecision(data, rows, configuration.decision, score);
  return { combination, calibration, rule };
}

/** Writes the final probabilities of `rows` into `out` and their classes into `decided`. */
export function applySecondLevel(
  level: SecondLevel,
  members: readonly Float32Array[],
  targets: Pick<Targets, "classes" | "context">,
  rows: Uint32Array,
  out: Float32Array,
  decided: Int32Array,
): void {
  const { classes, context } = targets;
  applyCombination(level.combination, members, classes, rows, out);
  applyCalibration(level.calibration, out, classes, rows);
  for (const row of rows)
    decided[row] = decideRow(
      level.rule,
      out,
      row * classes,
      classes,
      context === null ? -1 : context[row]!,
    );
}
