/** One epoch machine step by step: windows, reasons, restarts, reorganisations, outages, evidence. */
import { describe, expect, test } from "bun:test";
import { commitDigest, commitmentOf, revealDigest } from "../../src/chain/ledger/digests.ts";
import type { EpochView, Hex } from "../../src/chain/ledger/ledger-types.ts";
import { canonicalJson } from "../../src/core/bytes.ts";
import type { Hash } from "../../src/core/types.ts";
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

const [me, other] = [keyOf(1), keyOf(2)];
const members = [me, other];
const EPOCH = 12;

/** A machine that has been asked for its facts of the epoch and has given them. */
function committing(direct_nodes_max = 64): { bench: MachineBench; view: EpochView } {
  const bench = new MachineBench(me, direct_nodes_max);
  const view = viewOf(EPOCH, members);
  bench.at(EPOCH, 5);
  bench.view(view);
  bench.step({ type: "facts", epoch: EPOCH, facts: facts(3) });
  return { bench, view };
}

const commitmentIn = (bench: MachineBench): Hex => {
  const call = bench.calls.get(`commit:${EPOCH}`);
  if (call?.method !== "commit") throw new Error("nothing was committed");
  return call.commitment;
};

const withCommit = (view: EpochView, bench: MachineBench): EpochView => ({
  ...view,
  commits: [{ node: bench.address, commitment: commitmentIn(bench), punished: false }],
});

describe("the own share", () => {
  test("is committed in its window, after it is durable, and never before the facts are known", () => {
    const bench = new MachineBench(me);
    bench.at(EPOCH, -1);
    bench.view(viewOf(EPOCH, members));
    expect(bench.status(EPOCH)).toMatchObject({
      phase: "collecting",
      reason: "the epoch ends in 1 s",
    });
    bench.at(EPOCH, 0);
    expect(bench.effects.filter((effect) => effect.type === "gather_facts")).toHaveLength(1);
    expect(bench.calls.size).toBe(0);
    const out = bench.step({ type: "facts", epoch: EPOCH, facts: facts(3) });
    const order = out.map((effect) => effect.type);
    expect(order.indexOf("persist")).toBeLessThan(order.indexOf("submit"));
    expect(bench.status(EPOCH).phase).toBe("committing");
  });

  test("is opened from the first second of the reveal window on, not before", () => {
    const { bench, view } = committing();
    bench.view(withCommit(view, bench));
    expect(bench.status(EPOCH)).toMatchObject({ phase: "committed", reason: "opens in 85 s" });
    bench.at(EPOCH, 89);
    expect(bench.calls.has(`reveal:${EPOCH}`)).toBe(false);
    expect(bench.said("ledger.report")).toHaveLength(0);
    bench.at(EPOCH, 90);
    const call = bench.calls.get(`reveal:${EPOCH}`);
    if (call?.method !== "reveal") throw new Error("not opened");
    const opening = { ...call, result_hash: call.result_hash.slice(2) as Hash };
    expect(commitmentOf(place, EPOCH, bench.address, opening)).toBe(commitmentIn(bench));
    expect(bench.said("ledger.report")).toHaveLength(1);
  });

  test("a reveal missed by 40 s says so, and by how much, for good", () => {
    const { bench, view } = committing();
    bench.view(withCommit(view, bench));
    bench.step({ type: "chain_down", reason: "connection refused" });
    expect(bench.status(EPOCH).reason).toContain("(no chain)");
    bench.at(EPOCH, 220);
    expect(bench.status(EPOCH)).toMatchObject({
      phase: "missed",
      reason: "no share in epoch 12: reveal missed by 40 s",
    });
    bench.at(EPOCH, 400);
    expect(bench.status(EPOCH).reason).toBe("no share in epoch 12: reveal missed by 40 s");
    expect(bench.calls.has(`reveal:${EPOCH}`)).toBe(false);
  });

  test("every other way to no share has its reason", () => {
    const late = new MachineBench(me);
    late.at(EPOCH, 100);
    late.view(viewOf(EPOCH, members));
    expect(late.status(EPOCH).reason).toBe("no share in epoch 12: commitment missed by 10 s");
    const stranger = new MachineBench(keyOf(9));
    stranger.at(EPOCH, 5);
    stranger.view(viewOf(EPOCH, members));
    expect(stranger.status(EPOCH).reason).toContain("this node was not an active one");
    const idle = new MachineBench(me);
    idle.at(EPOCH, 5);
    idle.view(viewOf(EPOCH, members));
    const nothing = { ...facts(0), training_compute: [] };
    idle.step({ type: "facts", epoch: EPOCH, facts: nothing });
    expect(idle.status(EPOCH).reason).toContain("has contributed nothing that counts");
    expect(idle.calls.size).toBe(0);
    const { bench, view } = committing();
    const foreign = {
      node: bench.address,
      commitment: `0x${"1".repeat(64)}` as Hex,
      punished: false,
    };
    bench.view({ ...view, commits: [foreign] });
    expect(bench.status(EPOCH).reason).toContain("another commitment of this node is on the chain");
  });

  test("a reverted commitment is tried again while its window is open, under another key", () => {
    const { bench } = committing();
    const key = `commit:${EPOCH}`;
    bench.step({ type: "transaction", key, status: "reverted", reason: "OutOfGas" });
    expect(bench.status(EPOCH).reason).toBe("its transaction reverted: OutOfGas");
    bench.at(EPOCH, 6);
    expect(bench.calls.has(`${key}#1`)).toBe(false);
    bench.at(EPOCH, 20);
    expect(bench.calls.get(`${key}#1`)).toEqual(bench.calls.get(key)!);
  });
});

