/** Nodes that play the ledger against the others: each attack, and that it moves nothing. */
import { describe, expect, test } from "bun:test";
import { type Contribution, computeRecord } from "../../src/chain/ledger/compute-record.ts";
import { commitmentOf, revealDigest, settlementDigest } from "../../src/chain/ledger/digests.ts";
import type { EpochView, VerifiedReport } from "../../src/chain/ledger/ledger-types.ts";
import { commitTree } from "../../src/chain/ledger/merkle.ts";
import {
  type ContributionReport,
  EMPTY_FACTS,
  makeReport,
  reportBytes,
  reportHash,
} from "../../src/chain/ledger/report.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import type { Hash } from "../../src/core/types.ts";
import type { Identity } from "../../src/network/identity.ts";
import {
  addressOfKey,
  facts,
  keyOf,
  MachineBench,
  place,
  verifiedOf,
  viewOf,
  windowsOf,
} from "./machine-bench.ts";

const EPOCH = 12;
const [me, reporter, third] = [keyOf(1), keyOf(2), keyOf(3)];
const members = [me, reporter, third];
const NONCE = `0x${"7".repeat(64)}` as const;

const reportOf = (who: Identity, round = 3): ContributionReport => {
  const at = { chain_id: place.chain_id, contract: place.epochs };
  const { axis_weights } = viewOf(EPOCH, members);
  return makeReport(at, { epoch: EPOCH, node: addressOfKey(who) }, facts(round), axis_weights);
};
const textOf = (report: ContributionReport) => Buffer.from(reportBytes(report)).toString("utf8");
const openingOf = (report: ContributionReport) => ({
  ...{ result_hash: reportHash(report), score: BigInt(report.score), nonce: NONCE },
});
const revealOf = (who: Identity, report: ContributionReport) => ({
  ...{ node: addressOfKey(who), ...openingOf(report), matches: true },
});
const tell = (bench: MachineBench, from: Identity, type: string, body: unknown) =>
  bench.step({ type: "message", from: from.public_key, message: { type, body } });
const tellReport = (bench: MachineBench, from: Identity, report: ContributionReport) =>
  tell(bench, from, "ledger.report", { epoch: EPOCH, report: textOf(report) });

describe("reports", () => {
  /** Who is asked to be verified for the bytes that two nodes have opened. */
  const verified = (order: "before" | "after", owner: Identity, copier: Identity) => {
    const bench = new MachineBench(me);
    const report = reportOf(owner);
    bench.at(EPOCH, 95);
    const reveals = [owner, copier].map((who) => revealOf(who, report));
    const view = viewOf(EPOCH, members);
    bench.view(view);
    if (order === "before") tellReport(bench, owner, report);
    // The copier's opening is seen first.
    bench.view({ ...view, reveals: reveals.slice(1) });
    if (order === "after") tellReport(bench, owner, report);
    bench.view({ ...view, reveals });
    if (order === "after") tellReport(bench, owner, report);
    bench.step({ type: "tick" });
    return bench.effects.flatMap((e) => (e.type === "verify_report" ? [e.node] : []));
  };

  test("two nodes that open the same bytes are not told apart differently by different nodes", () => {
    for (const order of ["before", "after"] as const) {
      expect(verified(order, reporter, third)).toEqual([addressOfKey(reporter)]);
      expect(verified(order, third, reporter)).toEqual([addressOfKey(third)]);
    }
  });

  test("before an opening is seen, only the reports of registered nodes are kept", () => {
    const bench = new MachineBench(me);
    bench.at(EPOCH, 95);
    const view = viewOf(EPOCH, members);
    bench.view(view);
    const report = reportOf(reporter);
    tellReport(bench, keyOf(9), report);
    bench.view({ ...view, reveals: [revealOf(reporter, report)] });
    expect(bench.status(EPOCH).reports).toEqual({ revealed: 1, here: 0, verified: 0 });
    tellReport(bench, keyOf(9), report);
    expect(bench.status(EPOCH).reports).toEqual({ revealed: 1, here: 1, verified: 0 });
  });
});

