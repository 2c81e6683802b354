/**
 * The rules of the contracts over plain state: what a call changes, or why it reverts. Written from the
 * interfaces, so the machine meets a second reading of them; the real contracts are met elsewhere.
 */
import { commitmentOf, NO_ROOT, settlementDigest, voteOf } from "../../chain/ledger/digests.ts";
import type { Address, Hex, LedgerCall, LedgerPlace } from "../../chain/ledger/ledger-types.ts";
import { leafHash, verifyProof } from "../../chain/ledger/merkle.ts";
import { sha256Hex } from "../../core/bytes.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { Verifier } from "../../network/signer.ts";
import {
  LEDGER,
  type SimCommit,
  type SimDispute,
  type SimSettlement,
  type SimState,
} from "./sim-ledger-types.ts";

/** A call is refused; the state is as before. */
export class Revert extends Error {}

const need = (holds: boolean, reason: string): void => {
  if (!holds) throw new Revert(reason);
};

export interface SimBlock {
  number: number;
  timestamp_s: number;
}

/** A member of the simulated network, as registered. */
export interface Registration {
  address: Address;
  public_key: PublicKey;
  is_notary: boolean;
}

export class SimContracts {
  readonly #keys: ReadonlyMap<Address, PublicKey>;

  constructor(
    readonly place: LedgerPlace,
    readonly members: readonly Registration[],
    private readonly verifier: Verifier,
  ) {
    this.#keys = new Map(members.map((member) => [member.address, member.public_key]));
  }

  windows(epoch: number) {
    const end_s = this.place.genesis_s + (epoch + 1) * LEDGER.epoch_s;
    const reveal_end_s = end_s + LEDGER.commit_s + LEDGER.reveal_s;
    return {
      commit_start_s: end_s,
      commit_end_s: end_s + LEDGER.commit_s,
      reveal_end_s,
      proposer_end_s: reveal_end_s + LEDGER.proposer_s,
      settle_end_s: end_s + LEDGER.settle_s,
    };
  }

  isActive = (state: SimState, node: Address): boolean =>
    (state.bonds.get(node) ?? 0n) >= LEDGER.bond / 2n;

  notaries = (state: SimState): Address[] =>
    this.members
      .filter((member) => member.is_notary && this.isActive(state, member.address))
      .map((member) => member.address)
      .sort();

  needed(state: SimState): number {
    const count = this.notaries(state).length;
    return count === 0 ? 1 : Math.floor((count - 1) / 3) + 1;
  }

  proposer(state: SimState, epoch: number): Address | null {
    const seats = this.notaries(state);
    const seed = state.settlements.get(state.upheld.at(-1) ?? -1)?.data_hash ?? "";
    const draw = Number.parseInt(sha256Hex(`${seed}/${epoch}`).slice(0, 8), 16);
    return seats[draw % seats.length] ?? null;
  }

  isFinal = (settlement: SimSettlement, now_s: number): boolean =>
    !settlement.rejected &&
    settlement.disputes === 0 &&
    now_s >= settlement.settled_at_s + LEDGER.challenge_s;

  /** What a settlement at this time would mint. */
  pool(state: SimState, now_s: number): bigint {
    const from_s = Math.floor(now_s / LEDGER.cap_window_s) * LEDGER.cap_window_s;
    const spent = state.mints
      .filter(({ at_s }) => at_s >= from_s)
      .reduce((sum, { total }) => sum + total, 0n);
    const left = LEDGER.cap - spent;
    if (left >= LEDGER.pool) return LEDGER.pool;
    return left > 0n ? left : 0n;
  }

  /** Carries out one call. Throws Revert, before anything is changed. */
  call(state: SimState, block: SimBlock, from: Address, call: LedgerCall): void {
    switch (call.method) {
      case "commit":
        this.#commit(state, block, from, call.epoch, call.commitment);
        break;
      case "reveal":
        this.#reveal(state, block, from, call);
        break;
      case "commitRoot":
        this.#commitRoot(state, block, from, call);
        break;
      case "settle":
        this.#settle(state, block, from, call);
        break;
      case "claim":
        this.#claim(state, block, call);
        break;
      case "challenge":
        this.#challenge(state, block, from, call);
        break;
      case "drawPanel":
        this.#draw(state, block, call.id, call.signers);
        break;
      case "commitVote":
        this.#commitVote(state, block, from, call.id, call.vote);
        break;
      case "revealVote":
        this.#revealVote(state, block, from, call);
        break;
      case "resolve":
        this.#resolve(state, block, call.id);
        break;
      default:
        this.#offence(state, block, call);
    }
  }

