/**
 * The rows of the proof: what is trained, on which tokens, with which seeds. Budgets are in tokens,
 * so a slow or busy machine changes the time of a row and nothing else.
 */

/** A row that is one training run, measured on the held-out pages. */
export interface TrainRow {
  kind: "train";
  name: string;
  /** Rows compared with each other. */
  group: "main" | "recipe" | "scan";
  model: object;
  vocab_size: number;
  /** Of `magnet train`, besides model, data and folder. */
  flags: Record<string, string | number>;
}
/** A row with steps of its own. */
export interface SpecialRow {
  kind: "genkidama" | "align";
  name: string;
}
export type Row = TrainRow | SpecialRow;

const shape = (vocab_size: number, d_model: number, n_layers: number, d_ff: number) => ({
  ...{ variant: "bitnet", vocab_size, d_model, n_layers, n_heads: 4, n_kv_heads: 2 },
  ...{ head_dim: d_model / 4, d_ff, context: 256 },
});
/** 5.2 million parameters; every row a multiple of 256, so that it exports as TQ2_0. */
const MAIN_MODEL = shape(8192, 256, 4, 768);
/** 1.7 million parameters. */
const RECIPE_MODEL = shape(4096, 128, 6, 384);

/** What all rows share. */
const COMMON = { schedule: "wsd", "weight-decay-schedule": "constant" };
type Recipe = Record<string, string | number>;
/** Peak learning rates: the best of the scan rows below. */
const ADAMW_LR = 0.008;
const MUON_LR = 0.016;
/** Smaller than the scan's best: the model is three times as large and its run four times as long. */
const MAIN_LR = 0.004;

/** Muon is the base, as the scan has it far ahead; each other recipe changes one thing. */
export const RECIPES: Record<string, Recipe> = {
  base: { optimizer: "muon", ...COMMON, lr: MUON_LR },
  adamw: { optimizer: "adamw", ...COMMON, lr: ADAMW_LR },
  cosine: { optimizer: "muon", ...COMMON, schedule: "cosine", lr: MUON_LR },
  "two-stage-decay": {
    optimizer: "muon",
    ...COMMON,
    "weight-decay-schedule": "two-stage",
    lr: MUON_LR,
  },
};
export const SEEDS = [1, 2, 3];

/** 320 steps of 8 x 256 tokens: 0.66 million. */
const RECIPE_BUDGET = { batch: 8, steps: 320 };
const SCAN_STEPS = 150;
/** 800 steps of 16 x 256 tokens: 3.28 million, 1.5 passes over the text. */
const MAIN_BUDGET = { batch: 16, steps: 800, "eval-every": 100, "checkpoint-every": 250 };

const recipeRow = (recipe: string, seed: number): TrainRow => ({
  kind: "train",
  name: `recipe-${recipe}-${seed}`,
  group: "recipe",
  model: RECIPE_MODEL,
  vocab_size: 4096,
  flags: { ...RECIPE_BUDGET, ...RECIPES[recipe], seed },
});
/** Fewer tokens and a seed of its own, so that no compared run was tuned on. */
const scanRow = (optimizer: string, lr: number): TrainRow => ({
  kind: "train",
  name: `scan-${optimizer}-${lr}`,
  group: "scan",
  model: RECIPE_MODEL,
  vocab_size: 4096,
  flags: { ...RECIPE_BUDGET, steps: SCAN_STEPS, ...COMMON, optimizer, lr, seed: 100 },
});
const mainRow = (quant: string): TrainRow => ({
  kind: "train",
  name: `main-${quant}`,
  group: "main",
  model: MAIN_MODEL,
  vocab_size: 8192,
  flags: { ...MAIN_BUDGET, ...RECIPES.base, lr: MAIN_LR, quant, seed: 1 },
});

const SCAN: [optimizer: string, lr: number[]][] = [
  ["adamw", [0.002, 0.004, 0.008, 0.016]],
  ["muon", [0.002, 0.004, 0.008, 0.016]],
];

/** In the order in which they run: what decides most comes first. */
export const ROWS: Row[] = [
  ...SCAN.flatMap(([optimizer, rates]) => rates.map((lr) => scanRow(optimizer, lr))),
  ...Object.keys(RECIPES).map((recipe) => recipeRow(recipe, SEEDS[0]!)),
  mainRow("ternary"),
  mainRow("none"),
  ...SEEDS.slice(1).flatMap((seed) => Object.keys(RECIPES).map((r) => recipeRow(r, seed))),
  { kind: "genkidama", name: "genkidama-618m" },
  { kind: "align", name: "align" },
];