test("a second opening, signed but not what was committed to, takes nobody's place", () => {
  const bench = new MachineBench(me, 1);
  const report = reportOf(reporter);
  const commitment = commitmentOf(place, EPOCH, addressOfKey(reporter), openingOf(report));
  const set = [{ node: addressOfKey(reporter), commitment }];
  const { root } = commitTree(set);
  const proposer = addressOfKey(me);
  const view: EpochView = { ...viewOf(EPOCH, members), commit_root: { root, count: 1, proposer } };
  const say = (opening: ReturnType<typeof openingOf>) => {
    const signature = reporter.sign(revealDigest(place, EPOCH, opening));
    const { public_key } = reporter;
    const body = { epoch: EPOCH, public_key, ...opening, score: `${opening.score}`, signature };
    tell(bench, reporter, "ledger.reveal", body);
    bench.step({ type: "tick" });
    return bench.status(EPOCH).reports.revealed;
  };
  bench.at(EPOCH, 95);
  bench.view(view);
  const nodes = set.map((one) => one.node);
  tell(bench, me, "ledger.commit_set", { epoch: EPOCH, root, nodes, commitments: [commitment] });
  expect(say({ ...openingOf(report), score: 1n })).toBe(0);
  expect(say(openingOf(report))).toBe(1);
  expect(say({ ...openingOf(report), score: 2n })).toBe(1);
});

test("of one notary's other records no more are fetched than an honest one makes", () => {
  const bench = new MachineBench(me);
  const view = { ...viewOf(EPOCH, members), reveals: [revealOf(reporter, reportOf(reporter))] };
  bench.at(EPOCH, 95);
  bench.view(view);
  tellReport(bench, reporter, reportOf(reporter));
  const { result_hash } = openingOf(reportOf(reporter));
  const verified = verifiedOf(facts(3));
  bench.step({ type: "report_verified", epoch: EPOCH, result_hash, verified });
  bench.at(EPOCH, 181);
  for (let i = 0; i < 40; i++) {
    const data_hash = sha256Hex(`nothing ${i}`) as Hash;
    const word = `0x${data_hash}` as const;
    const outcome = { epoch: EPOCH, parent: word, root: word, total: 1n, count: 1, data_hash };
    const signature = third.sign(settlementDigest(place, outcome));
    const body = { ...outcome, total: "1", public_key: third.public_key, signature };
    tell(bench, third, "ledger.signature", body);
  }
  expect(bench.effects.filter((e) => e.type === "fetch_record").length).toBe(8);
});

test("bytes that are no record are dropped from the disk", () => {
  const bench = new MachineBench(me);
  const data_hash = sha256Hex("garbage") as Hash;
  const out = bench.step({ type: "record_fetched", data_hash, bytes: Buffer.from("garbage") });
  expect(out).toContainEqual({ type: "drop_records", data_hashes: [data_hash] });
});

describe("an honest proposer", () => {
  /** This node has verified both reports; the settled record leaves out the third node's. */
  const judged = (third_verified: Partial<VerifiedReport>) => {
    const bench = new MachineBench(me);
    const reports = [reportOf(reporter), reportOf(third, 4)];
    const reveals = [revealOf(reporter, reports[0]!), revealOf(third, reports[1]!)];
    const view = { ...viewOf(EPOCH, members), reveals };
    bench.at(EPOCH, 95);
    bench.view(view);
    for (const [i, report] of reports.entries()) {
      tellReport(bench, reporter, report);
      const change = i === 1 ? third_verified : {};
      const verified = { ...verifiedOf(report.facts), ...change };
      bench.step({
        ...{ type: "report_verified", epoch: EPOCH, result_hash: reportHash(report), verified },
      });
    }
    const node = view.nodes.find((one) => one.address === addressOfKey(reporter))!;
    const [report] = reports as [ContributionReport];
    const verified = verifiedOf(report.facts);
    const one = { node, result_hash: reportHash(report), report, verified };
    const settled = computeRecord(place, view, null, [one])!;
    const { root, total, count, data_hash } = settled.outcome;
    const settled_at_s = windowsOf(EPOCH).commit_start_s + 185;
    const settlement = {
      ...{ root, total, count, data_hash, proposer: node.address, settled_at_s },
      ...{ disputes: 0, rejected: false, final: false, signers: [node.address] },
    };
    bench.at(EPOCH, 190);
    bench.view({ ...view, settlement });
    bench.step({ type: "record_fetched", data_hash, bytes: settled.bytes });
    bench.at(EPOCH, 280);
    return [...bench.calls.values()].some((call) => call.method === "challenge");
  };

  test("is challenged for leaving out a report that everybody could check", () => {
    expect(judged({})).toBe(true);
  });

  test("but not for one that names rounds of which nobody has a proof", () => {
    expect(judged({ is_unproven: true })).toBe(false);
  });
});

