/** `magnet chain status` and `magnet chain epoch`: the ledger as the node on this data folder sees it. */
import { formatMag } from "../../chain/amounts.ts";
import { formatChainTime } from "../../chain/chain-time.ts";
import type { EpochStatus, LedgerStatus } from "../../chain/ledger/ledger-types.ts";
import { MagnetError } from "../../core/errors.ts";
import { defineCommand } from "../frame/command.ts";
import { table } from "../frame/output.ts";
import { controlOf } from "../node.ts";

interface Reason {
  code: string;
  message: string;
}

interface Status extends LedgerStatus {
  rpc: { address: string; state: string; reason: string };
  stake: { state: string; reason: string };
  transactions: {
    queued: number;
    sent: number;
    unconfirmed: number;
    blocked: Reason | null;
    recent: { what: string; state: string; reason: Reason | null }[];
  };
  facts: { rounds: number; evaluations: number; audits: number; audits_failed: number };
}

const mag = (amount: string | null) => (amount === null ? "-" : formatMag(BigInt(amount)));

function chainLine({ chain, rpc }: Status): string {
  if (!chain.up) return chain.reason;
  return `${rpc.address}, block ${chain.block}, ${formatChainTime(chain.timestamp_s)}Z`;
}

function transactionLine({ transactions: t }: Status): string {
  const why = t.blocked ? `; blocked: ${t.blocked.message}` : "";
  return `${t.queued} queued, ${t.sent} sent, ${t.unconfirmed} in young blocks${why}`;
}

const epochRow = (e: EpochStatus) => [
  e.epoch,
  e.phase,
  mag(e.own.reward),
  `${e.reports.verified}/${e.reports.revealed}`,
  `${e.signatures.have}/${e.signatures.needed}`,
  e.hint === "" ? e.reason : `${e.reason} (${e.hint})`,
];

function statusText(s: Status): string {
  const stake = s.stake.reason === "" ? s.stake.state : `${s.stake.state}: ${s.stake.reason}`;
  const rows = [
    ["chain", chainLine(s)],
    ["account", `${s.address}, ${s.active ? "an active node" : "no active node"}`],
    ["stake", stake],
    ["rewards", `${mag(s.claimed)} MAG claimed, ${mag(s.claimable)} MAG to claim`],
    ["queue", transactionLine(s)],
    [
      "facts",
      `${s.facts.rounds} rounds proven, ${s.facts.evaluations} evaluations, ` +
        `${s.facts.audits} audits of shards (${s.facts.audits_failed} failed)`,
    ],
    ["epoch", String(s.epoch)],
  ].map(([name, value]) => `${name!.padEnd(8)} ${value}`);
  const epochs = table(
    ["epoch", "phase", "reward", "reports", "signed", "why"],
    s.epochs.map(epochRow),
  );
  const disputes = s.disputes.map(
    ({ id, offence, phase, reason }) => `dispute ${id}: ${offence}, ${phase}, ${reason}`,
  );
  return [...rows, epochs, ...disputes].join("\n");
}

export const status = defineCommand({
  summary: "This node's part in the ledger: shares, what is waited for and why",
  examples: [
    { command: "magnet chain status", does: "epochs, rewards, transactions" },
    { command: "magnet chain status --json", does: "for scripts" },
  ],
  args: {},
  flags: {},
  async run(context) {
    const data = (await (await controlOf(context)).get("/v1/ledger")) as Status;
    context.out.result("chain_status", data, () => statusText(data));
    return undefined;
  },
});

interface Epoch {
  epoch: number;
  phase: string;
  reason: string;
  windows: Record<string, number>;
  pool: string;
  proposer: string | null;
  reveals: { node: string; matches: boolean }[];
  commits: { node: string }[];
  signatures: { have: number; needed: number };
  settlement: {
    root: string;
    data_hash: string;
    total: string;
    proposer: string;
    final: boolean;
    rejected: boolean;
    signers: string[];
  } | null;
  record: {
    data_hash: string;
    entries: { address: string; tier: string; score: string; reward: string }[];
    accounts: { address: string; cumulative: string }[];
  } | null;
}

function settlementLine({ settlement: s, signatures }: Epoch): string {
  if (!s) return `not settled; ${signatures.have} of ${signatures.needed} signatures here`;
  const state = s.rejected ? "rejected" : s.final ? "final" : "open to challenges";
  return `${state}, root ${s.root}, ${mag(s.total)} MAG, signed by ${s.signers.length}`;
}

function epochText(e: Epoch): string {
  const rows = [
    ["epoch", `${e.epoch}, ${e.phase}: ${e.reason}`],
    ["ended", `${formatChainTime(e.windows.commit_start_s!)}Z`],
    ["opened", `${e.reveals.length} of ${e.commits.length} commitments`],
    ["settled", settlementLine(e)],
    ["proposer", e.settlement?.proposer ?? e.proposer ?? "no notary is seated"],
    ["record", e.record?.data_hash ?? "not on this disk"],
  ].map(([name, value]) => `${name!.padEnd(8)} ${value}`);
  if (!e.record) return rows.join("\n");
  const balances = new Map(e.record.accounts.map((a) => [a.address, a.cumulative]));
  const shares = table(
    ["node", "tier", "score", "reward", "earned in all"],
    e.record.entries.map(({ address, tier, score, reward }) => [
      ...[address, tier, score, mag(reward)],
      mag(balances.get(address) ?? "0"),
    ]),
  );
  return [...rows, shares].join("\n");
}

export const epoch = defineCommand({
  summary: "One epoch: its record, rewards, root and signatures",
  examples: [
    { command: "magnet chain epoch", does: "the newest that is settled" },
    { command: "magnet chain epoch 12 --json", does: "epoch 12, for scripts" },
  ],
  args: { epoch: { value: "N", summary: "number of the epoch", optional: true } },
  flags: {},
  async run(context, { args }) {
    if (args.epoch !== undefined && !/^\d{1,12}$/.test(args.epoch))
      throw new MagnetError("BAD_EPOCH", `"${args.epoch}" is no epoch`, {
        hint: "epochs are counted from 0: magnet chain status shows them",
        exit: "usage",
      });
    const control = await controlOf(context);
    const data = (await control.get(`/v1/ledger/epochs/${args.epoch ?? "latest"}`)) as Epoch;
    context.out.result("chain_epoch", data, () => epochText(data));
    return undefined;
  },
});