describe("after a crash", () => {
  test("the commitment made before is opened, and no second one is made", () => {
    const { bench, view } = committing();
    const commitment = commitmentIn(bench);
    bench.restart();
    bench.at(EPOCH, 30);
    bench.view(view);
    expect(commitmentIn(bench)).toBe(commitment);
    expect(bench.effects.some((effect) => effect.type === "gather_facts")).toBe(false);
    bench.view(withCommit(view, bench));
    bench.at(EPOCH, 90);
    expect(bench.calls.has(`reveal:${EPOCH}`)).toBe(true);
  });

  test("unreadable state is said, and nothing is opened with it", () => {
    const { bench, view } = committing();
    const before = withCommit(view, bench);
    bench.persisted = { version: 99 };
    bench.restart();
    expect(JSON.stringify(bench.effects)).toContain("ledger_state_unreadable");
    bench.at(EPOCH, 90);
    bench.view(before);
    expect(bench.calls.has(`reveal:${EPOCH}`)).toBe(false);
  });
});

test("a reorganisation that drops the commitment brings it back, and holds the reveal", () => {
  const { bench, view } = committing();
  const key = `commit:${EPOCH}`;
  bench.step({ type: "transaction", key, status: "confirmed", reason: "" });
  bench.view(withCommit(view, bench));
  bench.at(EPOCH, 40);
  bench.view(view);
  expect(bench.status(EPOCH).phase).toBe("committing");
  expect(bench.calls.has(`${key}#1`)).toBe(true);
  bench.at(EPOCH, 90);
  expect(bench.calls.has(`reveal:${EPOCH}`)).toBe(false);
});

test("without the chain nothing is sent, and it goes on by itself", () => {
  const { bench, view } = committing();
  const committed = withCommit(view, bench);
  bench.view(committed);
  bench.step({ type: "chain_down", reason: "connection refused" });
  expect(bench.machine.view().chain).toMatchObject({ up: false });
  // The window has opened meanwhile; nobody can tell without the chain.
  bench.time_s += 100;
  bench.step({ type: "tick" });
  expect(bench.calls.has(`reveal:${EPOCH}`)).toBe(false);
  bench.at(EPOCH, 150);
  expect(bench.calls.has(`reveal:${EPOCH}`)).toBe(true);
});

