/** Which faults a run injects, and how often. All times are virtual. */

export interface Profile {
  /** Chance that a message is lost, or delivered twice. */
  loss: number;
  duplicate: number;
  /** One-way delay: mostly near the minimum, now and then up to the maximum; it also reorders. */
  delay_min_ms: number;
  delay_max_ms: number;
  /** Mean time between partitions; 0: none. A share of them blocks one direction only. */
  partition_every_ms: number;
  asymmetric: number;
  /** Mean time between crashes; 0: none. */
  crash_every_ms: number;
  /** Chance that a minority is down for good when the faults end. */
  permanent: number;
  /** Chance that a node is a straggler, ten times slower than the deadline allows. */
  straggler: number;
  /** Chance that training, fetching or merging fails once. */
  work_failure: number;
  /** Chance that a merge on the one faulty node yields a wrong state (a flipped bit). */
  wrong_merge: number;
  /** Clocks are wrong by up to so much. */
  clock_skew_ms: number;
}

const calm: Profile = {
  loss: 0,
  duplicate: 0,
  delay_min_ms: 1,
  delay_max_ms: 40,
  partition_every_ms: 0,
  asymmetric: 0,
  crash_every_ms: 0,
  permanent: 0,
  straggler: 0,
  work_failure: 0,
  wrong_merge: 0,
  clock_skew_ms: 0,
};

export const PROFILES = {
  calm,
  lossy: { ...calm, loss: 0.1, duplicate: 0.05, delay_max_ms: 800, work_failure: 0.02 },
  partition: { ...calm, loss: 0.01, partition_every_ms: 8000, asymmetric: 0.4 },
  crashes: { ...calm, crash_every_ms: 4000, permanent: 0.5, work_failure: 0.02 },
  everything: {
    loss: 0.05,
    duplicate: 0.05,
    delay_min_ms: 1,
    delay_max_ms: 1500,
    partition_every_ms: 12_000,
    asymmetric: 0.4,
    crash_every_ms: 6000,
    permanent: 0.5,
    straggler: 0.1,
    work_failure: 0.05,
    wrong_merge: 0.2,
    clock_skew_ms: 120_000,
  },
} as const satisfies Record<string, Profile>;

export type ProfileName = keyof typeof PROFILES;
export const PROFILE_NAMES = Object.keys(PROFILES) as ProfileName[];
