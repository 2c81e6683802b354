/** How an operator behaves who wants to earn, and what that does to its node's messages and calls. */
import { settlementDigest } from "../../chain/ledger/digests.ts";
import type { Hex, LedgerEffect } from "../../chain/ledger/ledger-types.ts";
import { sha256Hex } from "../../core/bytes.ts";
import type { Random } from "../../core/random.ts";
import type { Hash } from "../../core/types.ts";
import type { Identity } from "../../network/identity.ts";
import { falsify } from "../ledger/cheating.ts";
import type { StrategyAgent } from "./strategy-agent.ts";

export const STRATEGIES = [
  "honest",
  "rational",
  "sybil",
  "lazy",
  "withholding",
  "copying",
  "colluding",
] as const;
export type Strategy = (typeof STRATEGIES)[number];

export const STRATEGY_TEXT: Record<Strategy, string> = {
  honest: "works and reports what it did",
  rational: "does each epoch what has earned others the most so far",
  sybil: "divides one machine's work among several identities",
  lazy: "does nothing and reports full work",
  withholding: "works, commits, and does not open",
  copying: "does nothing and commits to another's commitment",
  colluding: "works, and signs and settles roots in its own favour as a notary",
};

/** What a rational operator chooses among. */
export const CHOICES = ["honest", "lazy", "copying"] as const satisfies readonly Strategy[];

/** True if the node trains in fact. */
export const works = (strategy: Strategy): boolean => strategy !== "lazy" && strategy !== "copying";

/** What became of a settlement that was made false. */
export interface Conspiracy {
  readonly members: readonly Identity[];
  attempts: number;
}

/** Changes what a node wants to do; null: it does not. */
export function behave(
  agent: StrategyAgent,
  effect: LedgerEffect,
  conspiracy: Conspiracy,
  others: () => readonly Hex[],
  random: Random,
): LedgerEffect | null {
  if (effect.type !== "submit") return effect;
  const { call } = effect;
  if (agent.strategy === "withholding" && call.method === "reveal") return null;
  if (agent.doing === "copying" && call.method === "commit") {
    const seen = others();
    const copied = seen[random.below(seen.length)] ?? (`0x${sha256Hex("copied")}` as Hex);
    agent.copied.add(call.epoch);
    return { ...effect, call: { ...call, commitment: copied } };
  }
  if (agent.strategy === "colluding" && call.method === "settle") {
    const own = agent.records.get(call.data_hash.slice(2) as Hash);
    const sealed = own && falsify(own, agent.address);
    if (!sealed) return effect;
    conspiracy.attempts++;
    const { outcome } = sealed;
    const digest = settlementDigest(agent.place, outcome);
    const signatures = conspiracy.members.map((member): Hex => `0x${member.sign(digest)}`);
    const data_hash: Hex = `0x${outcome.data_hash}`;
    const { root, count } = outcome;
    // A call of its own: the node would not ask for it.
    return {
      ...effect,
      key: `${effect.key}:false`,
      call: { ...call, root, count, data_hash, signatures },
    };
  }
  return effect;
}
