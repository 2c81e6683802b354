/** The constants of the search inside a sweep, each with its reason. */
export const SEARCH_LIMITS = {
  /** Share of a sweep's trials that counts as good: sweeps are short, a tenth would be one trial. */
  tpe_good_share: 0.25,
  /** Above this many good points the mixture only grows slower to evaluate. */
  tpe_good_max: 25,
  /** Draws of which the best ratio is proposed: more makes a sweep greedy, fewer makes it random. */
  tpe_candidates: 24,
  /** Kernel widths as parts of an axis: never a needle, never flat. */
  tpe_width_min: 0.03,
  tpe_width_max: 0.5,
  /** Width around a single point, falling with their number. */
  tpe_width_first: 0.6,
  /** Probability to leave a good choice's option at one observation; falls with their number. */
  tpe_choice_leave: 0.6,
  /** The uniform component's weight, in trials: no region is ever ruled out. */
  tpe_uniform_weight: 1,
  /** Trials of a sweep before the optimiser has anything to go by. */
  startup_trials: 2,
  /** One proposal in so many is drawn uniformly whatever the optimiser believes. */
  uniform_every: 3,
  /** Draws before a sweep is called exhausted because all were tried already. */
  duplicate_draws: 12,
  /** Belief in a sweep's own base, in trials. */
  base_weight: 0.5,
  /** Weight of one setting of the knowledge base, in trials... */
  prior_weight: 1.5,
  /** ...halved once a sweep has so many trials of its own: this task speaks for itself. */
  prior_fade: 6,
  /** Settings of the knowledge base that are tried as they are, at most. */
  prior_first_max: 2,
  /** Successive halving promotes one in so many (Jamieson and Talwalkar 2016 use 3 or 4). */
  halving_factor: 3,
} as const;

/** The constants of the bandit over strategies; weights are in trials of the strategy. */
export const BANDIT_LIMITS = {
  /** What the failures promise counts as one try: enough for a start, soon outweighed. */
  promise_weight: 1,
  /** The knowledge base outweighs a promise, and three tries here outweigh the knowledge base. */
  knowledge_weight_max: 3,
  /** A failure is seldom mended whole: a third of its potential is expected. */
  potential_share: 1 / 3,
  /** From this strength on a failure counts as sure. */
  sure_strength: 4,
  /**
   * Expected gain of a strategy whatever the failures, in deviations between seeds: of the first in
   * the catalogue, and the part of it that the last one lacks.
   */
  untargeted_promise: 1,
  untargeted_fall: 0.75,
  /** What a sibling of the same family brought counts for less. */
  family_weight: 0.3,
  /** What each later try leaves of the weight of an earlier one. */
  memory: 0.6,
  /** Gains under this many deviations between seeds are none. */
  gain_min: 0.25,
  /** So many tries in a row without a gain, and a failure no longer calls for the strategy. */
  in_vain_max: 1,
  /** What it brought against another failure counts for less. */
  other_failure_weight: 0.5,
  /** Width of the draw around the expected gain, in deviations between seeds. */
  explore: 1,
} as const;
