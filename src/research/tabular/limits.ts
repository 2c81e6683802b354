/** Limits of the tabular domain, each with its reason and what happens at the limit. */

/** Members of one ensemble: more cost CPU for gains below the noise; refused above. */
export const MEMBERS_MAX = 8;
/** Trees of one member: past it only the cost grows; refused above. */
export const TREES_MAX = 4096;
/** Members of one learner's seeds averaged ("bags"); refused above. */
export const BAGS_MAX = 16;
/** Interaction columns added to a member's matrix: each costs as much as a feature. */
export const INTERACTIONS_MAX = 64;
/** Rows that a configuration may ask to fit on: the table's own limit is far lower. */
export const ROWS_MAX = 1e9;
/** Share of the training rows that may be dropped as label noise: above it the model is the noise. */
export const NOISE_SHARE_MAX = 0.3;
/** Binned columns held by one worker for one part; the oldest go and are binned again when needed. */
export const BIN_CACHE_BYTES_MAX = 256 * 2 ** 20;
/** Member predictions held by one worker; the oldest go and are made again when needed. */
export const PREDICTION_CACHE_BYTES_MAX = 512 * 2 ** 20;
/** Outputs of probes held by the coordinator: a version asks for about ten of 3,000 rows at most. */
export const PROBE_CACHE_BYTES_MAX = 32 * 2 ** 20;
/** Fits of one leave-one-context-out score; more contexts than that are left out in groups. */
export const LOCO_FITS_MAX = 20;
/** Training rows predicted for the train score: its error is then below most gaps that matter. */
export const TRAIN_ROWS_SCORED = 2000;
/**
 * Columns that ternary_transformer reads, one token each: time grows with them; more are refused
 * (a member's features.top_k chooses).
 */
export const TERNARY_COLUMNS_MAX = 128;
/** Classes that ternary_transformer tells apart, a forward pass each; more are refused. */
export const TERNARY_CLASSES_MAX = 64;
/** Tokens of one category's levels: rarer ones, with higher codes, share the last. */
export const TERNARY_LEVELS_MAX = 64;
/** Width and layers of ternary_transformer: beyond, a table's rows are no longer enough. */
export const TERNARY_WIDTH_MAX = 256;
export const TERNARY_LAYERS_MAX = 6;
/** Training sequences of one ternary_transformer: an hour of one core; refused above. */
export const TERNARY_SEQUENCES_MAX = 1_000_000;
/** Header of a saved model: names and levels of 50,000 columns fit; a longer one is refused. */
export const MODEL_HEADER_BYTES_MAX = 256 * 2 ** 20;
/** Rivals that error analysis compares the best model with: one of each combination of learners. */
export const RIVALS_MAX = 6;
