/**
 * The contracts' own tests, run by forge as `bun contracts/test.ts` runs them: 256 runs of each fuzzed
 * test, the invariants at depth 100, the committed gas. Besides: mutants of three contracts are killed
 * (all of them by `bun contracts/mutate.ts`), and the agents compute rewards and trees to the unit as
 * the vectors that the Solidity tests claim.
 */
import { expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { forge, ROOT } from "../../contracts/forge.ts";
import { ATTACKS, MUTANTS } from "../../contracts/mutants.ts";
import { mutate, prepare, tryMutant, workshop } from "../../contracts/mutate.ts";
import { rewardVectors } from "../../contracts/tools/reward-vectors.ts";
import { balanceTree } from "../../src/chain/ledger/merkle.ts";
import { divideRewards } from "../../src/chain/ledger/rewards.ts";
import { TIERS } from "../../src/core/tiers.ts";

/** Compiling all contracts and tests from nothing takes half a minute of one core. */
const LONG_MS = 600_000;
const here = process.platform === "linux" && process.arch === "x64";
if (!here)
  process.stderr.write("contracts: forge comes for Linux on x86-64 only; not tested here\n");

test.skipIf(!here)(
  "forge passes all tests of the contracts, with the gas that is committed",
  async () => {
    const environment = { FORGE_SNAPSHOT_CHECK: "true", FORGE_SNAPSHOT_EMIT: "false" };
    const { code, stdout, stderr } = await forge(["test", "--fuzz-runs", "256"], { environment });
    if (code !== 0) throw new Error(`forge ended with code ${code}:\n${stderr}${stdout}`);
    // Not an empty run: the suites that must be there.
    for (const suite of ["LedgerInvariants", "GasSnapshotTest", "RootAttacks", "RewardTest"])
      expect(stdout).toContain(`:${suite}`);
    const invariants = stdout.match(/\[PASS\] invariant\w+\(\) \(runs: \d+, calls: \d+/g) ?? [];
    expect(invariants.length).toBeGreaterThanOrEqual(15);
  },
  LONG_MS,
);

test("every attack has a mutant, and every mutant fits its contract", () => {
  for (const attack of ATTACKS) expect(MUTANTS.map((mutant) => mutant.attack)).toContain(attack);
  for (const mutant of MUTANTS) {
    const source = fs.readFileSync(path.join(ROOT, "contracts/src", mutant.file), "utf8");
    expect(mutate(source, mutant)).not.toBe(source);
  }
});

test.skipIf(!here)(
  "mutants are killed",
  async () => {
    const some = ["the author is not bound", "an authorization is not used up", "what unbonds is"];
    const mutants = MUTANTS.filter(({ weakness }) => some.some((text) => weakness.includes(text)));
    expect(mutants.length).toBe(some.length);
    const root = workshop();
    try {
      await prepare(root, mutants);
      for (const mutant of mutants)
        expect(await tryMutant(root, mutant)).toMatchObject({ killed: true });
    } finally {
      fs.rmSync(root, { recursive: true, force: true });
    }
  },
  LONG_MS,
);

test("the agents' rewards and trees are those that the Solidity tests claim", () => {
  const file = path.join(ROOT, "contracts/test/vectors/rewards.json");
  const text = fs.readFileSync(file, "utf8");
  // The file is what its program writes.
  expect(rewardVectors()).toBe(text);
  const vectors = JSON.parse(text) as {
    pool: string;
    addresses: `0x${string}`[];
    epochs: {
      tiers: string[];
      scores: string[];
      rewards: string[];
      cumulative: string[];
      root: string;
    }[];
    proofs: string[][];
  };
  const tier_rewards = [3000, 1000, 300, 301, 100];
  const sums = vectors.addresses.map(() => 0n);
  const earned = () =>
    vectors.addresses
      .map((address, i) => ({ address, cumulative: sums[i]! }))
      .filter(({ cumulative }) => cumulative > 0n);
  for (const epoch of vectors.epochs) {
    const shares = vectors.addresses.map((address, i) => ({
      address,
      tier: TIERS[tier_rewards.indexOf(Number(epoch.tiers[i]))]!,
      score: BigInt(epoch.scores[i]!),
    }));
    const rewards = divideRewards(BigInt(vectors.pool), shares, tier_rewards);
    expect(rewards.map(String)).toEqual(epoch.rewards);
    rewards.forEach((reward, i) => {
      sums[i]! += reward;
    });
    expect(sums.map(String)).toEqual(epoch.cumulative);
    expect(balanceTree(earned()).root).toBe(epoch.root as `0x${string}`);
  }
  const tree = balanceTree(earned());
  vectors.addresses.forEach((address, i) => {
    const proof = sums[i] === 0n ? [] : tree.proof(address);
    expect(proof as string[]).toEqual(vectors.proofs[i]!);
  });
});
