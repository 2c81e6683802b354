/**
 * A simulated chain: blocks on virtual time, a pool of waiting transactions, and reorganisations that
 * drop the last blocks and mine their transactions again in another order.
 */
import type {
  AccountView,
  Address,
  DisputeView,
  EpochView,
  Hex,
  LedgerCall,
} from "../../chain/ledger/ledger-types.ts";
import { word } from "../../chain/ledger/words.ts";
import { sha256Hex, toHex } from "../../core/bytes.ts";
import type { Random } from "../../core/random.ts";
import type { Hash } from "../../core/types.ts";
import { Revert, type SimBlock, type SimContracts } from "./sim-contracts.ts";
import { emptyState, LEDGER, type SimState } from "./sim-ledger-types.ts";

/** Blocks that a reorganisation can still drop. */
const DEPTH_MAX = 6;

export interface SimTransaction {
  from: Address;
  key: string;
  call: LedgerCall;
}
export type Outcome = { status: "confirmed" | "reverted"; reason: string };

interface MinedBlock extends SimBlock {
  hash: Hex;
  transactions: SimTransaction[];
  /** After the block. */
  state: SimState;
  outcomes: Map<string, Outcome>;
}

export class SimChain {
  readonly #blocks: MinedBlock[] = [];
  #waiting: SimTransaction[] = [];
  readonly #known = new Set<string>();
  #forks = 0;
  reorgs = 0;

  constructor(
    readonly contracts: SimContracts,
    private readonly random: Random,
    genesis_s: number,
  ) {
    const state = emptyState();
    for (const { address } of contracts.members) state.bonds.set(address, LEDGER.bond);
    const genesis = { number: 0, timestamp_s: genesis_s - LEDGER.block_s, hash: hashOf("genesis") };
    this.#blocks.push({ ...genesis, transactions: [], state, outcomes: new Map() });
  }

  get head(): MinedBlock {
    return this.#blocks.at(-1)!;
  }
  get state(): SimState {
    return this.head.state;
  }

  /** Takes a transaction once by sender and key. */
  send(transaction: SimTransaction): void {
    const id = `${transaction.from}/${transaction.key}`;
    if (this.#known.has(id)) return;
    this.#known.add(id);
    this.#waiting.push(transaction);
  }

  /** What became of a transaction on the present branch; undefined while it waits. */
  outcome(from: Address, key: string): Outcome | undefined {
    const id = `${from}/${key}`;
    for (let i = this.#blocks.length - 1; i >= 0; i--) {
      const found = this.#blocks[i]!.outcomes.get(id);
      if (found) return found;
    }
    return undefined;
  }

  /** Mines what waits; `slow`: each transaction may have to wait for a later block. */
  mine(timestamp_s: number, slow: number): void {
    const later: SimTransaction[] = [];
    const now = this.#waiting.filter((transaction) => {
      const waits = this.random.next() < slow;
      if (waits) later.push(transaction);
      return !waits;
    });
    this.#waiting = later;
    this.#append(timestamp_s, now);
  }

  #append(timestamp_s: number, transactions: SimTransaction[]): void {
    const { contracts } = this;
    const parent = this.head;
    const block = { number: parent.number + 1, timestamp_s };
    const state = structuredClone(parent.state);
    this.#roll(state, timestamp_s);
    const outcomes = new Map(parent.outcomes);
    for (const { from, key, call } of transactions) {
      let outcome: Outcome = { status: "confirmed", reason: "" };
      try {
        contracts.call(state, block, from, call);
      } catch (error) {
        if (!(error instanceof Revert)) throw error;
        outcome = { status: "reverted", reason: error.message };
      }
      outcomes.set(`${from}/${key}`, outcome);
    }
    const hash = hashOf(`${parent.hash}/${block.number}/${this.#forks}/${transactions.length}`);
    this.#blocks.push({ ...block, hash, transactions, state, outcomes });
    // Outcomes are carried along from block to block, so old blocks can go.
    if (this.#blocks.length > DEPTH_MAX + 2) this.#blocks.shift();
  }

  /** Who was active when an epoch ended, before this block. */
  #roll(state: SimState, timestamp_s: number): void {
    const { place, members } = this.contracts;
    const ended = Math.floor((timestamp_s - place.genesis_s) / LEDGER.epoch_s) - 1;
    if (ended < 0 || state.rolls.has(ended)) return;
    const nodes = members
      .filter(({ address }) => this.contracts.isActive(state, address))
      .map(({ address, public_key }) => ({
        ...{ address, tier: "cpu_only" as const, bond: state.bonds.get(address)! },
        node_id: sha256Hex(Buffer.from(public_key, "hex")) as Hash,
      }));
    state.rolls.set(ended, nodes);
  }

  /** Drops up to `depth` blocks; their transactions are mined again, shuffled, in as many blocks. */
  reorganise(depth: number): void {
    const count = Math.min(depth, this.#blocks.length - 2);
    if (count <= 0) return;
    this.reorgs++;
    this.#forks++;
    const dropped = this.#blocks.splice(-count);
    const transactions = dropped.flatMap((block) => block.transactions);
    for (let i = transactions.length - 1; i > 0; i--) {
      const j = this.random.below(i + 1);
      [transactions[i], transactions[j]] = [transactions[j]!, transactions[i]!];
    }
    const share = Math.ceil(transactions.length / count);
    for (const [i, block] of dropped.entries())
      this.#append(block.timestamp_s, transactions.slice(i * share, (i + 1) * share));
  }

  epochView(epoch: number): EpochView {
    const { contracts, head, state } = this;
    const settlement = state.settlements.get(epoch);
    const commits = [...(state.commits.get(epoch) ?? [])];
    return {
      ...{ epoch, windows: contracts.windows(epoch) },
      ...{ tier_rewards: LEDGER.tier_rewards, axis_weights: LEDGER.axis_weights },
      challenge_seconds: LEDGER.challenge_s,
      pool: contracts.pool(state, head.timestamp_s),
      proposer: contracts.proposer(state, epoch),
      signatures_needed: contracts.needed(state),
      notaries: contracts.notaries(state),
      nodes: state.rolls.get(epoch) ?? [],
      commits: commits.map(([node, { commitment, punished }]) => ({ node, commitment, punished })),
      reveals: commits.flatMap(([node, { reveal }]) => (reveal ? [{ node, ...reveal }] : [])),
      commit_root: state.roots.get(epoch) ?? null,
      settlement: settlement
        ? { ...settlement, final: contracts.isFinal(settlement, head.timestamp_s) }
        : null,
    };
  }

  disputeView(id: number, viewer: Address): DisputeView {
    const { epoch, root: _root, votes, ...dispute } = this.state.disputes[id - 1]!;
    const vote = votes.get(viewer);
    const own_vote = !vote ? "none" : vote.guilty === null ? "committed" : "revealed";
    return { ...dispute, offence: "bad_root", subject: `0x${toHex(word(epoch))}`, own_vote };
  }

  accountView(address: Address): AccountView {
    const { contracts, head, state } = this;
    const final = contracts.final(state, head.timestamp_s);
    const last = state.settlements.get(state.upheld.at(-1) ?? -1);
    return {
      ...{ registered: true, active: contracts.isActive(state, address) },
      claimed: state.claimed.get(address) ?? 0n,
      final: final ?? null,
      last: last ? { ...last, final: contracts.isFinal(last, head.timestamp_s) } : null,
    };
  }
}

const hashOf = (text: string): Hex => `0x${sha256Hex(text)}`;