/** Both have committed and revealed; the machine holds both reports, verified. */
function revealed(): { bench: MachineBench; view: EpochView } {
  const { bench, view } = committing();
  const committed = withCommit(view, bench);
  bench.view(committed);
  bench.at(EPOCH, 90);
  const peer = new MachineBench(other);
  peer.at(EPOCH, 5);
  peer.view(view);
  peer.step({ type: "facts", epoch: EPOCH, facts: facts(4, 300) });
  const both: EpochView = {
    ...view,
    commits: [...committed.commits, ...withCommit(view, peer).commits],
    reveals: [bench, peer].map((one) => {
      one.view(withCommit(view, one));
      one.at(EPOCH, 90);
      const call = one.calls.get(`reveal:${EPOCH}`);
      if (call?.method !== "reveal") throw new Error("not opened");
      const { score, nonce } = call;
      const result_hash = call.result_hash.slice(2) as Hash;
      return { node: one.address, result_hash, score, nonce, matches: true };
    }),
  };
  const body = peer.said("ledger.report")[0];
  bench.step({ type: "message", from: other.public_key, message: { type: "ledger.report", body } });
  bench.view(both);
  for (const effect of bench.effects)
    if (effect.type === "verify_report") {
      const { epoch, result_hash, report } = effect;
      const verified = verifiedOf(report.facts);
      bench.step({ type: "report_verified", epoch, result_hash, verified });
    }
  return { bench, view: both };
}

describe("settling", () => {
  test("the proposer settles its own record at once, signed as needed, and the sum is the pool", () => {
    const { bench } = revealed();
    bench.at(EPOCH, 180);
    const call = [...bench.calls.values()].find((one) => one.method === "settle");
    if (call?.method !== "settle") throw new Error("not settled");
    expect(call.total).toBe(1000n);
    expect(call.count).toBe(2);
    expect(call.signatures).toHaveLength(1);
    expect(bench.status(EPOCH).own.reward).toBe("250");
  });

  test("a settled root that is not the computed one is challenged with evidence", () => {
    const { bench, view } = revealed();
    bench.at(EPOCH, 180);
    const { record_hash, root } = bench.status(EPOCH);
    const settlement = {
      ...{
        root: `0x${"b".repeat(64)}` as Hex,
        total: 1000n,
        count: 2,
        data_hash: "c".repeat(64) as Hash,
      },
      ...{ proposer: addressOfKey(other), settled_at_s: windowsOf(EPOCH).commit_start_s + 185 },
      ...{ disputes: 0, rejected: false, final: false, signers: [addressOfKey(other)] },
    };
    bench.view({ ...view, settlement });
    for (let s = 190; s < 300; s += 10) bench.at(EPOCH, s);
    const call = [...bench.calls.values()].find((one) => one.method === "challenge");
    expect(call).toMatchObject({ offence: "bad_root", accused: addressOfKey(other) });
    const evidence = bench.effects.find((effect) => effect.type === "store_evidence");
    if (evidence?.type !== "store_evidence") throw new Error("no evidence");
    const text = JSON.parse(Buffer.from(evidence.bytes).toString("utf8"));
    expect(text).toMatchObject({ computed_hash: record_hash, computed_root: root });
    expect(bench.status(EPOCH).phase).toBe("disputed");
  });

  test("the computed root, once final, is claimed to the unit", () => {
    const { bench, view } = revealed();
    bench.at(EPOCH, 180);
    const { record_hash, root } = bench.status(EPOCH);
    const settlement = {
      ...{ root: root!, total: 1000n, count: 2, data_hash: record_hash!, signers: [] },
      ...{ proposer: bench.address, settled_at_s: windowsOf(EPOCH).commit_start_s + 181 },
      ...{ disputes: 0, rejected: false },
    };
    bench.view({ ...view, settlement: { ...settlement, final: false } });
    expect(bench.status(EPOCH)).toMatchObject({ phase: "settled" });
    expect([...bench.calls.values()].some((one) => one.method === "challenge")).toBe(false);
    const final = { epoch: EPOCH, root: root!, data_hash: record_hash! };
    bench.account({ final, last: { ...final, final: true } });
    const call = [...bench.calls.values()].find((one) => one.method === "claim");
    expect(call).toMatchObject({ account: bench.address, cumulative: 250n });
    bench.account({ final, last: { ...final, final: true }, claimed: 250n });
    expect(bench.machine.view()).toMatchObject({ claimed: "250", claimable: "0" });
  });

  test("whoever did not open is reported once its window is over", () => {
    const { bench, view } = revealed();
    const silent = view.reveals.filter((reveal) => reveal.node === bench.address);
    bench.view({ ...view, reveals: silent });
    for (let s = 180; s < 300; s += 10) bench.at(EPOCH, s);
    const key = `punishNoReveal:${EPOCH}:${addressOfKey(other)}`;
    expect(bench.calls.get(key)).toEqual({
      method: "punishNoReveal",
      epoch: EPOCH,
      node: addressOfKey(other),
    });
    expect([...bench.calls.keys()].some((other_key) => other_key.includes(bench.address))).toBe(
      false,
    );
  });
});

