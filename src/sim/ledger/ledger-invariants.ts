/**
 * What must hold of the ledger at all times, checked on the chain's state after every block and on the
 * effects of honest nodes. Nothing here asks a machine for its opinion.
 */
import type { SealedRecord } from "../../chain/ledger/epoch-record.ts";
import type { Address, LedgerEffect } from "../../chain/ledger/ledger-types.ts";
import { Violation } from "../invariants.ts";
import type { LedgerSimNode } from "./ledger-sim-node.ts";
import type { SimChain } from "./sim-chain.ts";
import type { SimFacts } from "./sim-facts.ts";
import { LEDGER, type SimSettlement } from "./sim-ledger-types.ts";

function check(holds: boolean, message: () => string): void {
  if (!holds) throw new Violation(message());
}

/** A reveal window of 40 s leaves time for three blocks dropped and a few missed. */
const ABLE_MS = 28_000;
const sum = (list: readonly bigint[]) => list.reduce((total, value) => total + value, 0n);

export class LedgerInvariants {
  readonly #nodes: ReadonlyMap<Address, LedgerSimNode>;
  #slashes_seen = 0;
  readonly #settled_seen = new Set<string>();
  /** Final epochs, by number. */
  readonly final = new Map<number, SimSettlement>();
  /** The record that a node computed last, by epoch and node. */
  readonly computed = new Map<number, Map<number, string>>();

  constructor(
    nodes: readonly LedgerSimNode[],
    private readonly chain: SimChain,
    private readonly facts: SimFacts,
    private readonly start_ms: number,
    private readonly findRecord: (hash: string) => SealedRecord | undefined,
  ) {
    this.#nodes = new Map(nodes.map((node) => [node.params.address, node]));
  }

  /** An effect of an honest node, just before it is carried out. */
  effect(node: LedgerSimNode, effect: LedgerEffect): void {
    if (effect.type === "submit" && effect.call.method === "reveal") {
      const { epoch } = effect.call;
      const own = this.chain.state.commits.get(epoch)?.get(node.params.address);
      check(own !== undefined, () => `node ${node.index} opens without a commitment in ${epoch}`);
      this.#inRevealWindow(node, epoch);
    } else if (effect.type === "broadcast" && effect.message.type === "ledger.reveal")
      this.#inRevealWindow(node, (effect.message.body as { epoch: number }).epoch);
    else if (effect.type === "log" && effect.event === "epoch_computed") {
      const { epoch, data_hash } = effect.fields as { epoch: number; data_hash: string };
      const by_node = this.computed.get(epoch) ?? new Map<number, string>();
      this.computed.set(epoch, by_node.set(node.index, data_hash));
    }
  }

