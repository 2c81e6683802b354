/** Training as the strategy simulation has it: some rounds an epoch, each machine equally fast. */
import type { VerifiedReport } from "../../chain/ledger/ledger-types.ts";
import {
  type ContributionFacts,
  type ContributionReport,
  EMPTY_FACTS,
} from "../../chain/ledger/report.ts";
import { sha256Hex } from "../../core/bytes.ts";
import type { Hash } from "../../core/types.ts";
import { works } from "./strategies.ts";
import type { StrategyAgent } from "./strategy-agent.ts";

const ROUNDS = 4;
/** Divisible by any number of identities that share a machine here. */
const STEPS = 240;
const PARAMETERS = 5_000_000;
/** Epochs of rounds that one report can still list. */
const BACK = 8;

export class StrategyWork {
  /** Rounds by identity in which it took part in fact. */
  readonly #done = new Map<string, Map<number, number>>();

  constructor(readonly epoch_s: number) {}

  #merge(round: number): Hash {
    return sha256Hex(`strategies merge ${round}`) as Hash;
  }

  /** The epoch's work is done now if the identity works at all; others report as if. */
  facts(agent: StrategyAgent, epoch: number, after_round: number): ContributionFacts {
    const done = this.#done.get(agent.address) ?? new Map<number, number>();
    this.#done.set(agent.address, done);
    const rounds = Array.from({ length: ROUNDS }, (_, i) => epoch * ROUNDS + i);
    if (works(agent.doing)) for (const round of rounds) done.set(round, STEPS * agent.share);
    const claimed: [number, number][] = works(agent.doing)
      ? [...done].filter(([round]) => round > after_round && round >= (epoch - BACK) * ROUNDS)
      : rounds.map((round) => [round, STEPS]);
    const training_compute = claimed.map(([round, inner_steps]) => ({
      ...{ round, merge_hash: this.#merge(round), inner_steps, parameters: PARAMETERS },
    }));
    return { ...EMPTY_FACTS, training_compute };
  }

  /** Certificates name who was merged: nothing else counts. */
  verify(reporter: StrategyAgent, report: ContributionReport): VerifiedReport {
    const done = this.#done.get(reporter.address);
    const rounds = report.facts.training_compute.flatMap(({ round }) => {
      const steps = done?.get(round);
      return steps === undefined ? [] : [{ round, amount: BigInt(steps * PARAMETERS) }];
    });
    return { rounds, evaluations: [], data_quality: 0n, storage: 0n, serving: 0n };
  }
}
