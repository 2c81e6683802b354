/**
 * Gathers the proof of every round that is promoted: the announcement and the job's specification
 * while the round runs, the certificate when its state is current. A round that this node was away
 * for is fetched from a peer, and believed for its signatures only.
 */
import { toMagnetError } from "../../core/errors.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { readMergePlan } from "../../diloco/round-contents.ts";
import type { Transport } from "../../network/transport.ts";
import type { NodeMachine } from "../node.ts";
import type { FactStore } from "./fact-store.ts";
import {
  type CertifiedRound,
  falseProof,
  readRoundProof,
  roundProofRequest,
} from "./round-proof.ts";

/** Rounds under way that are remembered: a slow node promotes one while the next is announced. */
const OPEN_MAX = 8;
/** A proof of a small network is a few kilobytes. */
const FETCH_TIMEOUT_MS = 10_000;
/** Proofs read and checked lately: each costs a millisecond a signature. */
const CHECKED_MAX = 256;
/** Two of them and the peer is barred, as for a corrupt blob. */
const FALSE_PROOF_POINTS = 50;

export interface ArchiveOptions {
  machine: NodeMachine;
  transport: Transport;
  facts: FactStore;
}

export class RoundArchive {
  readonly #options: ArchiveOptions;
  /** By hash of the announcement. */
  readonly #open = new Map<Hash, { announcement: string; spec: string }>();
  readonly #checked = new Map<number, CertifiedRound>();

  constructor(options: ArchiveOptions) {
    this.#options = options;
    const { transport, facts } = options;
    transport.handle(roundProofRequest.request.type, async (_from, body) => {
      const { round } = roundProofRequest.request.schema.parse(body);
      return { proof: facts.round(round) ?? null };
    });
  }

  /** Looks at the machine after a step: the announcement is gone once its round is promoted. */
  observe(): void {
    const { round, election } = this.#options.machine;
    const { announced, jobs } = round.parts;
    if (!announced || this.#open.has(announced.hash)) return;
    const spec = jobs.get(announced.value.job_id)?.offer.spec;
    if (spec === undefined) return; // the job is not here yet
    const announcement = election.decided[0]!.proposal.content;
    this.#open.set(announced.hash, { announcement, spec });
    if (this.#open.size > OPEN_MAX) this.#open.delete([...this.#open.keys()][0]!);
  }

  /** The certified state of the last promoted round is current here. */
  promoted(now_ms: number): void {
    const certificate = this.#options.machine.election.head;
    const plan = certificate && readMergePlan(certificate.proposal)?.value;
    const open = plan && this.#open.get(plan.announce_hash);
    if (!open) return; // it was fetched whole, after an absence
    this.#options.facts.addRound(plan.round, { certificate, ...open }, now_ms);
  }

  /** A round whose proof is here and holds; undefined for one that is not known here. */
  certified(round: number): CertifiedRound | undefined {
    const known = this.#checked.get(round);
    if (known) return known;
    const proof = this.#options.facts.round(round);
    if (!proof) return undefined;
    return this.#remember(readRoundProof(proof, this.#options.machine.election.ballots));
  }

  #remember(round: CertifiedRound): CertifiedRound {
    this.#checked.set(round.round, round);
    if (this.#checked.size > CHECKED_MAX) this.#checked.delete([...this.#checked.keys()][0]!);
    return round;
  }

  /**
   * A round from here, else from the first of `sources` whose proof holds. Null where all of them
   * answered and none has one, undefined where one could not be asked: it may be found later. Who
   * sends a false one is scored.
   */
  async find(
    round: number,
    sources: readonly PublicKey[],
    now_ms: number,
  ): Promise<CertifiedRound | null | undefined> {
    const known = this.certified(round);
    if (known) return known;
    let nothing: null | undefined = null;
    for (const source of sources) {
      if (source === this.#options.transport.public_key) continue;
      try {
        const found = await this.#ask(source, round, now_ms);
        if (found) return found;
      } catch (error) {
        if (toMagnetError(error).code === "ROUND_PROOF_INVALID")
          this.#options.transport.penalize(source, FALSE_PROOF_POINTS, "false_round_proof");
        else nothing = undefined;
      }
    }
    return nothing;
  }

  async #ask(source: PublicKey, round: number, now_ms: number): Promise<CertifiedRound | null> {
    const { transport, facts, machine } = this.#options;
    const { request, response } = roundProofRequest;
    const limit = { timeout_ms: FETCH_TIMEOUT_MS };
    const answer = await transport.request(source, request.type, { round }, limit);
    const { proof } = response.schema.parse(answer);
    if (!proof) return null;
    const certified = readRoundProof(proof, machine.election.ballots);
    if (certified.round !== round) throw falseProof("it is of another round");
    facts.addRound(round, proof, now_ms);
    return this.#remember(certified);
  }
}