  #inRevealWindow(node: LedgerSimNode, epoch: number): void {
    const { commit_end_s, reveal_end_s } = this.chain.contracts.windows(epoch);
    const now_s = this.chain.head.timestamp_s;
    check(
      now_s >= commit_end_s && now_s <= reveal_end_s + 2 * LEDGER.block_s,
      () =>
        `node ${node.index} opens at ${now_s}, the window is ${commit_end_s} to ${reveal_end_s}`,
    );
  }

  /** The chain as it is after a block or a reorganisation. */
  block(): void {
    const { state, head, contracts } = this.chain;
    for (const settlement of state.settlements.values()) this.#settled(settlement);
    for (const epoch of state.upheld) {
      const settlement = state.settlements.get(epoch)!;
      if (!contracts.isFinal(settlement, head.timestamp_s)) continue;
      const known = this.final.get(epoch);
      check(
        known === undefined || known.data_hash === settlement.data_hash,
        () => `epoch ${epoch} is final with two records`,
      );
      if (!known) this.#final(settlement);
    }
    this.#emission();
    if (state.slashes.length < this.#slashes_seen) this.#slashes_seen = state.slashes.length;
    for (const slash of state.slashes.slice(this.#slashes_seen)) this.#slashed(slash);
    this.#slashes_seen = state.slashes.length;
  }

  /** Signed by f + 1 different notaries. */
  #settled({ epoch, root, signers }: SimSettlement): void {
    if (this.#settled_seen.has(root)) return;
    this.#settled_seen.add(root);
    const seats = this.chain.contracts.members.filter((member) => member.is_notary);
    const different = new Set(signers.filter((who) => seats.some((seat) => seat.address === who)));
    // On purpose not the shipped formula: the least number that f liars cannot reach alone. Notaries
    // slashed out make it smaller, so what is left of the seats counts.
    const left = this.chain.contracts.notaries(this.chain.state).length;
    const least = Math.min(left, Math.ceil((left - 3) / 3) + 1);
    check(different.size >= least, () => `epoch ${epoch} settled by ${different.size} notaries`);
  }

  /** A final record is true: its rewards are the pool, its points what really happened. */
  #final(settlement: SimSettlement): void {
    const { epoch, data_hash, total } = settlement;
    const sealed = this.findRecord(data_hash);
    check(sealed !== undefined, () => `nobody has the final record of epoch ${epoch}`);
    const { entries, accounts } = sealed!.record;
    check(sealed!.outcome.root === settlement.root, () => `epoch ${epoch}: another root`);
    const paid = sum(entries.map((entry) => entry.reward));
    check(paid === total, () => `epoch ${epoch} pays ${paid} of ${total}`);
    const owed = sum(accounts.map((account) => account.cumulative));
    const minted = sum([...this.final.values()].map((one) => one.total)) + total;
    check(owed === minted, () => `epoch ${epoch} owes ${owed} of ${minted} minted`);
    for (const { address, points } of entries) {
      const node = this.#nodes.get(address)!;
      const truth = this.facts.truth(node.index, epoch, -1).training_compute;
      const most = sum(truth.map((one) => BigInt(one.inner_steps * one.parameters))) / 1_000_000n;
      check(points[1]! <= most, () => `node ${node.index} is paid for what it did not train`);
    }
    this.#paidAll(epoch, new Set(entries.map((entry) => entry.address)));
    this.final.set(epoch, settlement);
  }

  /** Whoever opened a true report is in the record. */
  #paidAll(epoch: number, paid: ReadonlySet<Address>): void {
    const commits = this.chain.state.commits.get(epoch) ?? new Map();
    const reveal_end_ms = this.chain.contracts.windows(epoch).reveal_end_s * 1000;
    for (const [address, commit] of commits) {
      const node = this.#nodes.get(address)!;
      if (!commit.reveal?.matches || node.role !== "honest") continue;
      const able = node.wasAble(reveal_end_ms - ABLE_MS, reveal_end_ms, ABLE_MS - 1000);
      check(
        paid.has(address) || !able,
        () => `node ${node.index} opened its report in epoch ${epoch} and is left out`,
      );
    }
  }

  #emission(): void {
    const { state } = this.chain;
    const windows = new Map<number, bigint>();
    for (const { at_s, total } of state.mints) {
      const window = Math.floor(at_s / LEDGER.cap_window_s);
      windows.set(window, (windows.get(window) ?? 0n) + total);
    }
    for (const [window, minted] of windows)
      check(minted <= LEDGER.cap, () => `${minted} minted in window ${window}`);
    const claimed = sum([...state.claimed.values()]);
    check(claimed <= state.minted, () => `${claimed} claimed of ${state.minted}`);
  }

  #slashed(slash: { node: Address; offence: string; epoch: number }): void {
    const node = this.#nodes.get(slash.node)!;
    if (node.role !== "honest") return;
    const { commit_end_s, reveal_end_s } = this.chain.contracts.windows(slash.epoch);
    // Who was cut off from the chain for the whole window cannot open; that risk is everybody's own.
    const excused =
      slash.offence === "no_reveal" &&
      !node.wasAble(commit_end_s * 1000, reveal_end_s * 1000, ABLE_MS);
    const at = `epoch ${slash.epoch}, ${(this.chain.head.timestamp_s * 1000 - this.start_ms) / 1000} s`;
    check(excused, () => `honest node ${node.index} is slashed for ${slash.offence} (${at})`);
  }
}
