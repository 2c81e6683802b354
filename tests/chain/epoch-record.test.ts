/** The epoch record: computed twice independently, canonical, chained, limited; 10,000 nodes in time. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Contribution, computeRecord } from "../../src/chain/ledger/compute-record.ts";
import {
  claimOf,
  cumulativeOf,
  NO_RECORD,
  parseRecord,
  type SealedRecord,
} from "../../src/chain/ledger/epoch-record.ts";
import type { Address, LedgerPlace } from "../../src/chain/ledger/ledger-types.ts";
import { leafHash, verifyProof } from "../../src/chain/ledger/merkle.ts";
import {
  type ContributionFacts,
  EMPTY_FACTS,
  makeReport,
  parseReport,
  REPORT_BYTES_MAX,
  reportBytes,
  reportError,
  reportHash,
} from "../../src/chain/ledger/report.ts";
import { canonicalJson, sha256Hex } from "../../src/core/bytes.ts";
import { seededRandom } from "../../src/core/random.ts";
import { TIERS } from "../../src/core/tiers.ts";
import type { Hash } from "../../src/core/types.ts";
import { secondRewards, secondRoot } from "./second-computation.ts";

const TIER_REWARDS = [3000, 1000, 300, 300, 100];
const WEIGHTS = [1000, 5000, 2000, 1000, 1000];
const place: LedgerPlace = {
  chain_id: 31_337,
  epochs: `0x${"e".repeat(40)}`,
  disputes: `0x${"d".repeat(40)}`,
  ...{ genesis_s: 1_800_000_000, epoch_seconds: 600 },
};
const terms = (epoch: number, pool = 10n ** 21n) => ({
  ...{ epoch, pool, tier_rewards: TIER_REWARDS, axis_weights: WEIGHTS },
});
const addressOf = (n: number): Address => `0x${sha256Hex(`account ${n}`).slice(0, 40)}`;
const hashOf = (text: string): Hash => sha256Hex(text) as Hash;

/** A node that trained `rounds` with so many steps on a model of 5 million parameters. */
function trained(n: number, rounds: readonly number[], steps = 100): Contribution {
  const training_compute = rounds.map((round) => ({
    ...{ round, inner_steps: steps, parameters: 5_000_000 },
    merge_hash: hashOf(`merge ${round}`),
  }));
  const facts: ContributionFacts = { ...EMPTY_FACTS, training_compute };
  return contribution(n, facts);
}

function contribution(n: number, facts: ContributionFacts): Contribution {
  const node = {
    ...{ address: addressOf(n), node_id: hashOf(`node ${n}`), bond: 30n },
    tier: TIERS[n % TIERS.length]!,
  };
  const at = { chain_id: place.chain_id, contract: place.epochs };
  const report = makeReport(at, { epoch: 0, node: node.address }, facts, WEIGHTS);
  const rounds = facts.training_compute.map((fact) => ({
    round: fact.round,
    amount: BigInt(fact.inner_steps) * BigInt(fact.parameters),
  }));
  const verified = {
    ...{ rounds, evaluations: facts.model_quality as never },
    ...{ data_quality: 0n, storage: 0n, serving: 0n },
  };
  return { node, result_hash: reportHash(report), report, verified };
}

