/**
 * What deploying the ledger consists of: every transaction with its nonce, so that each contract's
 * address is known before the first is sent and they can name each other in their constructors.
 * Nobody has rights over them afterwards but the timelock, which obeys the governor alone.
 */
import {
  type Address,
  encodeDeployData,
  encodeFunctionData,
  getContractAddress,
  type Hex,
} from "viem";
import { z } from "zod";
import type { Governance, Values } from "../default-values.ts";
import { CONTRACTS } from "./abis.ts";
import { CONTRACT_FIELDS, type ContractName, type Deployment } from "./deployment.ts";

/** Who gets something to begin with. */
export interface Grant {
  to: Address;
  /** Base units of the token. */
  mag: bigint;
  /** The chain's own coin, for fees; wei. */
  coin: bigint;
}

export interface PlanOptions {
  from: Address;
  /** Nonce of the first transaction. */
  first_nonce: number;
  epoch_seconds: number;
  /** Start of epoch 0, unix seconds. */
  genesis: number;
  /** Draws use the chain's randomness besides the reveals; not where one node makes the blocks. */
  block_randomness: boolean;
  values: Values;
  governance: Governance;
  /** Minted at the start; what the grants leave goes to the timelock. Base units. */
  genesis_supply: bigint;
  grants: readonly Grant[];
}

export interface PlanStep {
  /** Name of the contract, or what the call does. */
  what: string;
  contract?: ContractName;
  to: Address | null;
  data: Hex;
  value: bigint;
  nonce: number;
}

/** Order of deployment. */
const ORDER = [
  "magToken",
  "voteMag",
  "timelock",
  "governor",
  "params",
  "nodes",
  "epochs",
  "disputes",
  "dataRegistry",
  "revenue",
] as const satisfies readonly ContractName[];
/** As an executor: anyone may carry out what the timelock has held for its time. */
const ANYONE = "0x0000000000000000000000000000000000000000";

export type Addresses = Record<ContractName, Address>;

/** Where each contract will lie. */
export function predictedAddresses(from: Address, first_nonce: number): Addresses {
  const entries = ORDER.map((name, i) => [
    name,
    getContractAddress({ from, nonce: BigInt(first_nonce + i) }),
  ]);
  return Object.fromEntries(entries) as Addresses;
}

/** Bytes that deploy each contract. */
function deployData(options: PlanOptions, at: Addresses): Record<ContractName, Hex> {
  const { from, genesis_supply, governance: g, values, genesis } = options;
  const { magToken, voteMag, governor, timelock, params } = CONTRACTS;
  const clock = [BigInt(genesis), options.epoch_seconds, options.block_randomness] as const;
  const common = [at.magToken, at.params, at.nodes, at.disputes] as const;
  const delay = BigInt(g.timelock_delay_s);
  const votes = [g.voting_delay_s, g.voting_period_s, g.proposal_threshold] as const;
  const quorum = [BigInt(g.quorum_percent), g.quorum_floor] as const;
  const { nodes, epochs, disputes, dataRegistry, revenue } = CONTRACTS;
  return {
    magToken: encodeDeployData({ ...magToken, args: [at.epochs, from, genesis_supply] }),
    voteMag: encodeDeployData({ ...voteMag, args: [at.magToken] }),
    // No administrator from the first block on: only the timelock itself can change its roles.
    timelock: encodeDeployData({ ...timelock, args: [delay, [at.governor], [ANYONE], ANYONE] }),
    governor: encodeDeployData({
      ...governor,
      args: [at.voteMag, at.timelock, ...votes, ...quorum],
    }),
    params: encodeDeployData({ ...params, args: [at.timelock, ...clock, values] }),
    nodes: encodeDeployData({ ...nodes, args: [at.magToken, at.params, at.disputes] }),
    epochs: encodeDeployData({ ...epochs, args: common }),
    disputes: encodeDeployData({
      ...disputes,
      args: [at.magToken, at.params, at.nodes, at.epochs, at.dataRegistry, at.revenue],
    }),
    dataRegistry: encodeDeployData({ ...dataRegistry, args: common }),
    revenue: encodeDeployData({ ...revenue, args: common }),
  };
}

const transferData = (to: Address, amount: bigint): Hex =>
  encodeFunctionData({ abi: CONTRACTS.magToken.abi, functionName: "transfer", args: [to, amount] });

/** Every transaction of the deployment, in order of nonce. */
export function deploymentSteps(options: PlanOptions): PlanStep[] {
  const at = predictedAddresses(options.from, options.first_nonce);
  const data = deployData(options, at);
  const steps: Omit<PlanStep, "nonce">[] = ORDER.map((contract) => ({
    ...{ what: CONTRACT_FIELDS[contract], contract },
    ...{ to: null, data: data[contract], value: 0n },
  }));
  const give = (to: Address, amount: bigint, what: string) =>
    steps.push({ what, to: at.magToken, data: transferData(to, amount), value: 0n });
  let left = options.genesis_supply;
  for (const { to, mag, coin } of options.grants) {
    if (mag > 0n) give(to, mag, `grant to ${to}`);
    if (coin > 0n) steps.push({ what: `coin for ${to}`, to, data: "0x", value: coin });
    left -= mag;
  }
  if (left > 0n) give(at.timelock, left, "the rest to the treasury");
  return steps.map((step, i) => ({ ...step, nonce: options.first_nonce + i }));
}

/** The deployment that the steps make; `block` is that of the first contract. */
export function plannedDeployment(
  options: PlanOptions,
  chain_id: number,
  block: number,
): Deployment {
  const at = predictedAddresses(options.from, options.first_nonce);
  const entries = ORDER.map((name) => [CONTRACT_FIELDS[name], at[name].toLowerCase()]);
  return {
    chain_id,
    contracts: Object.fromEntries(entries) as Deployment["contracts"],
    block,
    epoch_seconds: options.epoch_seconds,
    genesis: options.genesis,
  };
}

/** What must survive an interruption for the same steps to come out again. */
export const planFileSchema = z.strictObject({
  schema: z.literal("magnet.deploy_plan/1"),
  chain_id: z.int(),
  /** Of the chain's first block: another chain may have the same id. */
  chain_hash: z.string(),
  from: z.string(),
  first_nonce: z.int(),
  genesis: z.int(),
  /** Hash over everything that was asked for. */
  request_hash: z.string(),
});
export type PlanFile = z.output<typeof planFileSchema>;
