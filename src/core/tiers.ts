/** The five node tiers (paper 10.2), by the paper's names. */

/** Every tier, from the most to the least rewarded. */
export const TIERS = [
  "claude_session",
  "gpu_compute",
  "storage_node",
  "cpu_only",
  "mobile_light",
] as const;
export type Tier = (typeof TIERS)[number];

/** Short words accepted for a tier; output prints the full names. */
export const TIER_ALIASES: Record<string, Tier> = {
  claude: "claude_session",
  gpu: "gpu_compute",
  storage: "storage_node",
  cpu: "cpu_only",
  mobile: "mobile_light",
};

/** Tiers that take a slice of the training data; the others follow, acknowledge and store. */
export const trains = (tier: Tier): boolean => tier !== "storage_node" && tier !== "mobile_light";
