/** What goes wrong on the way of the simulated ledger: network, chain, nodes, and who cheats. */

/** Dishonest roles; everybody else runs the shipped machine unchanged. */
export type Role =
  | "honest"
  /** Commits and does not open. */
  | "withholder"
  /** Commits to another node's commitment. */
  | "copier"
  /** Opens on the chain, and serves its report to nobody in time. */
  | "hoarder"
  /** Reports rounds that it did not train, and losses that it did not measure. */
  | "liar"
  /** Notaries that sign and settle a root in their own favour. */
  | "colluder"
  /** Gossips two commitments. */
  | "double";

export interface LedgerProfile {
  /** Of messages between nodes. */
  loss: number;
  delay_max_ms: number;
  /** Share of transactions that wait for a later block. */
  slow: number;
  /** Mean time between reorganisations; 0: none. */
  reorg_every_ms: number;
  reorg_depth: number;
  /** Mean time between outages of a node's RPC. */
  outage_every_ms: number;
  outage_max_ms: number;
  crash_every_ms: number;
  /** Facts that a verifier does not have at once. */
  unverified: number;
  /** Nodes above which commitments go by gossip. */
  direct_nodes_max: number;
  cheaters: readonly Role[];
}

const calm: LedgerProfile = {
  loss: 0,
  delay_max_ms: 200,
  slow: 0,
  reorg_every_ms: 0,
  reorg_depth: 0,
  outage_every_ms: 0,
  outage_max_ms: 0,
  crash_every_ms: 0,
  unverified: 0,
  direct_nodes_max: 64,
  cheaters: [],
};

const rough: LedgerProfile = {
  ...calm,
  ...{ loss: 0.1, delay_max_ms: 1500, slow: 0.2, unverified: 0.2 },
  ...{ reorg_every_ms: 45_000, reorg_depth: 3 },
  ...{ outage_every_ms: 120_000, outage_max_ms: 60_000, crash_every_ms: 120_000 },
};

const all: readonly Role[] = ["withholder", "copier", "hoarder", "liar", "colluder", "colluder"];

export const LEDGER_PROFILES = {
  "ledger-calm": calm,
  "ledger-rough": rough,
  "ledger-batch": { ...rough, direct_nodes_max: 2 },
  "ledger-cheaters": { ...calm, cheaters: all },
  "ledger-everything": { ...rough, direct_nodes_max: 8, cheaters: [...all, "double"] },
} as const satisfies Record<string, LedgerProfile>;

export type LedgerProfileName = keyof typeof LEDGER_PROFILES;
export const LEDGER_PROFILE_NAMES = Object.keys(LEDGER_PROFILES) as LedgerProfileName[];
