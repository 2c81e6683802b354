/**
 * The demo's checks on the ledger: every agent computed the settled root by itself, the shares sum to
 * the pool, what was earned is claimed, and the agent that withheld its reveal has lost a part of its
 * bond. Nothing is paid out here: the agents have done that on their own.
 */
import { formatMag } from "../../chain/amounts.ts";
import { MagnetError } from "../../core/errors.ts";
import type { PublicKey } from "../../core/types.ts";
import type { Output } from "../frame/output.ts";
import type { Cluster, Member } from "./cluster.ts";
import { accountOf, BOND, type DemoLedger } from "./ledger.ts";
import type { DemoLedgerReport } from "./report.ts";

const STEP_DEADLINE_MS = 90_000;

interface EpochSeen {
  phase: string;
  settlement: { root: string; total: string; final: boolean; rejected: boolean } | null;
  record: {
    root: string;
    entries: { address: string; reward: string }[];
    accounts: { address: string; cumulative: string }[];
  } | null;
}

const failed = (message: string) =>
  new MagnetError("DEMO_CHECK_FAILED", message, {
    hint: "magnet chain status on an agent's folder says why; keep the demo's folder (--keep)",
    exit: "verification",
  });

const sum = (amounts: readonly string[]) => amounts.reduce((all, one) => all + BigInt(one), 0n);

async function epochSeen({ control }: Member, epoch: number): Promise<EpochSeen | undefined> {
  try {
    return (await control.get(`/v1/ledger/epochs/${epoch}`)) as EpochSeen;
  } catch (error) {
    if (error instanceof MagnetError && error.code === "NOT_FOUND") return undefined;
    throw error;
  }
}

/** True if every one of them shows the epoch as final, with its record. */
const isFinal = (seen: readonly (EpochSeen | undefined)[]): seen is EpochSeen[] =>
  seen.every((one) => one?.settlement?.final && one.record);

/**
 * Waits until an epoch from `from` on is final on every live agent; each must have computed its root by
 * itself. Throws DEMO_CHECK_FAILED where they differ, or where the shares are not the pool.
 */
export async function awaitSettled(
  cluster: Cluster,
  ledger: DemoLedger,
  from: number,
): Promise<{ detail: string; value: NonNullable<EpochSeen["record"]> }> {
  const what = `an epoch from ${from} on to be final`;
  const { epoch, seen } = await cluster.until(what, STEP_DEADLINE_MS, async () => {
    const settled = (await ledger.settled()).filter((one) => one.epoch >= from).reverse();
    for (const { epoch } of settled) {
      const seen = await Promise.all(cluster.members.map((member) => epochSeen(member, epoch)));
      if (isFinal(seen)) return { epoch, seen };
    }
    return undefined;
  });
  const { settlement, record } = seen[0]!;
  for (const one of seen)
    if (one.record!.root !== settlement!.root)
      throw failed(`the agents disagree on the root of epoch ${epoch}`);
  const shares = record!.entries.map(({ reward }) => reward);
  if (sum(shares) !== BigInt(settlement!.total))
    throw failed(`the shares of epoch ${epoch} do not sum to its pool`);
  const detail =
    `epoch ${epoch}: ${formatMag(BigInt(settlement!.total))} MAG for ${shares.length} of ` +
    `${cluster.everybody.length} agents, root ${settlement!.root.slice(0, 10)} on every live one`;
  return { detail, value: record! };
}

/** Waits until every live agent has claimed what the record says it has earned. */
export async function awaitClaims(
  cluster: Cluster,
  ledger: DemoLedger,
  record: NonNullable<EpochSeen["record"]>,
): Promise<string> {
  const earned = new Map(record.accounts.map((a) => [a.address, BigInt(a.cumulative)]));
  const paid = await cluster.until("rewards to be claimed", STEP_DEADLINE_MS, async () => {
    const accounts = cluster.members.map(({ agent }) => accountOf(agent.public_key));
    const all = await Promise.all(accounts.map((account) => ledger.account(account)));
    const isPaid = all.every(({ claimed }, i) => claimed >= (earned.get(accounts[i]!) ?? 0n));
    return isPaid ? all : undefined;
  });
  const total = paid.reduce((all, { claimed }) => all + claimed, 0n);
  return `${formatMag(total)} MAG claimed by ${paid.length} agents, each with its own proof`;
}

/** Waits until the agent that opened nothing was slashed. */
export async function awaitSlash(
  cluster: Cluster,
  ledger: DemoLedger,
  cheater: { public_key: PublicKey; index: number; epoch: number },
): Promise<string> {
  const account = accountOf(cheater.public_key);
  const { bond } = await cluster.until("the slash", STEP_DEADLINE_MS, async () => {
    const seen = await ledger.account(account);
    return seen.bond < BOND ? seen : undefined;
  });
  return (
    `agent ${cheater.index} never opened its commitment to epoch ${cheater.epoch}: bond ` +
    `${formatMag(BOND)} -> ${formatMag(bond)} MAG, reported by another agent`
  );
}

/** The ledger as it stands, printed and for the report. */
export async function ledgerReport(
  ledger: DemoLedger,
  agents: readonly { index: number; node_id: string; public_key: PublicKey }[],
  out: Output,
): Promise<DemoLedgerReport> {
  const settled = await ledger.settled();
  const rows: DemoLedgerReport["accounts"] = [];
  for (const { index, node_id, public_key } of agents) {
    const account = accountOf(public_key);
    const { claimed, bond, seat, balance } = await ledger.account(account);
    rows.push({
      ...{ node_id, account, claimed: claimed.toString(), balance: balance.toString() },
      ...{ bond: bond.toString(), seat: seat.toString() },
    });
    out.note(
      `  agent ${index}  ${account}  claimed ${formatMag(claimed).slice(0, 9).padEnd(9)} MAG, ` +
        `bond ${formatMag(bond)}, seat ${formatMag(seat)}`,
    );
  }
  return {
    chain_id: ledger.deployment.chain_id,
    epoch_seconds: ledger.deployment.epoch_seconds,
    epochs: settled.map(({ epoch, root, total }) => ({ epoch, root, total: total.toString() })),
    minted: settled.reduce((all, { total }) => all + total, 0n).toString(),
    slashed: (await ledger.slashed()).toString(),
    accounts: rows,
  };
}
