/**
 * What is signed in the election, and how a certificate is checked. All signed fields have a fixed
 * form
 * (hashes, integers, names of steps), so joining them by line breaks is unambiguous; the roster
 * hash in each keeps signatures of one network or roster from counting in another.
 */
import { sha256, sha256Hex } from "../core/bytes.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { Ack, Certificate, Lock, Proposal, Step, ViewTimeout } from "./election-messages.ts";
import type { Signer, Verifier } from "./signer.ts";

/** Acknowledgements that decide, for crash faults: any two quorums share a member. */
export const quorumOf = (members: number): number => Math.floor(members / 2) + 1;

/** The paper's formula with the view added: view 0 is the paper's leader. `members` is sorted. */
export const leaderOf = (members: readonly PublicKey[], round: number, view: number): PublicKey =>
  members[(round + view) % members.length]!;

/** Identity of a content: what acknowledgements and later steps refer to. */
export const contentHash = (content: string): Hash => sha256Hex(content) as Hash;

type Term = { round: number; view: number; step: Step };
type Unsigned<T> = Omit<T, "signature">;

export class Ballots {
  readonly members: readonly PublicKey[];
  readonly quorum: number;
  readonly #voters: ReadonlySet<PublicKey>;
  readonly #signer: Signer;
  readonly #verifier: Verifier;
  readonly #roster_hash: Hash;

  constructor(roster: readonly PublicKey[], roster_hash: Hash, signer: Signer, verifier: Verifier) {
    this.members = [...roster].sort();
    this.quorum = quorumOf(roster.length);
    this.#voters = new Set(roster);
    this.#signer = signer;
    this.#verifier = verifier;
    this.#roster_hash = roster_hash;
  }

  isMember(key: PublicKey): boolean {
    return this.#voters.has(key);
  }

  propose(term: Term, content: string): Proposal {
    const { round, view, step } = term;
    const unsigned = { roster_hash: this.#roster_hash, round, view, step, content };
    return { ...unsigned, signature: this.#signer.sign(this.#proposalDigest(unsigned)) };
  }

  /** True if the leader of the proposal's term signed it for this roster. */
  checkProposal(proposal: Proposal): boolean {
    if (proposal.roster_hash !== this.#roster_hash) return false;
    const leader = leaderOf(this.members, proposal.round, proposal.view);
    return this.#verifier.verify(this.#proposalDigest(proposal), proposal.signature, leader);
  }

  ack(term: Term, content_hash: Hash, result_hash: Hash): Ack {
    const { round, view, step } = term;
    const head = { roster_hash: this.#roster_hash, round, view, step };
    const unsigned = { ...head, content_hash, result_hash };
    return { ...unsigned, signature: this.#signer.sign(this.#ackDigest(unsigned)) };
  }

  checkAck(ack: Ack, from: PublicKey): boolean {
    if (ack.roster_hash !== this.#roster_hash || !this.#voters.has(from)) return false;
    return this.#verifier.verify(this.#ackDigest(ack), ack.signature, from);
  }

  viewTimeout(round: number, view: number, decided: Certificate[], lock: Lock | null): ViewTimeout {
    const unsigned = { roster_hash: this.#roster_hash, round, view, decided, lock };
    return { ...unsigned, signature: this.#signer.sign(this.#timeoutDigest(unsigned)) };
  }

  /**
   * Checks the signature and the lock's proof; the certificates are checked where they are used.
   */
  checkViewTimeout(timeout: ViewTimeout, from: PublicKey): boolean {
    if (timeout.roster_hash !== this.#roster_hash || !this.#voters.has(from)) return false;
    const { lock } = timeout;
    if (lock) {
      const { round, view } = lock.proposal;
      if (round !== timeout.round || view >= timeout.view) return false;
      if (!this.checkProposal(lock.proposal)) return false;
    }
    return this.#verifier.verify(this.#timeoutDigest(timeout), timeout.signature, from);
  }

  /** True if a quorum of distinct members signed this result of a proposal by its term's leader. */
  checkCertificate(certificate: Certificate): boolean {
    const { proposal, result_hash, acks } = certificate;
    const { roster_hash, round, view, step, content } = proposal;
    const content_hash = contentHash(content);
    if (step !== "merge" && result_hash !== content_hash) return false;
    if (acks.length < this.quorum || acks.length > this.members.length) return false;
    if (new Set(acks.map((ack) => ack.public_key)).size !== acks.length) return false;
    if (!this.checkProposal(proposal)) return false;
    const ack = { roster_hash, round, view, step, content_hash, result_hash };
    const digest = this.#ackDigest(ack);
    return acks.every(
      ({ public_key, signature }) =>
        this.#voters.has(public_key) && this.#verifier.verify(digest, signature, public_key),
    );
  }

  #proposalDigest({ roster_hash, round, view, step, content }: Unsigned<Proposal>): Uint8Array {
    return digest("propose", roster_hash, round, view, step, contentHash(content));
  }

  #ackDigest(ack: Unsigned<Ack>): Uint8Array {
    const { roster_hash, round, view, step, content_hash, result_hash } = ack;
    return digest("ack", roster_hash, round, view, step, content_hash, result_hash);
  }

  #timeoutDigest({ roster_hash, round, view, decided, lock }: Unsigned<ViewTimeout>): Uint8Array {
    const locked = lock
      ? [lock.proposal.view, lock.proposal.step, contentHash(lock.proposal.content)]
      : ["unlocked"];
    const steps = decided.map((certificate) => contentHash(certificate.proposal.content));
    const result = lock ? lock.result_hash : "";
    return digest("view-timeout", roster_hash, round, view, ...locked, result, ...steps);
  }
}

const digest = (kind: string, ...fields: (string | number)[]): Uint8Array =>
  sha256(`magnet/${kind}/1\n${fields.join("\n")}`);
