/** Limits of error analysis, each with its reason. */

/**
 * Rows that a probe fits and predicts: with 3 folds, a fit on 2,000 rows and 50 features takes a
 * tenth of a CPU second, and paired losses of 3,000 rows show any difference worth a sweep.
 */
export const PROBE_ROWS_MAX = 3000;
/** Rows below which a probe says nothing: its folds would hold a handful of each class. */
export const PROBE_ROWS_MIN = 60;
export const PROBE_FOLDS = 3;
/**
 * Smallest effect of interest, as a part of the logarithmic loss: some change of a model always
 * helps a little, and with enough rows a little is significant. Below this part no sweep moved the
 * score of a data set we tried.
 */
export const LOSS_PART_MIN = 0.01;
/** And never less than this many nats a row: where everything is right a share of it is nothing. */
export const LOSS_MIN = 0.003;
/** Trees of a probe at most: the order of two variants is settled long before. */
export const PROBE_TREES_MAX = 100;
/** Training sequences of a probe of a transformer at most: half of the usual ones. */
export const PROBE_SEQUENCES_MAX = 3000;
/** Strength from which a failure is reported. */
export const STRENGTH_MIN = 2;
/** Rivals whose blend with the best model is looked at, one a learner family. */
export const RIVALS_MAX = 6;
/** Windows of time that residuals are compared between. */
export const TIME_WINDOWS = 8;
