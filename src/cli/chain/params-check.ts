/** `magnet chain params check`: does cheating pay under the ledger's parameters (paper 13.3, Eq. 6)? */
import { DEFAULT_EPOCH_SECONDS, defaultValues, type Values } from "../../chain/default-values.ts";
import {
  type Assumptions,
  DEFAULT_ASSUMPTIONS,
  type Incentive,
  incentives,
  weakest,
} from "../../chain/ledger/incentives.ts";
import type { ExitKind } from "../../core/errors.ts";
import { type Context, defineCommand } from "../frame/command.ts";
import { table } from "../frame/output.ts";
import { CHAIN_FLAGS, type ChainFlags } from "./options.ts";

const amount = (value: number): string => value.toPrecision(4).replace(/\.?0+$/, "");

function checkText(list: readonly Incentive[], assumed: Assumptions, from: string): string {
  const rows = weakest(list).map((one) => [
    one.offence.replaceAll("_", " "),
    one.tier,
    `${one.slash_share * 100}% of ${amount(one.bond)}`,
    amount(one.future),
    amount(one.gain),
    amount(one.margin),
    one.holds ? "holds" : "FAILS",
  ]);
  const failed = list.filter((one) => !one.holds);
  return [
    `${from}; s B + future > G, in MAG; for each offence the tier with the least margin:`,
    table(["offence", "tier", "slashed", "future", "gain", "margin", ""], rows),
    "gains: " +
      weakest(list)
        .map((one) => `${one.offence.replaceAll("_", " ")}: ${one.why}`)
        .join("; "),
    `assumed: ${assumed.nodes} nodes in equal parts of the five tiers, ${assumed.notaries} notaries, ` +
      `gamma ${assumed.discount}, ${assumed.detected * 100}% found out, ${assumed.unclaimed_epochs} epochs' pool unclaimed;`,
    "whoever loses the whole bond loses every later reward, others those of one epoch",
    failed.length === 0
      ? "cheating pays nowhere"
      : `cheating pays in ${failed.length} of ${list.length} cases: ${failed
          .map((one) => `${one.offence} as ${one.tier}`)
          .join(", ")}`,
  ].join("\n");
}

/** Values in force, and how many nodes and notaries there are. */
async function fromChain(context: Context, flags: ChainFlags) {
  const { openSession } = await import("./session.ts");
  const { ledger, deployment } = await openSession(context, flags);
  const values: Values = await ledger.read("params", "current", [], "pending");
  const notaries = Number(await ledger.read("nodes", "notaryCount", []));
  const range = { from: BigInt(deployment.block) };
  const nodes = (await ledger.events("nodes", "Registered", range)).length;
  return { values, nodes, notaries };
}

export const check = defineCommand({
  summary: "Evaluates the incentive inequality for every offence",
  details:
    "s B + gamma R / (1 - gamma) > G (Eq. 6): what a cheater loses against the most it can gain.\nEnds with exit code 6 where cheating would pay.",
  examples: [
    { command: "magnet chain params check", does: "the values in force, with the nodes there are" },
    { command: "magnet chain params check --defaults --nodes 1000", does: "a larger network" },
  ],
  args: {},
  flags: {
    ...CHAIN_FLAGS,
    defaults: { type: "boolean", summary: "values of a new ledger; asks no chain" },
    nodes: {
      type: "integer",
      min: 1,
      max: 1_000_000,
      summary: "active nodes (default: registered)",
    },
    notaries: {
      type: "integer",
      min: 1,
      max: 31,
      summary: "seats taken (default: those there are)",
    },
    gamma: {
      type: "number",
      min: 0,
      max: 0.9999,
      default: 0.99,
      summary: "worth of a later reward",
    },
    detected: {
      type: "number",
      min: 0,
      max: 1,
      default: 1,
      summary: "share of offences found out",
    },
    unclaimed: { type: "number", min: 0, max: 1e6, default: 0, summary: "epochs' pool unclaimed" },
  },
  async run(context, { flags }): Promise<ExitKind> {
    const found = flags.defaults
      ? { values: defaultValues(DEFAULT_EPOCH_SECONDS), ...DEFAULT_ASSUMPTIONS }
      : await fromChain(context, flags);
    const nodes = flags.nodes ?? Math.max(1, found.nodes);
    const assumed: Assumptions = {
      nodes,
      notaries: flags.notaries ?? Math.max(1, Math.min(31, found.notaries, nodes)),
      ...{ discount: flags.gamma, detected: flags.detected, unclaimed_epochs: flags.unclaimed },
    };
    const list = incentives(found.values, assumed);
    const ok = list.every((one) => one.holds);
    const from = flags.defaults ? "default values" : "values in force";
    context.out.result("chain_params_check", { ok, assumed, offences: list }, () =>
      checkText(list, assumed, from),
    );
    return ok ? "ok" : "verification";
  },
});
