/**
 * `magnet sim`: a whole network of the shipped state machines in one process, on virtual time, with
 * injected faults. The same seed gives the same run, event for event.
 */
import { parseDuration } from "../core/duration.ts";
import { EXIT, type ExitKind } from "../core/errors.ts";
import { systemRandom } from "../core/random.ts";
import {
  LEDGER_PROFILE_NAMES,
  LEDGER_PROFILES,
  type LedgerProfileName,
} from "../sim/ledger/ledger-profiles.ts";
import {
  type LedgerSimulationReport,
  runLedgerSimulation,
} from "../sim/ledger/ledger-simulation.ts";
import { PROFILE_NAMES, type ProfileName } from "../sim/profiles.ts";
import { runSimulation, type SimulationReport } from "../sim/simulation.ts";
import { defineCommand } from "./frame/command.ts";
import { usageError } from "./frame/strict.ts";

const isLedger = (profile: string): profile is LedgerProfileName =>
  (LEDGER_PROFILE_NAMES as string[]).includes(profile);

/** Notaries that no cheater is among: a panel of them judges. */
const HONEST_LEAST = 4;
/** Longer runs say nothing new, and virtual time is not free. */
const DURATION_MAX_MS = 24 * 3_600_000;

export const sim = defineCommand({
  summary: "Simulates a network under faults and checks its invariants",
  details:
    "Faults act for --duration of virtual time; then they end and the network must converge.\nProfiles ledger-*: the reward epochs, on a simulated chain, some with cheaters.\nExit code 0 ok, 127 crash, 128 liveness, 129 correctness. A seed repeats a run exactly.",
  examples: [
    { command: "magnet sim", does: "16 nodes, 10 virtual minutes, every fault" },
    { command: "magnet sim --seed 7 --nodes 32 --profile partition --json", does: "for scripts" },
    { command: "magnet sim --profile ledger-everything", does: "reward epochs, cheaters, reorgs" },
  ],
  args: {},
  flags: {
    seed: { type: "integer", min: 0, max: 2 ** 32 - 1, summary: "random unless given; printed" },
    nodes: { type: "integer", min: 1, max: 10_000, default: 16, summary: "size of the network" },
    duration: { type: "string", value: "TIME", default: "10m", summary: "of faults, virtual time" },
    profile: {
      type: "choice",
      options: [...PROFILE_NAMES, ...LEDGER_PROFILE_NAMES],
      default: "everything",
      summary: "which faults",
    },
  },
  // The simulator computes without a pause: a signal ends it as the system does.
  default_signals: true,
  async run({ out }, { flags }): Promise<ExitKind> {
    const duration_ms = parseDuration(flags.duration);
    if (duration_ms === undefined || duration_ms > DURATION_MAX_MS)
      throw usageError("BAD_VALUE", `--duration cannot be "${flags.duration}"`, "for example 10m");
    const { nodes, profile } = flags;
    const seed = flags.seed ?? systemRandom.below(2 ** 32);
    out.note(`seed ${seed}, ${nodes} nodes, profile ${profile}`);
    if (isLedger(profile)) {
      const least = LEDGER_PROFILES[profile].cheaters.length + HONEST_LEAST;
      if (nodes < least)
        throw usageError("BAD_VALUE", `--profile ${profile} needs ${least} nodes`, "give --nodes");
      const report = runLedgerSimulation({ seed, nodes, duration_ms, profile });
      out.result("sim", report, () => ledgerText(report));
      return exitKind(report.exit_code);
    }
    const report = runSimulation({ seed, nodes, duration_ms, profile: profile as ProfileName });
    out.result("sim", report, () => textOf(report));
    return exitKind(report.exit_code);
  },
});

function exitKind(code: number): ExitKind {
  const kinds = Object.keys(EXIT) as ExitKind[];
  return kinds.find((kind) => EXIT[kind] === code) ?? "failed";
}

function ledgerText(report: LedgerSimulationReport): string {
  const { ok, failure, trace, virtual_ms, events, messages, fingerprint } = report;
  const { epochs_final, epochs_rejected, minted, claimed } = report;
  const { slashes, reorgs, crashes, outages } = report;
  return [
    ok
      ? "ok: every invariant held, the honest were paid and the cheaters slashed"
      : `FAILED: ${failure}`,
    `${epochs_final} epochs final, ${epochs_rejected} roots rejected, ${slashes} slashes, minted ${minted}, claimed ${claimed}`,
    `${reorgs} reorganisations, ${crashes} crashes, ${outages} RPC outages`,
    `${events} events, ${messages} messages, ${(virtual_ms / 1000).toFixed(0)} s of virtual time`,
    `fingerprint ${fingerprint}`,
    ...(trace.length > 0 ? ["last events:", ...trace.map((line) => `  ${line}`)] : []),
  ].join("\n");
}

function textOf(report: SimulationReport): string {
  const { ok, failure, trace, virtual_ms, events, messages, rounds_promoted } = report;
  const { crashes, partitions, view_max, fingerprint } = report;
  return [
    ok ? "ok: every invariant held and the network converged" : `FAILED: ${failure}`,
    `${rounds_promoted} rounds promoted, ${crashes} crashes, ${partitions} partitions, highest view ${view_max}`,
    `${events} events, ${messages} messages, ${(virtual_ms / 1000).toFixed(0)} s of virtual time`,
    `fingerprint ${fingerprint}`,
    ...(trace.length > 0 ? ["last events:", ...trace.map((line) => `  ${line}`)] : []),
  ].join("\n");
}