test("rewards and root equal those of the second, independent computation", () => {
  const node = fc.record({
    n: fc.integer({ min: 0, max: 10 ** 6 }),
    steps: fc.integer({ min: 1, max: 3000 }),
    storage: fc.bigInt(0n, 10n ** 15n),
    serving: fc.bigInt(0n, 10n ** 6n),
    data: fc.integer({ min: -1000, max: 10 ** 6 }),
  });
  const nodesArb = fc.uniqueArray(node, { minLength: 1, maxLength: 33, selector: (one) => one.n });
  const holds = fc.property(nodesArb, fc.bigInt(1n, 10n ** 21n), (nodes, pool) => {
    let base: SealedRecord | null = null;
    const balances = new Map<Address, bigint>();
    for (const epoch of [0, 1]) {
      const present = nodes.filter((_, i) => epoch === 0 || i % 3 !== 0);
      if (present.length === 0) continue;
      const list = present.map((one) => {
        const made = trained(one.n, [epoch], one.steps);
        // The axes that a verifier sums up itself; the claim is made as large.
        const { storage, serving } = one;
        const data_quality = BigInt(Math.max(0, one.data));
        made.report.facts = { ...made.report.facts, ...claims(one.n, one) };
        return { ...made, verified: { ...made.verified, data_quality, storage, serving } };
      });
      const sharers = present.map((one) => ({
        address: addressOf(one.n),
        tier_reward: BigInt(TIER_REWARDS[one.n % 5]!),
        amounts: [
          BigInt(Math.max(0, one.data)),
          BigInt(one.steps) * 5_000_000n,
          0n,
          least(one.storage, STORED),
          one.serving,
        ] as [bigint, bigint, bigint, bigint, bigint],
      }));
      const record: SealedRecord = computeRecord(place, terms(epoch, pool), base, list)!;
      const rewards = secondRewards(pool, WEIGHTS, sharers);
      for (const { address, reward } of record.record.entries)
        expect(reward).toBe(rewards.get(address)!);
      for (const [address, reward] of rewards)
        if (reward > 0n) balances.set(address, (balances.get(address) ?? 0n) + reward);
      expect(record.outcome.root).toBe(secondRoot(balances));
      expect(record.outcome.total).toBe(pool);
      expect(record.outcome.count).toBe(balances.size);
      base = record;
    }
  });
  fc.assert(holds, { numRuns: 60 });
});

const least = (a: bigint, b: bigint): bigint => [a, b].sort((x, y) => (x < y ? -1 : 1))[0]!;
/** One shard of a TiB held for a thousand seconds: above every amount drawn here. */
const STORED = 2n ** 40n * 1000n;
const claims = (n: number, one: { data: number; serving: bigint }) => ({
  data_quality: [
    {
      ...{ record_id: n, content_hash: hashOf(`set ${n}`) },
      loss_drops_micronats: [one.data, one.data, one.data] as [number, number, number],
    },
  ],
  storage: [
    {
      ...{ object: "o", shard_index: 0, size_bytes: 2 ** 40, held_s: 1000 },
      ...{ auditor: `02${"ab".repeat(32)}` as never, signature: "00".repeat(65) },
    },
  ],
  serving:
    one.serving === 0n
      ? []
      : [
          {
            ...{ payer: addressOf(n), payment_nonce: `0x${"5".repeat(64)}` as const },
            ...{ tokens: Number(one.serving), signature: "00".repeat(65) },
          },
        ],
});

test("what an earlier record paid is not paid again, and balances grow", () => {
  const first = computeRecord(place, terms(4), null, [trained(1, [0, 1]), trained(2, [1])])!;
  expect(first.record.previous).toBe(NO_RECORD);
  expect(first.record.accounts.map((a) => a.last_round)).toEqual([1, 1]);
  // Node 1 claims an old round beside a new one; node 2 nothing but an old one.
  const claimed = [trained(1, [1, 2]), trained(2, [0, 1])];
  const second = computeRecord(place, terms(5), first, claimed)!;
  expect(second.record.previous).toBe(first.outcome.data_hash);
  expect(second.record.entries.map((entry) => entry.address)).toEqual([addressOf(1)]);
  expect(second.record.entries[0]!.points[1]).toBe(500n);
  const earned = [1, 2].map((n) => cumulativeOf(second.record, addressOf(n)));
  expect(earned[0]! + earned[1]!).toBe(2n * 10n ** 21n);
  expect(earned[1]).toBe(cumulativeOf(first.record, addressOf(2)));
  expect(computeRecord(place, terms(6), second, claimed)).toBeNull();
});

test("a verification above the claim does not count, nor does a round that was not claimed", () => {
  const honest = trained(1, [0]);
  const generous = trained(2, [0]);
  generous.verified = {
    ...generous.verified,
    rounds: [
      { round: 0, amount: 10n ** 18n },
      { round: 1, amount: 10n ** 18n },
    ],
    serving: 10n ** 9n,
  };
  const { entries } = computeRecord(place, terms(0), null, [honest, generous])!.record;
  expect(entries.map((entry) => entry.points)).toEqual([
    [0n, 500n, 0n, 0n, 0n],
    [0n, 500n, 0n, 0n, 0n],
  ]);
});

