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
