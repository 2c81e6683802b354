/** `magnet chain simulate`: which strategy pays, on the real contracts (paper 13.3). */
import { formatMag, MAG, parseMag } from "../../chain/amounts.ts";
import type { ExitKind } from "../../core/errors.ts";
import { systemRandom } from "../../core/random.ts";
import { STRATEGIES, STRATEGY_TEXT } from "../../sim/strategies/strategies.ts";
import {
  NODES_LEAST,
  type OperatorResult,
  type StrategyReport,
  StrategySimulation,
} from "../../sim/strategies/strategy-simulation.ts";
import { defineCommand } from "../frame/command.ts";
import { table } from "../frame/output.ts";

/** 12.3456 MAG. */
const short = (amount: bigint): string => (Number(amount) / Number(MAG)).toFixed(3);

/** Means over the operators of each strategy. */
function rows(operators: readonly OperatorResult[]): string[][] {
  return STRATEGIES.map((strategy) => {
    const own = operators.filter((one) => one.strategy === strategy);
    const mean = (value: (one: OperatorResult) => bigint) =>
      short(own.reduce((sum, one) => sum + value(one), 0n) / BigInt(own.length || 1));
    return [
      strategy,
      `${own.length}`,
      mean((one) => one.rewards),
      mean((one) => one.slashed),
      mean((one) => one.cost),
      mean((one) => one.net),
      mean((one) => one.bounties),
      STRATEGY_TEXT[strategy],
    ];
  });
}

function textOf(report: StrategyReport): string {
  const { ok, failures, operators, settled, rejected, false_roots_tried } = report;
  const head = [
    "strategy",
    "operators",
    "rewards",
    "slashed",
    "cost",
    "net",
    "bounties",
    "what it does",
  ];
  return [
    "MAG per operator, each with one machine; net = rewards - slashed - cost; bounties go to whoever",
    "reports an offence first:",
    table(head, rows(operators)),
    `${settled} settlements, ${false_roots_tried} false roots tried, ${rejected} rejected`,
    ok ? "honesty pays best" : `honesty does not pay best: ${failures.join("; ")}`,
  ].join("\n");
}

export const simulate = defineCommand({
  summary: "Lets strategies compete on the real contracts and prints what each earned",
  details:
    "Honest, rational, lazy, withholding, copying, colluding and Sybil operators with equal machines,\non the embedded chain in memory, on virtual time. Exit code 6 unless honesty pays best.",
  examples: [
    { command: "magnet chain simulate", does: "16 nodes, 6 epochs" },
    {
      command: "magnet chain simulate --nodes 24 --epochs 12 --seed 7 --json",
      does: "for scripts",
    },
  ],
  args: {},
  flags: {
    nodes: { type: "integer", min: NODES_LEAST, max: 64, default: 16, summary: "identities" },
    epochs: { type: "integer", min: 2, max: 1000, default: 6, summary: "of rewards" },
    seed: { type: "integer", min: 0, max: 2 ** 32 - 1, summary: "random unless given; printed" },
    cost: {
      type: "string",
      value: "MAG",
      default: "5",
      summary: "of a machine's work in an epoch",
    },
  },
  async run({ out }, { flags }): Promise<ExitKind> {
    const seed = flags.seed ?? systemRandom.below(2 ** 32);
    const { nodes, epochs } = flags;
    const cost = parseMag(flags.cost);
    out.note(`seed ${seed}, ${nodes} nodes, ${epochs} epochs, work costs ${formatMag(cost)} MAG`);
    let progress: ReturnType<typeof out.progress> | undefined;
    const onEpoch = (done: number, total: number) => {
      progress ??= out.progress({ label: "epochs", total, unit: "epochs" });
      progress.update(done);
      if (done === total) progress.end();
    };
    const report = await new StrategySimulation({ nodes, epochs, seed, cost, onEpoch }).run();
    const { operators } = report;
    const data = {
      ...report,
      operators: operators.map((one) => ({
        ...one,
        rewards: one.rewards.toString(),
        slashed: one.slashed.toString(),
        bounties: one.bounties.toString(),
        cost: one.cost.toString(),
        net: one.net.toString(),
      })),
    };
    out.result("chain_simulate", data, () => textOf(report));
    return report.ok ? "ok" : "verification";
  },
});