  /** Offences that the chain checks by itself. */
  #offence(state: SimState, block: SimBlock, call: LedgerCall): void {
    switch (call.method) {
      case "punishNoReveal":
      case "punishMismatch":
        this.#punish(state, block, call);
        break;
      case "punishApprovers":
        this.#approvers(state, block, call.epoch, call.root, call.signers);
        break;
      case "proveDoubleCommit":
        need(call.first !== call.second, "NotAnOffence");
        this.#slash(state, block, call.node, "double_commit", call.epoch, 3000n);
        break;
      case "proveMismatch": {
        const opening = { ...call, result_hash: call.result_hash.slice(2) as Hash };
        const made = commitmentOf(this.place, call.epoch, call.node, opening);
        need(made !== call.commitment, "NotAnOffence");
        this.#slash(state, block, call.node, "mismatch", call.epoch, 3000n);
      }
    }
  }

  #commit(state: SimState, block: SimBlock, from: Address, epoch: number, commitment: Hex): void {
    const { commit_start_s, commit_end_s } = this.windows(epoch);
    need(this.isActive(state, from), "NotActive");
    need(within(block, commit_start_s, commit_end_s), "WindowClosed");
    const commits = state.commits.get(epoch) ?? new Map<Address, SimCommit>();
    need(!commits.has(from), "AlreadyCommitted");
    state.commits.set(epoch, commits.set(from, { commitment, punished: false, reveal: null }));
  }

  #reveal(
    state: SimState,
    block: SimBlock,
    from: Address,
    call: Extract<LedgerCall, { method: "reveal" }>,
  ): void {
    const { commit_end_s, reveal_end_s } = this.windows(call.epoch);
    const commit = state.commits.get(call.epoch)?.get(from);
    if (!commit) throw new Revert("NotCommitted");
    need(within(block, commit_end_s, reveal_end_s), "WindowClosed");
    need(commit.reveal === null, "AlreadyRevealed");
    const opening = { ...call, result_hash: call.result_hash.slice(2) as Hash };
    const matches = commitmentOf(this.place, call.epoch, from, opening) === commit.commitment;
    const { result_hash, score, nonce } = opening;
    commit.reveal = { result_hash, score, nonce, matches };
  }

  #commitRoot(
    state: SimState,
    block: SimBlock,
    from: Address,
    { epoch, root, count }: Extract<LedgerCall, { method: "commitRoot" }>,
  ): void {
    const { commit_start_s } = this.windows(epoch);
    need(within(block, commit_start_s, commit_start_s + LEDGER.commit_s / 2), "WindowClosed");
    need(!state.roots.has(epoch), "RootAlreadyCommitted");
    const first = block.timestamp_s < commit_start_s + LEDGER.commit_s / 4;
    const allowed = first
      ? this.proposer(state, epoch) === from
      : this.notaries(state).includes(from);
    need(allowed, "NotProposer");
    state.roots.set(epoch, { root, count, proposer: from });
  }

  #settle(
    state: SimState,
    block: SimBlock,
    from: Address,
    call: Extract<LedgerCall, { method: "settle" }>,
  ): void {
    const { epoch } = call;
    const { reveal_end_s, proposer_end_s, settle_end_s } = this.windows(epoch);
    need(within(block, reveal_end_s, settle_end_s), "WindowClosed");
    const last = state.settlements.get(state.upheld.at(-1) ?? -1);
    need(!last || this.isFinal(last, block.timestamp_s), "OutOfOrder");
    need(!last || epoch > last.epoch, "OutOfOrder");
    need(call.total === this.pool(state, block.timestamp_s), "WrongTotal");
    need(!state.barred.has(`${epoch}/${call.root}`), "RootRejected");
    need(this.isActive(state, from), "NotActive");
    const drawn = this.proposer(state, epoch);
    need(block.timestamp_s >= proposer_end_s || drawn === null || drawn === from, "NotProposer");
    const parent = last?.root ?? NO_ROOT;
    const outcome = { ...call, parent, data_hash: call.data_hash.slice(2) as Hash };
    const signers = this.#signers(state, settlementDigest(this.place, outcome), call.signatures);
    need(signers.length >= this.needed(state), "TooFewSignatures");
    const { root, total, count } = call;
    state.settlements.set(epoch, {
      ...{ epoch, root, parent, total, count, data_hash: outcome.data_hash, proposer: from },
      ...{ settled_at_s: block.timestamp_s, disputes: 0, rejected: false, signers },
    });
    state.upheld.push(epoch);
    state.minted += total;
    state.mints.push({ epoch, at_s: block.timestamp_s, total });
  }

  /** Who signed, in rising order; a signature of nobody here ends the list. */
  #signers(state: SimState, digest: Uint8Array, signatures: readonly Hex[]): Address[] {
    const seats = this.notaries(state);
    const signers: Address[] = [];
    for (const signature of signatures) {
      const signer = seats.find((seat) =>
        this.verifier.verify(digest, signature.slice(2), this.#keys.get(seat)!),
      );
      need(signer !== undefined, "SignatureNotOfNotary");
      need(signers.length === 0 || signers.at(-1)! < signer!, "SignersNotSorted");
      signers.push(signer!);
    }
    return signers;
  }

  #claim(
    state: SimState,
    block: SimBlock,
    { account, cumulative, proof }: Extract<LedgerCall, { method: "claim" }>,
  ): void {
    const final = this.final(state, block.timestamp_s);
    if (!final) throw new Revert("InvalidProof");
    need(verifyProof(final.root, leafHash(account, cumulative), proof), "InvalidProof");
    need(cumulative > (state.claimed.get(account) ?? 0n), "NothingToClaim");
    state.claimed.set(account, cumulative);
  }

  /** The newest final settlement. */
  final(state: SimState, now_s: number): SimSettlement | undefined {
    const newest = state.upheld.slice(-2).reverse();
    return newest
      .map((epoch) => state.settlements.get(epoch)!)
      .find((settlement) => this.isFinal(settlement, now_s));
  }

  #challenge(
    state: SimState,
    block: SimBlock,
    from: Address,
    call: Extract<LedgerCall, { method: "challenge" }>,
  ): void {
    const epoch = Number(BigInt(call.subject));
    const settlement = state.settlements.get(epoch);
    need(call.offence === "bad_root" && this.isActive(state, from), "NotAnOffence");
    if (!settlement || settlement.rejected) throw new Revert("NotChallengeable");
    const end_s = settlement.settled_at_s + LEDGER.challenge_s;
    need(block.timestamp_s < end_s && state.upheld.at(-1) === epoch, "NotChallengeable");
    const { root, proposer } = settlement;
    need(
      !state.disputes.some((one) => one.root === root && one.epoch === epoch),
      "AlreadyDisputed",
    );
    need(proposer !== from, "OwnCase");
    settlement.disputes++;
    state.disputes.push({
      ...{ id: state.disputes.length + 1, phase: "drawing", accused: proposer, challenger: from },
      ...{ epoch, root, evidence_hash: call.evidence_hash.slice(2) as Hash },
      ...{ draw_block: block.number + 2, commit_end_s: 0, reveal_end_s: 0, panel: [] },
      votes: new Map(),
    });
  }

  #draw(state: SimState, block: SimBlock, id: number, signers: readonly Address[]): void {
    const dispute = this.#dispute(state, id);
    need(dispute.phase === "drawing" && dispute.commit_end_s === 0, "WrongPhase");
    need(block.number > dispute.draw_block, "NotYet");
    const settlement = state.settlements.get(dispute.epoch)!;
    need(signers.join() === settlement.signers.join(), "WrongSigners");
    const out = new Set([dispute.accused, dispute.challenger, ...signers]);
    const seats = this.notaries(state).filter((seat) => !out.has(seat));
    const size = Math.floor((seats.length - 1) / 3) * 3 + 1;
    if (seats.length === 0) {
      this.#decide(state, block, dispute, "inconclusive");
      return;
    }
    dispute.panel = seats.slice(0, size);
    dispute.phase = "vote_commit";
    dispute.commit_end_s = block.timestamp_s + LEDGER.vote_commit_s;
    dispute.reveal_end_s = dispute.commit_end_s + LEDGER.vote_reveal_s;
  }

  #commitVote(state: SimState, block: SimBlock, from: Address, id: number, hash: Hex): void {
    const dispute = this.#dispute(state, id);
    need(dispute.panel.includes(from), "NotOnPanel");
    need(block.timestamp_s < dispute.commit_end_s && !dispute.votes.has(from), "WrongPhase");
    dispute.votes.set(from, { hash, guilty: null });
  }

  #revealVote(
    state: SimState,
    block: SimBlock,
    from: Address,
    { id, guilty, salt }: Extract<LedgerCall, { method: "revealVote" }>,
  ): void {
    const dispute = this.#dispute(state, id);
    const vote = dispute.votes.get(from);
    if (!vote) throw new Revert("NotOnPanel");
    need(within(block, dispute.commit_end_s, dispute.reveal_end_s), "WrongPhase");
    need(voteOf(this.place, { id, notary: from, guilty, salt }) === vote.hash, "VoteDoesNotMatch");
    vote.guilty = guilty;
  }

  #resolve(state: SimState, block: SimBlock, id: number): void {
    const dispute = this.#dispute(state, id);
    need(dispute.commit_end_s > 0 && block.timestamp_s >= dispute.reveal_end_s, "WrongPhase");
    need(dispute.phase === "vote_commit", "WrongPhase");
    const votes = [...dispute.votes.values()];
    const needed = 2 * Math.floor((dispute.panel.length - 1) / 3) + 1;
    const guilty = votes.filter((vote) => vote.guilty === true).length;
    const voted = votes.filter((vote) => vote.guilty !== null).length;
    const outcome = guilty >= needed ? "guilty" : voted >= needed ? "dismissed" : "inconclusive";
    this.#decide(state, block, dispute, outcome);
  }

  #decide(
    state: SimState,
    block: SimBlock,
    dispute: SimDispute,
    outcome: "guilty" | "dismissed" | "inconclusive",
  ): void {
    dispute.phase = outcome;
    const settlement = state.settlements.get(dispute.epoch)!;
    settlement.disputes--;
    if (outcome === "dismissed") return;
    settlement.rejected = true;
    state.upheld = state.upheld.filter((epoch) => epoch !== dispute.epoch);
    state.minted -= settlement.total;
    state.mints = state.mints.filter(({ epoch }) => epoch !== dispute.epoch);
    if (outcome !== "guilty") return;
    state.barred.add(`${dispute.epoch}/${dispute.root}`);
    if (!this.#isSlashed(state, dispute.accused, "bad_root", dispute.epoch))
      this.#slash(state, block, dispute.accused, "bad_root", dispute.epoch, 10_000n);
  }

  #punish(
    state: SimState,
    block: SimBlock,
    { method, epoch, node }: Extract<LedgerCall, { method: "punishNoReveal" | "punishMismatch" }>,
  ): void {
    const commit = state.commits.get(epoch)?.get(node);
    if (!commit || commit.punished) throw new Revert("NotAnOffence");
    need(block.timestamp_s >= this.windows(epoch).reveal_end_s, "WindowClosed");
    const guilty =
      method === "punishNoReveal" ? commit.reveal === null : commit.reveal?.matches === false;
    need(guilty, "NotAnOffence");
    commit.punished = true;
    const offence = method === "punishNoReveal" ? "no_reveal" : "mismatch";
    this.#slash(state, block, node, offence, epoch, method === "punishNoReveal" ? 1000n : 3000n);
  }

  #approvers(
    state: SimState,
    block: SimBlock,
    epoch: number,
    root: Hex,
    signers: readonly Address[],
  ): void {
    need(state.barred.has(`${epoch}/${root}`), "NotAnOffence");
    const offence = "fraudulent_approval";
    const fresh = signers.filter((signer) => !this.#isSlashed(state, signer, offence, epoch));
    need(fresh.length > 0, "AlreadyPunished");
    for (const signer of fresh) this.#slash(state, block, signer, offence, epoch, 10_000n);
  }

  #isSlashed(state: SimState, node: Address, offence: string, epoch: number): boolean {
    return state.slashes.some(
      (one) => one.node === node && one.offence === offence && one.epoch === epoch,
    );
  }

  #slash(
    state: SimState,
    block: SimBlock,
    node: Address,
    offence: string,
    epoch: number,
    bps: bigint,
  ): void {
    need(!this.#isSlashed(state, node, offence, epoch), "AlreadyPunished");
    const bond = state.bonds.get(node) ?? 0n;
    state.bonds.set(node, bond - (bond * bps) / 10_000n);
    state.slashes.push({ node, offence, epoch, at_s: block.timestamp_s });
  }

  #dispute(state: SimState, id: number): SimDispute {
    const dispute = state.disputes[id - 1];
    if (!dispute) throw new Revert("UnknownDispute");
    return dispute;
  }
}

const within = ({ timestamp_s }: SimBlock, from_s: number, to_s: number): boolean =>
  timestamp_s >= from_s && timestamp_s < to_s;
