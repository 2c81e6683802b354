/**
 * Fits the whole pipeline on all rows of a part. Thresholds, blend weights and calibration come from
 * one more cross-validation over the same rows, as they do inside the folds while searching.
 */
import type { FinalModel } from "../types.ts";
import { columnName } from "./columns.ts";
import { asConfiguration, type TabularConfiguration } from "./configuration.ts";
import type { Evaluator } from "./evaluate.ts";
import { type LoadedBag, type ModelHeader, saveModel } from "./final-model.ts";
import { allRows } from "./part.ts";
import {
  type FitSettings,
  freeMember,
  isDeterministic,
  mixSeed,
  WHOLE_PART,
} from "./part-fitter.ts";
import { confusionScore } from "./scores.ts";
import { fitSecondLevel, type SecondLevel, type Targets } from "./second-level.ts";

/** Repeats of the cross-validation: rules from one alone follow the luck of its folds. */
const REPEATS_MAX = 2;

/** What a saved model tells of its task. */
export type ModelTask = Pick<
  ModelHeader,
  "metric" | "classes" | "contexts" | "context_column" | "pipeline_column"
>;

export interface FittedPipeline {
  readonly members: readonly (readonly LoadedBag[])[];
  readonly level: SecondLevel;
  free(): void;
}

/** Fits members and second level on all rows of the evaluator's part. */
export async function fitPipeline(
  evaluator: Evaluator,
  configuration: TabularConfiguration,
  settings: FitSettings,
): Promise<FittedPipeline> {
  const { fitter } = evaluator;
  const { part } = fitter;
  const level = await fitLevel(evaluator, configuration, settings);
  const members: LoadedBag[][] = [];
  const free = () => members.flat().forEach(freeMember);
  const train = { rows: allRows(part.rows), key: WHOLE_PART };
  try {
    for (const member of configuration.members) {
      const bags: LoadedBag[] = [];
      members.push(bags);
      for (let bag = 0; bag < (isDeterministic(member) ? 1 : member.bags); bag++) {
        const own = { ...settings, seed: mixSeed(settings.seed, bag) };
        const { rows, target } = configuration;
        bags.push(await fitter.fitMember(member, rows, target, train, own));
      }
    }
  } catch (error) {
    free();
    throw error;
  }
  return { members, level, free };
}

/** Nothing to fit: the members' weights are given and the most probable class is taken. */
function needsNoRows(configuration: TabularConfiguration): boolean {
  const { members, calibration, decision } = configuration;
  const plain = decision.rule === "argmax" && decision.context === "none";
  return members.length === 1 && calibration === "none" && plain;
}

async function fitLevel(
  evaluator: Evaluator,
  configuration: TabularConfiguration,
  settings: FitSettings,
): Promise<SecondLevel> {
  const { part } = evaluator.fitter;
  const { classes } = part;
  if (needsNoRows(configuration)) {
    const rule = { weights: new Float64Array(classes).fill(1), byContext: null };
    const one = Float64Array.of(1);
    const combination = { weights: one, levels: [], powers: one, votes: null };
    return { combination, calibration: [], rule };
  }
  const all = evaluator.task.folds(settings.seed, 1);
  const folds = all.filter((fold) => fold.repeat < REPEATS_MAX);
  const { members } = await evaluator.outOfFold(configuration, folds, settings);
  // The repeats under each other, as if they were further rows.
  const stacked = configuration.members.map((_, m) => {
    const out = new Float32Array(members.length * part.rows * classes);
    for (const [repeat, own] of members.entries()) out.set(own[m]!, repeat * part.rows * classes);
    return out;
  });
  const again = (values: Int32Array) => {
    const out = new Int32Array(members.length * part.rows);
    for (let repeat = 0; repeat < members.length; repeat++) out.set(values, repeat * part.rows);
    return out;
  };
  const targets: Targets = {
    classes,
    label: again(part.label),
    context: part.context === null ? null : again(part.context),
    contexts: part.contexts,
  };
  const rows = allRows(targets.label.length).filter(
    (row) => !Number.isNaN(stacked[0]![row * classes]!),
  );
  const score = confusionScore(evaluator.task.metric, classes);
  return fitSecondLevel(configuration, stacked, targets, rows, score);
}

/** Fits and saves; the importance is the members' mean by their weight in the blend. */
export async function fitFinalModel(
  evaluator: Evaluator,
  configuration: TabularConfiguration,
  task: ModelTask,
  settings: FitSettings,
): Promise<FinalModel> {
  const fitted = await fitPipeline(evaluator, configuration, settings);
  try {
    const features = evaluator.fitter.part.features.columns.map((column) => ({
      name: column.name,
      levels: column.kind === "category" ? [...column.levels] : null,
      time: column.kind === "number" && column.time === true,
    }));
    const names = features.map((feature) => feature.name);
    const bytes = saveModel({ ...task, features, configuration }, fitted.members, fitted.level);
    return {
      configuration: asConfiguration(configuration),
      bytes,
      importance: importanceOf(fitted, names),
    };
  } finally {
    fitted.free();
  }
}

function importanceOf(fitted: FittedPipeline, names: readonly string[]): FinalModel["importance"] {
  const shares = new Map<string, number>();
  fitted.members.forEach((bags, m) => {
    for (const bag of bags) {
      const found = (bag.wrong ?? bag.plain)!.importance();
      const weight = fitted.level.combination.weights[m]! / bags.length;
      bag.columns.forEach((spec, c) => {
        const name = columnName(spec, names);
        shares.set(name, (shares.get(name) ?? 0) + weight * found[c]!);
      });
    }
  });
  return [...shares]
    .map(([feature, share]) => ({ feature, share }))
    .filter(({ share }) => share > 0)
    .sort((a, b) => b.share - a.share || (a.feature < b.feature ? -1 : 1));
}
