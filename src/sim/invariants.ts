/**
 * What must hold after every event, over all nodes and all their lives; checked on what each event
 * touched. It looks at effects only, so it cannot be fooled by a node's own bookkeeping.
 */

import type { NodeEffect } from "../agent/node-types.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import { readCollection } from "../diloco/round-contents.ts";
import type { Reveal } from "../diloco/round-messages.ts";
import { contentHash } from "../network/ballot.ts";
import type { Ack, Certificate, Proposal } from "../network/election-messages.ts";
import type { ElectionState } from "../network/election-state.ts";

/** A safety property is broken: the run ends. */
export class Violation extends Error {
  override name = "Violation";
}

function check(holds: boolean, message: () => string): void {
  if (!holds) throw new Violation(message());
}

interface Vote {
  round: number;
  view: number;
  step: string;
  content_hash: Hash;
  result_hash: Hash;
}

export class Invariants {
  readonly #members: readonly PublicKey[];
  readonly #quorum: number;
  /** What a quorum acknowledged per round and step, whether or not a certificate was ever built. */
  readonly #chosen = new Map<string, string>();
  readonly #votes = new Map<string, Set<number>>();
  readonly #checked = new WeakSet<Certificate>();
  /** Per announcement, who is in its certified collection. */
  readonly #collected = new Map<Hash, Set<PublicKey>>();
  readonly #rounds: number[];
  readonly #adopted: number[];
  readonly #durable: (ElectionState | undefined)[];

  constructor(members: readonly PublicKey[]) {
    this.#members = members;
    // On purpose not the shipped function.
    this.#quorum = (members.length - (members.length % 2)) / 2 + 1;
    this.#rounds = members.map(() => 0);
    this.#adopted = members.map(() => -1);
    this.#durable = members.map(() => undefined);
  }

  /** How many rounds were promoted anywhere. */
  get promoted(): number {
    return Math.max(...this.#rounds);
  }

  /** Looks at one effect just before it is carried out. */
  effect(node: number, effect: NodeEffect): void {
    if (effect.type === "persist" && effect.key === "election")
      this.#persisted(node, effect.value as ElectionState);
    else if (effect.type === "send" || effect.type === "broadcast")
      this.#said(node, effect.message.type, effect.message.body);
    else if (effect.type === "evidence")
      check(false, () => `node ${node} holds evidence against ${effect.evidence.public_key}`);
  }

  /** A node made a certified state its current one. */
  adopted(node: number, round: number, state_hash: Hash): void {
    const last = this.#adopted[node]!;
    check(round >= last, () => `node ${node} rolled back from round ${last} to ${round}`);
    this.#adopted[node] = round;
    const chosen = this.#chosen.get(`${round}/merge`);
    check(
      chosen?.endsWith(`/${state_hash}`) === true,
      () => `node ${node} adopted ${state_hash} in round ${round}, certified is ${chosen}`,
    );
  }

  #persisted(node: number, state: ElectionState): void {
    const last = this.#rounds[node]!;
    check(state.round >= last, () => `node ${node} went back from round ${last} to ${state.round}`);
    this.#rounds[node] = state.round;
    this.#durable[node] = state;
    for (const certificate of state.decided) this.#certified(certificate);
    if (state.head) this.#certified(state.head);
    const { lock, proposed } = state;
    // The leader's own acknowledgement is never sent: its durable lock is the acknowledgement.
    if (lock && proposed && lock.proposal.view === proposed.view)
      this.#voted(node, voteOf(lock.proposal, lock.result_hash));
  }

  #said(node: number, type: string, body: unknown): void {
    if (type === "election.ack") this.#acknowledged(node, body as Ack);
    else if (type === "election.certificates")
      for (const certificate of (body as { certificates: Certificate[] }).certificates)
        this.#certified(certificate);
    else if (type === "round.reveal") {
      const key = this.#members[node]!;
      const allowed = this.#collected.get((body as Reveal).announce_hash)?.has(key) === true;
      check(allowed, () => `node ${node} revealed before its commitment was certified`);
    }
  }

  #acknowledged(node: number, ack: Ack): void {
    const lock = this.#durable[node]?.lock;
    const durable =
      lock?.proposal.round === ack.round &&
      lock.proposal.view === ack.view &&
      lock.result_hash === ack.result_hash &&
      contentHash(lock.proposal.content) === ack.content_hash;
    check(durable, () => `node ${node} acknowledged round ${ack.round} without a durable promise`);
    this.#voted(node, ack);
  }

  #voted(node: number, vote: Vote): void {
    const { round, view, step, content_hash, result_hash } = vote;
    const key = `${round}/${view}/${step}/${content_hash}/${result_hash}`;
    const voters = this.#votes.get(key) ?? new Set();
    this.#votes.set(key, voters.add(node));
    if (voters.size >= this.#quorum) this.#choose(round, step, content_hash, result_hash);
  }

  #choose(round: number, step: string, content_hash: Hash, result_hash: Hash): void {
    const key = `${round}/${step}`;
    const value = `${content_hash}/${result_hash}`;
    const known = this.#chosen.get(key);
    check(
      known === undefined || known === value,
      () => `${key} certified twice: ${known}, ${value}`,
    );
    this.#chosen.set(key, value);
  }

  #certified(certificate: Certificate): void {
    if (this.#checked.has(certificate)) return;
    this.#checked.add(certificate);
    const { proposal, result_hash, acks } = certificate;
    const voters = new Set(acks.map((ack) => ack.public_key));
    const { round, step } = proposal;
    check(
      voters.size >= this.#quorum,
      () => `${round}/${step} certified by ${voters.size} members`,
    );
    this.#choose(round, step, contentHash(proposal.content), result_hash);
    const collection = step === "collect" ? readCollection(proposal)?.value : undefined;
    if (collection) {
      const keys = collection.commits.map((commit) => commit.public_key);
      this.#collected.set(collection.announce_hash, new Set(keys));
    }
  }
}

const voteOf = (proposal: Proposal, result_hash: Hash): Vote => {
  const { round, view, step, content } = proposal;
  return { round, view, step, content_hash: contentHash(content), result_hash };
};
