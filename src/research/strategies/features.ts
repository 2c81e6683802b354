/**
 * Strategies over what the members see: fewer features, products of features, the context as a
 * feature or its tell-tale features left out, and the rule pipeline's answer as a feature or as
 * the thing to correct (paper 6.3: "when does the pipeline get it wrong?").
 */
import type { TabularConfiguration } from "../tabular/configuration.ts";
import type { Dimension, Strategy } from "../types.ts";
import type { CatalogueTask } from "./catalogue.ts";
import { bestOf, inherited, memberAxes, sweepOf, withFeatures } from "./edits.ts";
import { guessOf } from "./learner-spaces.ts";

export function featureStrategies(task: CatalogueTask): Strategy[] {
  const { offers, facts } = task;
  const all = facts.features >= 4 ? [topK(task), interactions(task)] : [interactions(task)];
  if (offers.contexts) all.push(contextFeature, contextBlind);
  if (offers.pipeline) all.push(pipelineFeature(task), residualTarget(task));
  return all;
}

const topK = ({ facts }: CatalogueTask): Strategy => ({
  id: "top_k",
  family: "top_k",
  targets: ["feature_noise", "overfit"],
  summary: "Keeps only the features that are most important in the training rows.",
  sweep(state) {
    const best = bestOf(state);
    const found = state.failures.find((f) => f.kind === "feature_noise")?.evidence.kept;
    const few = typeof found === "number" ? found : Math.max(2, Math.round(facts.features * 0.1));
    const keep = (top_k: number) => withFeatures(best, { top_k });
    // Noise hurts linear models most, so they have most to win.
    const linear = {
      ...keep(few),
      members: [
        guessOf("logistic", facts, {
          ...inherited(best),
          features: { ...best.members[0]!.features, top_k: few },
        }),
      ],
      combination: "weighted" as const,
    };
    const axis: Dimension = {
      kind: "integer",
      min: Math.min(2, facts.features),
      max: Math.max(3, facts.features - 1),
      log: true,
    };
    const first = [keep(few), linear, keep(Math.max(2, Math.round(facts.features * 0.3)))];
    return sweepOf(keep(few), memberAxes(best, "features.top_k", axis), first, 8);
  },
});

const interactions = ({ facts }: CatalogueTask): Strategy => ({
  id: "interactions",
  family: "interactions",
  targets: ["interactions"],
  summary: "Adds products and ratios of the most important pairs of features.",
  sweep(state) {
    if (facts.features < 2) return null;
    const best = bestOf(state);
    const most = Math.min(64, (facts.features * (facts.features - 1)) / 2);
    const add = (interactions: number) =>
      withFeatures(best, { interactions: Math.min(most, interactions) });
    const axis: Dimension = { kind: "integer", min: 1, max: Math.max(2, most), log: true };
    return sweepOf(add(12), memberAxes(best, "features.interactions", axis), [add(12), add(40)], 6);
  },
});

const contextFeature: Strategy = {
  id: "context_feature",
  family: "context_feature",
  targets: ["context_gap"],
  summary: "Shows the members the row's context.",
  sweep(state) {
    const best = bestOf(state);
    if (best.members.some((m) => m.features.context)) return null;
    const shown = withFeatures(best, { context: true, context_blind: 0 });
    const axis: Dimension = { kind: "choice", options: [true] };
    return sweepOf(shown, memberAxes(best, "features.context", axis), [shown], 1);
  },
};

const contextBlind: Strategy = {
  id: "context_blind",
  family: "context_blind",
  targets: ["context_gap"],
  summary: "Leaves out the features that tell the context rather than the label.",
  sweep(state) {
    const best = bestOf(state);
    const blind = (context_blind: number) => withFeatures(best, { context: false, context_blind });
    const axis: Dimension = { kind: "real", min: 0.05, max: 0.8 };
    const space = memberAxes(best, "features.context_blind", axis);
    return sweepOf(blind(0.25), space, [blind(0.25), blind(0.5)], 6);
  },
};

/** The best model as it is, and as extra trees (paper Table 3, v2), both shown the pipeline. */
const pipelineFeature = ({ facts }: CatalogueTask): Strategy => ({
  id: "pipeline_pred",
  family: "pipeline_pred",
  targets: ["pipeline_errors"],
  summary: 'Shows the members the rule pipeline\'s answer: "when is it wrong?"',
  sweep(state) {
    const best = bestOf(state);
    if (best.members.every((m) => m.features.pipeline)) return null;
    const shown = withFeatures(best, { pipeline: true });
    const trees: TabularConfiguration = {
      ...shown,
      members: [guessOf("extra_trees", facts, inherited(shown))],
      combination: "weighted",
    };
    const space = memberAxes(best, "balance", { kind: "real", min: 0, max: 1.2 });
    return sweepOf(shown, space, [shown, trees], 5);
  },
});

const residualTarget = ({ facts }: CatalogueTask): Strategy => ({
  id: "pipeline_residual",
  family: "pipeline_residual",
  targets: ["pipeline_errors"],
  summary: "Learns whether the rule pipeline is wrong, and what is right then.",
  sweep(state) {
    const best = bestOf(state);
    if (best.target === "residual") return null;
    const residual: TabularConfiguration = { ...best, target: "residual" };
    const small: TabularConfiguration = {
      ...residual,
      members: [guessOf("logistic", facts, inherited(residual))],
      combination: "weighted",
    };
    const space = memberAxes(best, "balance", { kind: "real", min: 0, max: 1.2 });
    return sweepOf(residual, space, [residual, small], 5);
  },
});