describe("gossip", () => {
  const commitBody = (digit: string, signer = other) => {
    const commitment: Hex = `0x${digit.repeat(64)}`;
    const signature = signer.sign(commitDigest(place, EPOCH, commitment));
    return { epoch: EPOCH, public_key: other.public_key, commitment, signature };
  };
  const tell = (bench: MachineBench, type: string, body: unknown) =>
    bench.step({ type: "message", from: other.public_key, message: { type, body } });

  test("commitments are gossiped above the limit, and left out ones go to the chain in time", () => {
    const { bench } = committing(1);
    expect(bench.calls.size).toBe(0);
    expect(bench.said("ledger.commit")).toHaveLength(1);
    bench.at(EPOCH, 12);
    expect(bench.calls.get(`commit_root:${EPOCH}`)).toMatchObject({
      method: "commitRoot",
      count: 1,
    });
    bench.at(EPOCH, 44);
    expect(bench.calls.has(`commit:${EPOCH}`)).toBe(false);
    bench.at(EPOCH, 45);
    expect(bench.calls.has(`commit:${EPOCH}`)).toBe(true);
  });

  test("two signed commitments of one node are proven; unsigned ones are not heard", () => {
    const { bench } = committing(1);
    tell(bench, "ledger.commit", commitBody("1"));
    tell(bench, "ledger.commit", commitBody("2", me));
    for (let s = 180; s < 300; s += 10) bench.at(EPOCH, s);
    expect([...bench.calls.values()].some((call) => call.method === "proveDoubleCommit")).toBe(
      false,
    );
    tell(bench, "ledger.commit", commitBody("2"));
    bench.at(EPOCH, 310);
    const call = [...bench.calls.values()].find((one) => one.method === "proveDoubleCommit");
    expect(call).toMatchObject({ node: addressOfKey(other), first: `0x${"1".repeat(64)}` });
  });

  test("an opening that contradicts the signed commitment is proven", () => {
    const { bench } = committing(1);
    tell(bench, "ledger.commit", commitBody("1"));
    const opening = {
      result_hash: "9".repeat(64) as Hash,
      score: 5n,
      nonce: `0x${"8".repeat(64)}` as Hex,
    };
    const signature = other.sign(revealDigest(place, EPOCH, opening));
    const body = { epoch: EPOCH, public_key: other.public_key, ...opening, score: "5", signature };
    tell(bench, "ledger.reveal", body);
    for (let s = 180; s < 300; s += 10) bench.at(EPOCH, s);
    const call = [...bench.calls.values()].find((one) => one.method === "proveMismatch");
    expect(call).toMatchObject({ node: addressOfKey(other), score: 5n });
  });

  test("a report of another node's commitment, or a changed one, counts nothing", () => {
    const { bench, view } = revealed();
    const own = bench.said("ledger.report")[0] as { report: string };
    const changed = canonicalJson({ ...JSON.parse(own.report), epoch: EPOCH + 1 });
    tell(bench, "ledger.report", { epoch: EPOCH, report: changed });
    bench.view(view);
    expect(bench.status(EPOCH).reports).toEqual({ revealed: 2, here: 2, verified: 2 });
  });
});
