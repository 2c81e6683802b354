/**
 * The training that the simulated ledger pays for: a round every minute, in which some of the nodes took
 * part. Every node can tell the truth about it, as the real ones can from certificates.
 */
import type { VerifiedReport } from "../../chain/ledger/ledger-types.ts";
import {
  type ContributionFacts,
  type ContributionReport,
  EMPTY_FACTS,
  trainingAmount,
} from "../../chain/ledger/report.ts";
import { sha256Hex } from "../../core/bytes.ts";
import type { Hash } from "../../core/types.ts";
import { LEDGER } from "./sim-ledger-types.ts";

const ROUND_S = 60;
const PARAMETERS = 5_000_000;

/** Rounds that were promoted before an epoch's end. */
export const roundsUntil = (epoch: number): number => ((epoch + 1) * LEDGER.epoch_s) / ROUND_S;

const draw = (text: string): number => Number.parseInt(sha256Hex(text).slice(0, 8), 16);

export class SimFacts {
  constructor(private readonly seed: number) {}

  /** Inner steps of a node in a round; 0 where it was not merged. */
  steps(node: number, round: number): number {
    const value = draw(`${this.seed}/train/${node}/${round}`);
    return value % 3 === 0 ? 0 : 50 + (value % 97);
  }

  #merge(round: number): Hash {
    return sha256Hex(`${this.seed}/merge/${round}`) as Hash;
  }

  #loss(round: number): number {
    return 3_000_000 - Math.min(round * 10_000, 2_000_000);
  }

  /** What a node can truthfully report. */
  truth(node: number, epoch: number, after_round: number): ContributionFacts {
    const until = roundsUntil(epoch);
    const rounds = Array.from({ length: until }, (_, round) => round);
    const training_compute = rounds
      .filter((round) => round > after_round && this.steps(node, round) > 0)
      .slice(-64)
      .map((round) => this.#round(round, this.steps(node, round)));
    // Losses of one state differ by a few micronats from machine to machine.
    const model_quality = rounds.slice(-2).map((round) => ({
      ...{ round, state_hash: this.#merge(round) },
      loss_micronats: this.#loss(round) + (node % 7),
    }));
    return { ...EMPTY_FACTS, training_compute, model_quality };
  }

  /** Every round in full, and losses out of thin air. */
  lie(node: number, epoch: number): ContributionFacts {
    const until = roundsUntil(epoch);
    const rounds = Array.from({ length: until }, (_, round) => round).slice(-64);
    return {
      ...EMPTY_FACTS,
      training_compute: rounds.map((round) => this.#round(round, 10_000)),
      model_quality: rounds.slice(-2).map((round) => ({
        ...{ round, state_hash: this.#merge(round), loss_micronats: 1000 + node },
      })),
    };
  }

  #round(round: number, inner_steps: number) {
    return { round, merge_hash: this.#merge(round), inner_steps, parameters: PARAMETERS };
  }

  /** What of a report holds, by what everybody can know. */
  verify(node: number, report: ContributionReport): VerifiedReport {
    const { training_compute, model_quality } = report.facts;
    const until = roundsUntil(report.epoch);
    const true_rounds = training_compute.filter(
      ({ round }) => round < until && this.steps(node, round) > 0,
    );
    return {
      rounds: true_rounds.map(({ round }) => ({
        round,
        amount: trainingAmount(this.#round(round, this.steps(node, round))),
      })),
      evaluations: model_quality
        .filter(({ round, state_hash }) => round < until && state_hash === this.#merge(round))
        .map((one) => ({ ...one, state_hash: one.state_hash as Hash })),
      ...{ data_quality: 0n, storage: 0n, serving: 0n },
    };
  }
}
