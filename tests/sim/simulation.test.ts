/** A hundred seeds of the whole node under faults, and the seeds that once found a bug. */
import { describe, expect, test } from "bun:test";
import { sha256 } from "../../src/core/bytes.ts";
import { walletVerifier } from "../../src/network/auth.ts";
import { identityOf } from "../../src/network/identity.ts";
import { PROFILE_NAMES, type ProfileName } from "../../src/sim/profiles.ts";
import { type KeySource, standInKeys } from "../../src/sim/sim-keys.ts";
import {
  runSimulation,
  type SimulationOptions,
  type SimulationReport,
} from "../../src/sim/simulation.ts";

/** Virtual length of the safety phase: several jobs and some faults of each kind. */
const DURATION_MS = 25_000;
const SEEDS_PER_PROFILE = 20;

function mustPass(options: SimulationOptions): SimulationReport {
  const report = runSimulation(options);
  if (!report.ok)
    throw new Error(
      [
        `seed ${report.seed} profile ${report.profile} nodes ${report.nodes}: ` +
          `exit ${report.exit_code}: ${report.failure}`,
        ...report.trace,
      ].join("\n"),
    );
  return report;
}

describe("16 nodes keep every invariant and make progress", () => {
  for (const profile of PROFILE_NAMES)
    test(`${SEEDS_PER_PROFILE} seeds of profile ${profile}`, () => {
      let promoted = 0;
      let struck = 0;
      for (let seed = 0; seed < SEEDS_PER_PROFILE; seed++) {
        const report = mustPass({ seed, nodes: 16, duration_ms: DURATION_MS, profile });
        promoted += report.rounds_promoted;
        struck += report.crashes + report.partitions;
      }
      expect(promoted).toBeGreaterThanOrEqual(3 * SEEDS_PER_PROFILE);
      // A profile that injects nothing would prove nothing.
      if (profile !== "calm" && profile !== "lossy") expect(struck).toBeGreaterThan(20);
    }, 60_000);
});

test("networks of 1 to 7 nodes pass under everything", () => {
  for (let seed = 0; seed < 21; seed++)
    mustPass({ seed, nodes: 1 + (seed % 7), duration_ms: 40_000, profile: "everything" });
}, 30_000);

/** Found bugs: each seed once failed, and is run for ever. */
const FOUND: { seed: number; nodes: number; profile: ProfileName; what: string }[] = [
  { seed: 5, nodes: 16, profile: "everything", what: "evicted the first state of a waiting job" },
  { seed: 2, nodes: 16, profile: "everything", what: "restarted with all bootstrap nodes gone" },
  { seed: 44, nodes: 3, profile: "partition", what: "restarted a job that had ended elsewhere" },
  { seed: 246, nodes: 5, profile: "crashes", what: "served no fetched blobs after a restart" },
  { seed: 230, nodes: 5, profile: "everything", what: "believed a dead leader that a job ended" },
  { seed: 76, nodes: 5, profile: "partition", what: "two nodes missed the end of a job" },
];
for (const { seed, nodes, profile, what } of FOUND)
  test(`found bug: ${what}`, () => {
    mustPass({ seed, nodes, duration_ms: nodes === 16 ? 60_000 : 40_000, profile });
  }, 20_000);

test("equal options give equal runs, event for event", () => {
  const options = { seed: 7, nodes: 7, duration_ms: 30_000, profile: "everything" } as const;
  const first = mustPass(options);
  expect(mustPass(options)).toEqual(first);
  expect(mustPass({ ...options, seed: 8 }).fingerprint).not.toBe(first.fingerprint);
});

test("every message passes its schema and limit as between processes", () => {
  for (const profile of ["crashes", "everything"] as const)
    mustPass({ seed: 3, nodes: 4, duration_ms: 20_000, profile, encode: true });
}, 20_000);

test("real secp256k1 signatures in place of the stand-ins", () => {
  const keys: KeySource = {
    signer: (index) => identityOf(sha256(`simulated node ${index}`)),
    verifier: walletVerifier,
  };
  const options = { seed: 1, nodes: 4, duration_ms: 4000, rounds: 1, keys, encode: true };
  const report = mustPass({ ...options, profile: "crashes" });
  expect(report.rounds_promoted).toBeGreaterThan(0);
}, 20_000);

describe("the invariants catch a broken node", () => {
  const options = { nodes: 5, duration_ms: 40_000, profile: "crashes" } as const;
  const failures = (sabotage: NonNullable<SimulationOptions["sabotage"]>) =>
    Array.from({ length: 5 }, (_, seed) => runSimulation({ ...options, seed, sabotage }));

  test("acknowledging without a durable promise is exit 129", () => {
    const reports = failures((effect) =>
      effect.type === "persist" && effect.key === "election" ? null : effect,
    );
    for (const report of reports) expect(report.exit_code).toBe(129);
    expect(reports[0]!.failure).toContain("without a durable promise");
    expect(reports[0]!.trace.length).toBeGreaterThan(10);
  });

  test("a network that never answers is exit 128", () => {
    const [report] = failures((effect) =>
      effect.type === "send" && effect.message.type === "election.ack" ? null : effect,
    );
    expect(report!.exit_code).toBe(128);
    expect(report!.failure).toContain("no progress");
  });

  test("a verifier that throws is a crash, exit 127", () => {
    const keys = standInKeys(1);
    const verify = () => {
      throw new Error("out of order");
    };
    const report = runSimulation({ ...options, seed: 1, keys: { ...keys, verifier: { verify } } });
    expect(report.exit_code).toBe(127);
    expect(report.failure).toContain("out of order");
  });
});
