/** Which tier a node joins as: what was asked for if this machine meets it, else the reason. */
import { MagnetError } from "../core/errors.ts";
import type { Tier } from "../core/tiers.ts";

export interface TierChoice {
  tier: Tier;
  why: string;
}

const notMet = (tier: Tier, reason: string, hint: string) =>
  new MagnetError("TIER_NOT_MET", `this machine does not meet ${tier}: ${reason}`, {
    hint,
    exit: "hardware",
  });

/** Throws TIER_NOT_MET (exit 7) for a tier that was named and is not met. */
export function chooseTier(wanted: Tier | "auto"): TierChoice {
  switch (wanted) {
    case "auto":
      return { tier: "cpu_only", why: "trains, serves and stores on this CPU" };
    case "gpu_compute":
      throw notMet(wanted, "this build has no GPU backend", "join with --tier cpu, or auto");
    case "claude_session":
      throw notMet(
        wanted,
        "nodes do not lend a teacher to the network",
        "join with --tier cpu, or auto; a research run has its own: teacher in its task file",
      );
    default:
      return { tier: wanted, why: "as asked for" };
  }
}
