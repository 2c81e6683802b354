/** Limits and constants of the knowledge base, each with its reason and what happens at the limit. */

/** An exported file; a larger one is refused before it is read. */
export const FILE_BYTES_MAX = 32 << 20;
/** Insights of one file: years of runs; more are refused. */
export const INSIGHTS_MAX = 50_000;
/** Settings of one insight; a sweep has tens of axes. */
export const SETTINGS_MAX = 200;
/** Names and paths: nothing of ours is longer. */
export const NAME_LENGTH_MAX = 200;
/** A setting as JSON: numbers and words; a configuration in disguise is refused. */
export const SETTING_LENGTH_MAX = 1000;

/**
 * What is expected of a strategy before any task has spoken: nothing, give or take so much of the
 * score. Pulls a strategy that one task praised back to the ground.
 */
export const GAIN_SPREAD = 0.02;
/**
 * Least standard error of what one task says: its difference is the best of several trials, and its
 * bootstrap does not know other seeds.
 */
export const TASK_ERROR = 0.005;
/** Tasks less alike than this say nothing. */
export const LIKENESS_MIN = 0.05;
/** A final configuration as JSON: a dozen members with all their settings. */
export const CONFIGURATION_LENGTH_MAX = 20_000;
/** Final configurations that a prior hands on, each of another task. */
export const CONFIGURATIONS_TOLD = 3;
/** Settings that a prior hands on. */
export const SETTINGS_TOLD = 4;