test("a state's evaluators share its points once; a later epoch pays nothing for it", () => {
  const state_hash = hashOf("state");
  const model_quality = [{ round: 7, state_hash, loss_micronats: 2_000_000 }];
  const evaluators = [1, 2].map((n) => contribution(n, { ...EMPTY_FACTS, model_quality }));
  const first = computeRecord(place, terms(0), null, evaluators)!;
  expect(first.record.entries.map((entry) => entry.points[2])).toEqual([500n, 500n]);
  expect(first.record.evaluated_round).toBe(7);
  const late = contribution(3, { ...EMPTY_FACTS, model_quality });
  expect(computeRecord(place, terms(1), first, [late])).toBeNull();
});

test("a record is read back from its bytes, and from no others", () => {
  const sealed = computeRecord(
    place,
    terms(3),
    null,
    [1, 2, 3].map((n) => trained(n, [n])),
  )!;
  const { bytes, record, outcome } = sealed;
  expect(outcome.data_hash).toBe(sha256Hex(bytes) as Hash);
  expect(parseRecord(bytes)).toEqual(sealed);
  const text = Buffer.from(bytes).toString("utf8");
  const value = JSON.parse(text);
  const bad = [
    "",
    "{}",
    "[".repeat(10_000),
    text.replace("{", "{ "),
    text.replace('"version":1', '"version":2'),
    canonicalJson({ ...value, extra: 1 }),
    canonicalJson({ ...value, entries: [...value.entries].reverse() }),
    canonicalJson({ ...value, accounts: [value.accounts[0], ...value.accounts] }),
    canonicalJson({ ...value, accounts: [{ ...value.accounts[0], cumulative: "0" }] }),
    text.replace(/"reward":"/, '"reward":"0'),
    text.replace(/"reward":"\d+"/, `"reward":"${2n ** 128n}"`),
    text.replace(record.entries[0]!.address, record.entries[0]!.address.toUpperCase()),
  ];
  for (const changed of bad) expect(parseRecord(Buffer.from(changed))).toBeUndefined();
});

test("a claim carries the cumulative balance and its proof", () => {
  const sealed = computeRecord(
    place,
    terms(3),
    null,
    [1, 2, 3].map((n) => trained(n, [n])),
  )!;
  const claim = claimOf(sealed, addressOf(2))!;
  const leaf = leafHash(addressOf(2), claim.cumulative);
  expect(verifyProof(sealed.outcome.root, leaf, claim.proof)).toBe(true);
  expect(claimOf(sealed, addressOf(9))).toBeNull();
});

test("a report is read back from its canonical text only, and its score is that of its facts", () => {
  const { report, result_hash } = trained(1, [1, 2]);
  expect(report.score).toBe("5000000");
  const text = canonicalJson(report);
  expect(parseReport(text)).toEqual(report);
  expect(sha256Hex(reportBytes(report))).toBe(result_hash);
  const bad = [
    "null",
    ` ${text}`,
    text.replace("inner_steps", "inner_step"),
    text.replace('"version":1', '"version":1.5'),
    text.replace(report.node, report.node.toUpperCase()),
    `"${"x".repeat(REPORT_BYTES_MAX)}"`,
  ];
  for (const changed of bad) expect(parseReport(changed)).toBeUndefined();
  expect(reportError(report, WEIGHTS)).toBeUndefined();
  expect(reportError({ ...report, score: "5000001" }, WEIGHTS)).toContain("score");
  const twice = report.facts.training_compute.map((fact) => ({ ...fact, round: 1 }));
  const facts = { ...report.facts, training_compute: twice };
  expect(reportError({ ...report, facts }, WEIGHTS)).toContain("twice");
});

test("10,000 nodes: from reports to the root in less than 2 s on one core", () => {
  const random = seededRandom(1);
  const list = Array.from({ length: 10_000 }, (_, n) =>
    trained(n, [n % 50], 1 + random.below(500)),
  );
  const started = process.cpuUsage();
  const sealed = computeRecord(place, terms(0), null, list)!;
  const { user, system } = process.cpuUsage(started);
  const seconds = (user + system) / 1e6;
  process.stderr.write(`10,000 nodes: record and root in ${seconds.toFixed(2)} s of CPU time\n`);
  expect(sealed.outcome.total).toBe(10n ** 21n);
  expect(sealed.record.entries).toHaveLength(10_000);
  expect(seconds).toBeLessThan(2);
});
