/** `magnet chain params`: the governed values of the ledger. */
import { formatMag } from "../../chain/amounts.ts";
import {
  DEFAULT_EPOCH_SECONDS,
  DEFAULT_GOVERNANCE,
  defaultValues,
  governanceToJson,
  type Values,
  valuesToJson,
} from "../../chain/default-values.ts";
import { TIERS } from "../../core/tiers.ts";
import { type Context, defineCommand, type Group, lazy } from "../frame/command.ts";
import type { Output } from "../frame/output.ts";
import { CHAIN_FLAGS, type ChainFlags } from "./options.ts";

const percent = (bps: number) => `${bps / 100}%`;
const AXES = ["data quality", "training", "model quality", "storage", "serving"];
const OFFENCES = [
  "no reveal",
  "mismatch",
  "false tier",
  "bad data",
  "bad root",
  "fraudulent approval",
];

function valuesText(values: Values): string[] {
  const mag = (amount: bigint) => `${formatMag(amount)} MAG`;
  const { commitSeconds, revealSeconds, proposerSeconds, challengeSeconds } = values;
  const line = (name: string, text: string) => `${name.padEnd(14)}${text}`;
  return [
    line("pool", `${mag(values.epochPool)} an epoch`),
    line("caps", `${mag(values.dailyCap)} a day, ${mag(values.annualCap)} a year`),
    line(
      "windows",
      `commit ${commitSeconds} s, reveal ${revealSeconds} s, proposer ${proposerSeconds} s, challenge ${challengeSeconds} s; settled within ${values.settleSeconds} s`,
    ),
    line("votes", `commit ${values.voteCommitSeconds} s, reveal ${values.voteRevealSeconds} s`),
    line("unbonding", `${values.unbondingSeconds} s`),
    ...TIERS.map((tier, i) =>
      line(
        i === 0 ? "tiers" : "",
        `${tier}: reward x ${values.tierRewards[i]! / 1000}, bond ${mag(values.tierBonds[i]!)}`,
      ),
    ),
    line("notary bond", `${mag(values.notaryBond)}, challenger ${mag(values.challengerBond)}`),
    line("slash", OFFENCES.map((name, i) => `${name} ${percent(values.slashBps[i]!)}`).join(", ")),
    line("axes", AXES.map((name, i) => `${name} ${percent(values.axisWeights[i]!)}`).join(", ")),
    line("data fee", `${mag(values.dataFee)}, challenged for ${values.dataChallengeSeconds} s`),
    line("panel", `${values.panelSize} notaries`),
  ];
}

function showDefaults(out: Output, epoch_seconds: number): void {
  const values = defaultValues(epoch_seconds);
  const data = {
    epoch_seconds,
    values: valuesToJson(values),
    governance: governanceToJson(DEFAULT_GOVERNANCE),
  };
  const head = `defaults for epochs of ${epoch_seconds} s`;
  out.result("chain_params", data, () => [head, ...valuesText(values)].join("\n"));
}

async function showLedger(context: Context, flags: ChainFlags & { epoch: number | undefined }) {
  const { openSession } = await import("./session.ts");
  const { ledger, deployment } = await openSession(context, flags);
  const running = Number(await ledger.read("params", "currentEpoch", [], "pending"));
  const epoch = flags.epoch ?? running;
  const values: Values = await ledger.read("params", "valuesAt", [BigInt(epoch)]);
  const version = Number(await ledger.read("params", "versionAt", [BigInt(epoch)]));
  const next = Number(await ledger.read("params", "versionAt", [BigInt(running + 1)]));
  const { epoch_seconds, genesis, chain_id, contracts } = deployment;
  const governance = governanceToJson({
    voting_delay_s: Number(await ledger.read("governor", "votingDelay", [])),
    voting_period_s: Number(await ledger.read("governor", "votingPeriod", [])),
    timelock_delay_s: Number(await ledger.read("timelock", "getMinDelay", [])),
    proposal_threshold: await ledger.read("governor", "proposalThreshold", []),
    quorum_percent: Number(await ledger.read("governor", "quorumNumerator", [])),
    quorum_floor: await ledger.read("governor", "quorumFloor", []),
  });
  const block_randomness = await ledger.read("params", "blockRandomness", []);
  const data = {
    ...{ chain_id, epoch_seconds, genesis, running_epoch: running, epoch, version },
    ...{ next_version: next, block_randomness, contracts },
    ...{ values: valuesToJson(values), governance },
  };
  const change = next === version ? "" : `; version ${next} from epoch ${running + 1}`;
  const head = `chain ${chain_id}, epoch ${epoch} of ${epoch_seconds} s, version ${version}${change}`;
  context.out.result("chain_params", data, () => [head, ...valuesText(values)].join("\n"));
}

export const show = defineCommand({
  summary: "Shows the values in force, or the defaults of a new ledger",
  examples: [
    { command: "magnet chain params show", does: "what holds in the running epoch" },
    {
      command: "magnet chain params show --defaults --json > values.json",
      does: "to edit, for magnet chain deploy --values",
    },
  ],
  args: {},
  flags: {
    ...CHAIN_FLAGS,
    epoch: { type: "integer", min: 0, summary: "of this epoch, past or coming" },
    defaults: { type: "boolean", summary: "those of a new ledger; asks no chain" },
    "epoch-seconds": {
      type: "integer",
      min: 2,
      max: 604_800,
      default: DEFAULT_EPOCH_SECONDS,
      summary: "with --defaults: length of an epoch",
    },
  },
  async run(context, { flags }) {
    if (flags.defaults) showDefaults(context.out, flags.epoch_seconds);
    else await showLedger(context, flags);
    return undefined;
  },
});

export const params: Group = {
  kind: "group",
  meta: { description: "governed values of the ledger: show, check" },
  subCommands: {
    check: lazy(
      "evaluate the incentive inequality for every offence",
      async () => (await import("./params-check.ts")).check,
    ),
    show: lazy(show.declared.summary, async () => show),
  },
};
