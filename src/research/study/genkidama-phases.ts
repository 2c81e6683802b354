/**
 * The ten phases of the paper's Table 6 at the scale of one machine: 8 + 8 + 6 + 6 + 6 + 5 + 4 + 5 + 3
 * configurations, each phase changing one group of hyper-parameters with all else at the current
 * best, then three at four times the tokens. The paper's findings are beside them; its losses are of
 * another text and a model 400 times larger, so only the findings can be compared.
 */
import type { LanguageConfiguration } from "../language/configuration.ts";

export type Change = Partial<LanguageConfiguration>;

export interface Phase {
  readonly phase: number;
  readonly focus: string;
  /** Loss and finding of the paper. */
  readonly paper: { readonly val_loss: number; readonly finding: string };
  candidates(current: LanguageConfiguration): readonly Change[];
}

/** Width and depth in proportion to the recipe's; four heads, whatever the width. */
function shape(c: LanguageConfiguration, width: number, depth: number): Change {
  const d_model = 8 * Math.round((width * c.d_model) / 8);
  return { d_model, n_layers: Math.max(1, Math.round(depth * c.n_layers)), head_dim: d_model / 4 };
}

/** As many tokens a step as now. */
const contextOf = (c: LanguageConfiguration, context: number): Change => ({
  context,
  batch: Math.max(1, Math.round((c.batch * c.context) / context)),
});

/** `heads` query heads, of which `group` share keys and values. */
const heads = (c: LanguageConfiguration, count: number, group: number): Change => ({
  head_dim: c.d_model / count,
  group,
});

export const PHASES: readonly Phase[] = [
  {
    ...{ phase: 1, focus: "Architecture" },
    paper: { val_loss: 7.6833, finding: "Wider > Deeper (1024dx12L)" },
    candidates: (c) => [
      shape(c, 1, 0.75),
      shape(c, 0.5, 3),
      shape(c, 0.75, 1.5),
      shape(c, 1.25, 0.75),
      shape(c, 1.5, 0.5),
      shape(c, 1.5, 0.75),
      shape(c, 2, 0.25),
      shape(c, 2, 0.5),
    ],
  },
  {
    ...{ phase: 2, focus: "Learning rate" },
    paper: { val_loss: 7.6885, finding: "LR 5e-4 to 1e-3 optimal" },
    candidates: () =>
      [5e-4, 7.5e-4, 1e-3, 3e-3, 6e-3, 1.2e-2, 2.4e-2, 4.8e-2].map((lr) => ({ lr })),
  },
  {
    ...{ phase: 3, focus: "Training method" },
    paper: { val_loss: 7.7802, finding: "Two-stage WD (matches BitNet 2B4T)" },
    candidates: ({ lr }) => [
      { weight_decay_schedule: "constant" },
      { schedule: "two-stage" },
      { schedule: "cosine" },
      { optimizer: "muon" },
      { optimizer: "muon", lr: lr * 2 },
      { optimizer: "muon", lr: lr / 2 },
    ],
  },
  {
    ...{ phase: 4, focus: "WSD schedule" },
    paper: { val_loss: 7.7062, finding: "Warmup 1%, Decay 15%" },
    candidates: () => [
      { schedule: "wsd", warmup: 0.01, decay: 0.3 },
      { schedule: "wsd", warmup: 0.01, decay: 0.5 },
      { schedule: "wsd", warmup: 0.01, decay: 0.8 },
      { schedule: "wsd", warmup: 0.05, decay: 0.15 },
      { schedule: "wsd", warmup: 0.05, decay: 0.5 },
      { schedule: "wsd", warmup: 0.1, decay: 0.8 },
    ],
  },
  {
    ...{ phase: 5, focus: "beta2, weight decay" },
    paper: { val_loss: 7.7646, finding: "beta2 0.98 > 0.95" },
    candidates: () => [
      { beta2: 0.95 },
      { beta2: 0.99 },
      { weight_decay: 0.03 },
      { weight_decay: 0.2 },
      { beta2: 0.95, weight_decay: 0.03 },
      { beta2: 0.95, weight_decay: 0.2 },
    ],
  },
  {
    ...{ phase: 6, focus: "FFN multiplier" },
    paper: { val_loss: 7.9323, finding: "2.67x FFN optimal" },
    candidates: () => [1, 1.5, 2, 3.33, 4].map((ffn) => ({ ffn })),
  },
  {
    ...{ phase: 7, focus: "Context length" },
    paper: { val_loss: 7.1229, finding: "Largest effect: 512 to 2048" },
    candidates: (c) =>
      [0.25, 0.5, 2, 4].map((factor) => contextOf(c, Math.max(8, c.context * factor))),
  },
  {
    ...{ phase: 8, focus: "GQA ratio" },
    paper: { val_loss: 7.9083, finding: "GQA 4:1 competitive" },
    candidates: (c) => [
      heads(c, 4, 2),
      heads(c, 4, 1),
      heads(c, 8, 8),
      heads(c, 8, 4),
      heads(c, 2, 2),
    ],
  },
  {
    ...{ phase: 9, focus: "Batch and accumulation" },
    paper: { val_loss: 7.6552, finding: "No accumulation best" },
    candidates: ({ batch, accumulate }) => [
      { accumulate: accumulate * 2 },
      { batch: Math.max(1, batch >> 1) },
      { batch: Math.max(1, batch >> 2) },
    ],
  },
];

/** The tenth: the best configurations of all phases, longer. */
export const CONFIRMATION = {
  ...{ phase: 10, focus: "Final validation", configurations: 3, times: 4 },
  paper: { val_loss: 6.399, finding: "2000-step confirmation" },
} as const;

export const CONFIGURATIONS = 54;
