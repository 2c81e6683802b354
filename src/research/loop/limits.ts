/**
 * The levels and shares of the loop, each with its reason. Small tables decide them: at 500 rows
 * the standard error of a paired difference of balanced accuracy is about one point, and most real
 * improvements are smaller. A 97.5% bound would then accept next to nothing and a run would end
 * with its baseline; what is accepted here is therefore tested at 90%, and what a run claims is
 * left to the sealed part, which no decision has seen.
 */
export const LOOP_LIMITS = {
  /**
   * One-sided level of the paired bootstrap's lower bound: 1 false step in 10 versions at no true
   * difference (which costs nothing on average), where 97.5% would miss 3 in 4 true gains as large
   * as one and a half standard errors.
   */
  accept_level: 0.9,
  /**
   * One-sided level for the final choice among models that are statistically tied: better than
   * even. Nothing is claimed by it; keeping the older of two tied models would be the worse bet.
   */
  tie_level: 0.6,
  /** Seeds of the baseline where 8 are cheap, and where they are not. */
  noise_seeds: 8,
  noise_seeds_few: 3,
  /** Eight are cheap when they take no more than this share of the budget. */
  noise_share: 0.12,
  /** One-sided level of the t quantile in the noise floor; the same as of the bound. */
  noise_level: 0.9,
  /** Seeds over which a contender is confirmed (repeated cross-validation), its first included. */
  confirm_seeds: 3,
  /** Strategies of one version, the paper's 3 to 8. */
  strategies_min: 3,
  strategies_max: 8,
  /** Trials for each strategy that make it worth another one in the version. */
  trials_per_strategy: 4,
  /** A version takes this share of what the budget still allows, within the bounds in trials. */
  version_share: 0.2,
  version_trials_min: 8,
  /** Where trials are counted and a strategy goes on from batch to batch: fewer confirmations. */
  version_counted_min: 14,
  version_trials_max: 48,
  /** Trials of each strategy before the best ones get the rest of the version. */
  opening_trials: 2,
  /**
   * Whole configurations tried before the first version's strategies, recalled and of the portfolio
   * together: a batch. They are not to take more than this share of the trials that the budget
   * allows.
   */
  openings_max: 4,
  /** As many on a budget of at least so many trials: costs are then no reason to try fewer. */
  openings_counted_max: 8,
  counted_trials_min: 24,
  openings_share: 0.25,
  /** Of these, final configurations of other tasks that the knowledge base recalls. */
  recalled_max: 3,
  /** Each may take this many times what the baseline takes, whatever else is left. */
  recalled_cost: 5,
  /** Trials of a dear strategy that must be left in the budget before it is offered one. */
  dear_trials_left: 100,
  /** Winning strategies of a version whose changes are tried together. */
  merged_max: 3,
  /** Width of the optimism for little-tried strategies, in deviations between seeds. */
  explore: 1.5,
  /** Largest part of a sweep's trials that a teacher may propose. */
  teacher_share: 0.3,
  /** Queries that the gate answers in a run; later versions cannot be accepted any more. */
  gate_queries: 16,
  /**
   * Threshold of Thresholdout in standard errors of the gate's difference, and the scale of its
   * Laplace noise as a part of the threshold (Dwork et al. 2015 use a fourth): the gate part is a
   * fifth of the search part, so its own error is the larger one.
   */
  gate_threshold_errors: 2,
  gate_noise_part: 0.25,
  /** Versions with a gain under epsilon before the run has converged. */
  patience: 3,
  /** Epsilon where the task gives none: this part of the noise floor's deviation... */
  epsilon_deviations: 0.25,
  /** ...and never under this, in units of the score. */
  epsilon_min: 1e-4,
  /**
   * A budget of time is kept within 5%. Of these, the last trial may plan to end this share beyond
   * it, where leaving it out would end further before it...
   */
  budget_over: 0.015,
  /** ...a trial that takes longer than planned is stopped at this share beyond it... */
  budget_slack: 0.02,
  /** ...and a last comparison that changes the choice may cost this share beyond it. */
  budget_spare: 0.025,
  /** Trials go out at once as long as each may take this many times what it is expected to. */
  batch_headroom: 4,
  /** A trial may take this many times what trials of its kind take before it is stopped. */
  timeout_factor: 20,
  /** And is never stopped before this many CPU seconds where the budget allows them. */
  timeout_min_s: 30,
  /**
   * CPU seconds of a gate read and of the final fits per CPU second of the trials of the same
   * configurations, until the run has measured its own: a cross-validation is about five fits.
   */
  gate_cost_share: 0.5,
  final_cost_share: 0.6,
  /** Final fits over a measured gate read: the same two models on a quarter more rows. */
  final_over_gate: 1.25,
  /** Models in the last comparison, and seeds of each: what is left of a budget goes into it. */
  polish_models: 3,
  polish_seeds: 8,
  /** Error analysis is repeated while it takes less than this part of what is left. */
  analysis_share: 0.1,
  /** Trials told to the teacher. */
  teacher_trials: 40,
} as const;