describe("the record", () => {
  const view = viewOf(EPOCH, [1, 2, 3, 4].map(keyOf));
  const STATE = sha256Hex("state") as Hash;
  const evaluator = (i: number, loss_micronats: number, bond: bigint): Contribution => {
    const node = { ...view.nodes[i]!, bond };
    const evaluation = { round: 5, state_hash: STATE, loss_micronats };
    const at = { chain_id: place.chain_id, contract: place.epochs };
    const given = { ...EMPTY_FACTS, model_quality: [evaluation] };
    const about = { epoch: EPOCH, node: node.address };
    const report = makeReport(at, about, given, view.axis_weights);
    const verified = { ...verifiedOf(given), evaluations: [evaluation] };
    return { node, result_hash: reportHash(report), report, verified };
  };

  test("follows from the reports that it names: whoever gets nothing moves no median", () => {
    const all = [
      evaluator(0, 4_000_000, 32n),
      evaluator(1, 4_000_100, 30n),
      // Inside the clip of the second loss, outside that of the first.
      evaluator(2, 4_080_050, 1n),
      // Outside of every clip; its weight would make the second loss the median.
      evaluator(3, 9_000_000, 5n),
    ];
    const record = computeRecord(place, view, null, all)!;
    const named = new Set(record.record.entries.map(({ address }) => address));
    expect(named.has(all[3]!.node.address)).toBe(false);
    const again = computeRecord(
      ...[place, view, null],
      all.filter(({ node }) => named.has(node.address)),
    )!;
    expect(again.outcome).toEqual(record.outcome);
  });

  test("never grows beyond what everybody can read: known accounts first, then the highest scores", () => {
    const trainer = (i: number, steps: number): Contribution => {
      const node = view.nodes[i]!;
      const given = facts(7, steps);
      const at = { chain_id: place.chain_id, contract: place.epochs };
      const about = { epoch: EPOCH, node: node.address };
      const report = makeReport(at, about, given, view.axis_weights);
      return { node, result_hash: reportHash(report), report, verified: verifiedOf(given) };
    };
    const limits = { entries: 3, accounts: 3 };
    const first = computeRecord(place, view, null, [trainer(0, 100)], limits)!;
    const all = [trainer(1, 200), trainer(2, 400), trainer(3, 300)];
    const second = computeRecord(place, view, first, all, limits)!;
    const addresses = second.record.accounts.map(({ address }) => address);
    const expected = [0, 2, 3].map((i) => view.nodes[i]!.address).sort();
    expect(addresses).toEqual(expected);
    expect(second.outcome.total).toBe(view.pool);
  });

  test("pays a server that pays itself no more than that costs it, whatever its tier", () => {
    const pool = 1000n * 10n ** 18n;
    const trained = facts(7, 1000);
    const about = { chain_id: place.chain_id, contract: place.epochs };
    const made = (i: number, tokens: number, tier: "claude_session" | "cpu_only"): Contribution => {
      const node = { ...view.nodes[i]!, tier };
      const receipt = { payer: node.address, payment_nonce: NONCE, tokens };
      const serving = [{ ...receipt, signature: "5".repeat(130) }];
      const given = tokens > 0 ? { ...EMPTY_FACTS, serving } : trained;
      const report = makeReport(about, { epoch: EPOCH, node: node.address }, given, [
        ...view.axis_weights,
      ]);
      const verified = { ...verifiedOf(given), serving: BigInt(tokens) };
      return { node, result_hash: reportHash(report), report, verified };
    };
    for (const tokens of [1000, 10 ** 6, 10 ** 9, 10 ** 12]) {
      const list = [
        made(0, 0, "cpu_only"),
        made(1, tokens, "claude_session"),
        made(2, 9, "cpu_only"),
      ];
      const { entries } = computeRecord(place, { ...view, pool }, null, list)!.record;
      const washed = entries.find(({ address }) => address === view.nodes[1]!.address);
      // A fifth of a millionth of a MAG a token goes to the treasury and is burned.
      const cost = BigInt(tokens) * 2n * 10n ** 11n;
      expect(washed?.reward ?? 0n).toBeLessThanOrEqual(cost + cost / 1000n);
      expect(entries.reduce((sum, { reward }) => sum + reward, 0n)).toBe(pool);
    }
  });
});
