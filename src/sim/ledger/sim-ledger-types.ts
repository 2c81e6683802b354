/** State of the simulated chain: what the contracts keep, as plain data that a reorganisation can drop. */
import type { Address, DisputePhase, Hex, LedgerNode } from "../../chain/ledger/ledger-types.ts";
import type { Hash } from "../../core/types.ts";

/** Windows and amounts of the simulated ledger; shorter than real ones, in the same proportions. */
export const LEDGER = {
  epoch_s: 240,
  commit_s: 40,
  reveal_s: 40,
  proposer_s: 30,
  challenge_s: 50,
  settle_s: 900,
  vote_commit_s: 30,
  vote_reveal_s: 30,
  pool: 1_000_000_007n,
  /** At most so much in one window of emission: the fourth epoch in it gets less, the fifth nothing. */
  cap: 3_500_000_000n,
  cap_window_s: 1200,
  block_s: 4,
  tier_rewards: [3000, 1000, 300, 300, 100],
  axis_weights: [1000, 5000, 2000, 1000, 1000],
  bond: 100n,
} as const;

export interface SimSettlement {
  epoch: number;
  root: Hex;
  parent: Hex;
  total: bigint;
  count: number;
  data_hash: Hash;
  proposer: Address;
  settled_at_s: number;
  disputes: number;
  rejected: boolean;
  signers: Address[];
}

export interface SimDispute {
  id: number;
  phase: DisputePhase;
  accused: Address;
  challenger: Address;
  epoch: number;
  root: Hex;
  evidence_hash: Hash;
  draw_block: number;
  commit_end_s: number;
  reveal_end_s: number;
  panel: Address[];
  votes: Map<Address, { hash: Hex; guilty: boolean | null }>;
}

export interface SimCommit {
  commitment: Hex;
  punished: boolean;
  reveal: { result_hash: Hash; score: bigint; nonce: Hex; matches: boolean } | null;
}

export interface SimState {
  /** Bonds; a slashed-out node is below the least bond. */
  bonds: Map<Address, bigint>;
  /** Active nodes at the end of each epoch. */
  rolls: Map<number, LedgerNode[]>;
  commits: Map<number, Map<Address, SimCommit>>;
  roots: Map<number, { root: Hex; count: number; proposer: Address }>;
  /** The newest settlement of each epoch. */
  settlements: Map<number, SimSettlement>;
  /** Newest upheld settlements, oldest first; the last may be pending. */
  upheld: number[];
  barred: Set<string>;
  claimed: Map<Address, bigint>;
  minted: bigint;
  /** What was minted when, rejected ones taken out. */
  mints: { epoch: number; at_s: number; total: bigint }[];
  disputes: SimDispute[];
  slashes: { node: Address; offence: string; epoch: number; at_s: number }[];
}

export const emptyState = (): SimState => ({
  bonds: new Map(),
  rolls: new Map(),
  commits: new Map(),
  roots: new Map(),
  settlements: new Map(),
  upheld: [],
  barred: new Set(),
  claimed: new Map(),
  minted: 0n,
  mints: [],
  disputes: [],
  slashes: [],
});
