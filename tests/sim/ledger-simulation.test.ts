/**
 * The ledger of a whole network on a simulated chain: every profile passes, runs repeat exactly, and
 * the invariants catch machines that are broken on purpose.
 */
import { describe, expect, test } from "bun:test";
import type { LedgerEffect } from "../../src/chain/ledger/ledger-types.ts";
import { sha256 } from "../../src/core/bytes.ts";
import { walletVerifier } from "../../src/network/auth.ts";
import { identityOf } from "../../src/network/identity.ts";
import { LEDGER_PROFILE_NAMES } from "../../src/sim/ledger/ledger-profiles.ts";
import {
  type LedgerSimulationOptions,
  type LedgerSimulationReport,
  runLedgerSimulation,
} from "../../src/sim/ledger/ledger-simulation.ts";

/** More seeds by LEDGER_SEEDS, for a long run outside of CI. */
const SEEDS = Number(process.env.LEDGER_SEEDS ?? 1);

function mustPass(options: LedgerSimulationOptions): LedgerSimulationReport {
  const report = runLedgerSimulation(options);
  if (!report.ok) process.stderr.write(`${report.failure}\n${report.trace.join("\n")}\n`);
  expect({ seed: options.seed, failure: report.failure }).toEqual({
    seed: options.seed,
    failure: null,
  });
  return report;
}

for (const profile of LEDGER_PROFILE_NAMES)
  test(
    `${profile}: the honest are paid to the unit, the cheaters slashed`,
    () => {
      for (let seed = 1; seed <= SEEDS; seed++) {
        const nodes = profile.includes("cheat") || profile.includes("every") ? 11 : 5;
        // Long enough for a colluder to be drawn as proposer.
        const duration_ms = profile === "ledger-cheaters" ? 1_000_000 : 250_000;
        const report = mustPass({ seed, nodes, duration_ms, profile });
        expect(report.epochs_final).toBeGreaterThanOrEqual(3);
        expect(BigInt(report.claimed)).toBeGreaterThan(0n);
        if (profile === "ledger-calm") expect(report.slashes).toBe(0);
        if (profile === "ledger-cheaters") expect(report.epochs_rejected).toBeGreaterThan(0);
      }
    },
    60_000 * SEEDS,
  );

test("equal options give equal runs, event for event", () => {
  const options = { seed: 3, nodes: 4, duration_ms: 250_000, profile: "ledger-rough" } as const;
  const first = mustPass(options);
  expect(mustPass(options)).toEqual(first);
  expect(mustPass({ ...options, seed: 4 }).fingerprint).not.toBe(first.fingerprint);
}, 30_000);

test("real secp256k1 signatures in place of the stand-ins", () => {
  const keys = {
    signer: (index: number) => identityOf(sha256(`simulated node ${index}`)),
    verifier: walletVerifier,
  };
  const options = { seed: 1, nodes: 4, duration_ms: 250_000, keys };
  mustPass({ ...options, profile: "ledger-batch" });
}, 30_000);

describe("the invariants catch a broken node", () => {
  const options = { seed: 1, nodes: 4, duration_ms: 100_000, profile: "ledger-calm" } as const;
  const broken = (sabotage: (effect: LedgerEffect, node: number) => LedgerEffect | null) =>
    runLedgerSimulation({ ...options, sabotage });
  const call = (effect: LedgerEffect) => (effect.type === "submit" ? effect.call : undefined);

  test("a node that does not open what it committed to", () => {
    const report = broken((effect, node) =>
      node === 2 && call(effect)?.method === "reveal" ? null : effect,
    );
    expect(report.exit_code).toBe(129);
    expect(report.failure).toContain("slashed for no_reveal");
  });

  test("a node that opens another score", () => {
    const report = broken((effect, node) => {
      const made = call(effect);
      if (node !== 2 || effect.type !== "submit" || made?.method !== "reveal") return effect;
      return { ...effect, call: { ...made, score: made.score + 1n } };
    });
    expect(report.exit_code).toBe(129);
    expect(report.failure).toContain("slashed for mismatch");
  });

  test("notaries that never sign: nothing is settled, exit 128", () => {
    const report = broken((effect) =>
      "message" in effect && effect.message.type === "ledger.signature" ? null : effect,
    );
    expect(report.exit_code).toBe(128);
    expect(report.failure).toContain("signatures");
  });

  test("nodes that never claim: exit 128", () => {
    const report = broken((effect) => (call(effect)?.method === "claim" ? null : effect));
    expect(report.exit_code).toBe(128);
    expect(report.failure).toContain("has claimed 0");
  });
});
