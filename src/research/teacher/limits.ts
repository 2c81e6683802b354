/** What bounds a teacher's calls: its answers come from outside and are only ever data. */
export const TEACHER_LIMITS = {
  /** A model that is still writing after this is given up; large answers take about a minute. */
  call_ms: 180_000,
  /** Part of a budget of wall clock that one call may take. */
  wall_share: 0.05,
  /** After so many failed calls in a row a run goes on alone: each may have cost minutes. */
  failures: 2,
  /** An answer's body; the longest useful one has some ten thousand tokens. */
  body_bytes: 4 * 1024 * 1024,
  /** Tokens of one answer. */
  answer_tokens: 8192,
  /** Tries of a call that fails for a reason that may pass (429, 5xx, a lost connection). */
  retries: 2,
  /** Examples of one call: more make answers shallow and one bad answer costly. */
  examples_per_call: 8,
  /** Characters of one generated text. */
  example_characters: 20_000,
  /** Earlier trials that a teacher is told of. */
  tried: 12,
} as const;
