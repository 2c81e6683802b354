/** Limits of trials and their workers, each with its reason and what happens at the limit. */

/**
 * One line of a worker: a million search rows of ten classes in base64. A longer one is a flood: the
 * worker is ended and the trial counted as lost.
 */
export const LINE_BYTES_MAX = 64 << 20;
/** End of a worker's stderr that is kept with its trial. */
export const LOG_BYTES_MAX = 4096;
/** Lines of figures and fold scores of one outcome, together, as JSON; more is refused. */
export const FIGURES_BYTES_MAX = 1 << 20;
/** Folds of one trial: repeated cross-validation has tens. */
export const FOLDS_MAX = 10_000;
/** An error of a trial is one line for people. */
export const ERROR_LENGTH_MAX = 500;
/** How often the CPU time of the running trials is read. */
export const WATCH_MS = 100;
/**
 * A worker that used no CPU for so many of our own watches hangs: a minute even on a busy machine,
 * and a laptop that slept is not blamed. It is lost: the trial is tried again once.
 */
export const STALL_WATCHES = 600;
/**
 * Part of the free memory that all workers of a run may take together, where nobody said: the rest
 * is for the run itself and for what a worker takes between two watches. One that takes more than
 * its share is ended; the trial is tried again once, in a fresh worker, and then counts as crashed.
 */
export const WORKERS_MEMORY_SHARE = 0.8;
/** A worker is not ended below this: what the program and a small task need. */
export const WORKER_MEMORY_BYTES_MIN = 512 << 20;
/** CPU seconds of one trial where nobody said: far beyond what the domains' trials need. */
export const TRIAL_CPU_S = 600;
/**
 * CPU seconds that may be charged for a trial of this limit: a worker is stopped a moment after it
 * has reached it, and what is computed again has nothing from a cache.
 */
export const overrunSeconds = (limit_s: number): number => limit_s * 2 + 10;
/** A trial whose worker is lost is given to another one so often. */
export const RETRIES = 1;
/** Workers that may end before they are ready, one after the other, before the run gives up. */
export const FAILED_STARTS_MAX = 3;
