/** Limits of research between nodes, each with its reason and what happens at the limit. */

/** A trial's job as text: a configuration of hundreds of fields. A longer one is refused. */
export const JOB_BYTES_MAX = 256 << 10;
/** A result without its outputs, as text (FIGURES_BYTES_MAX of a trial, and what is around it). */
export const RESULT_BYTES_MAX = (1 << 20) + (64 << 10);
/** A task's document; task files are refused above it as well. */
export const DOCUMENT_BYTES_MAX = 1 << 20;
/** Files of one task; a language task may name some dozens. */
export const FILES_MAX = 1000;
/** Of one data file that a node takes; above it the job is refused. */
export const FILE_BYTES_MAX = 4 * 2 ** 30;
/** Outputs of one trial; the same as on a worker's line. */
export const OUTPUT_BYTES_MAX = 64 << 20;
/** A question about a running trial is answered when it ends, or after so long. */
export const POLL_MS = 2000;
/** The answer to a question may take so long on a busy machine; then it is asked again. */
export const ANSWER_TIMEOUT_MS = 30_000;
/** A trial that nobody has asked for so long is dropped: whoever wanted it is gone. */
export const LEASE_MS = 60_000;
/** A node that is not connected for so long has lost its trial, which goes to another. */
export const LOST_MS = 5000;
/** Between two tries to reach a node or to find a free place on it. */
export const RETRY_MS = 250;
/** Ended trials that a node remembers, so that a question asked twice is answered twice. */
export const RESULTS_KEPT = 256;
/** Outputs of other nodes' trials kept for the run that asked; it takes them within seconds. */
export const OUTPUTS_KEPT = 64;
/** Workers that have had nothing to do for so long are ended. */
export const IDLE_MS = 120_000;
/** Tasks that a node keeps on its disk; the one not used for longest is removed. */
export const TASKS_KEPT = 16;
