/**
 * Who was an active node, of which tier and with which bond, at the end of an epoch: replayed from
 * the events of Nodes, so that every node finds the same whenever it looks. A block that carries the
 * epoch's end as its time belongs to the next epoch already.
 */
import type { Address, LedgerNode } from "../../chain/ledger/ledger-types.ts";
import { TIERS } from "../../core/tiers.ts";
import type { Hash } from "../../core/types.ts";
import type { AnyLog } from "./log-index.ts";

/** An event of Nodes and the time of its block. */
export interface TimedNodeLog {
  log: AnyLog<"nodes">;
  time_s: number;
}

interface Account {
  node_id: Hash;
  bond: bigint;
  /** Tiers asked for, each from its epoch on. */
  tiers: { from_epoch: number; tier: number }[];
}

const lower = (address: string) => address.toLowerCase() as Address;

/** `leastBonds` by tier: `Values.tierBonds` of the epoch. Sorted by address. */
export function activeNodes(
  logs: readonly TimedNodeLog[],
  epoch: { epoch: number; end_s: number },
  leastBonds: readonly bigint[],
): LedgerNode[] {
  const accounts = new Map<Address, Account>();
  for (const { log, time_s } of logs) if (time_s < epoch.end_s) apply(accounts, log);
  const nodes: LedgerNode[] = [];
  for (const [address, { node_id, bond, tiers }] of accounts) {
    const tier = tiers.findLast(({ from_epoch }) => from_epoch <= epoch.epoch)?.tier ?? 0;
    if (bond === 0n || bond < leastBonds[tier]!) continue;
    nodes.push({ address, node_id, tier: TIERS[tier]!, bond });
  }
  return nodes.sort((a, b) => (a.address < b.address ? -1 : 1));
}

function apply(accounts: Map<Address, Account>, log: AnyLog<"nodes">): void {
  if (log.eventName === "Registered") {
    const { node, nodeId, tier, bond } = log.args;
    const tiers = [{ from_epoch: 0, tier }];
    accounts.set(lower(node), { node_id: nodeId.slice(2) as Hash, bond, tiers });
    return;
  }
  const account = accounts.get(lower(log.args.node));
  if (!account) return;
  switch (log.eventName) {
    case "TierChanged":
      account.tiers.push({ from_epoch: Number(log.args.fromEpoch), tier: log.args.tier });
      return;
    case "Bonded":
    case "Unbonding":
    case "Slashed":
      account.bond = log.args.bond;
      return;
  }
}
