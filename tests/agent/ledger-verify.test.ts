/** What a report is worth to everybody else: only what can be proven, and the same on every node. */
import { describe, expect, test } from "bun:test";
import { stateShardBytes } from "../../src/agent/ledger/audit-duty.ts";
import {
  AUDITORS_PER_HOLDER,
  type AuditReceipt,
  auditorsOf,
  objectName,
  signAuditReceipt,
} from "../../src/agent/ledger/audit-receipts.ts";
import type { CertifiedRound } from "../../src/agent/ledger/round-proof.ts";
import { type VerifyContext, verifyReport } from "../../src/agent/ledger/verify-report.ts";
import { addressOf } from "../../src/chain/client/account.ts";
import type { Address, EpochView, LedgerPlace } from "../../src/chain/ledger/ledger-types.ts";
import { type ContributionFacts, EMPTY_FACTS, makeReport } from "../../src/chain/ledger/report.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Hash } from "../../src/core/types.ts";
import { walletVerifier } from "../../src/network/auth.ts";
import { identityOf } from "../../src/network/identity.ts";

const PLACE: LedgerPlace = {
  ...{ chain_id: 31337, genesis_s: 0, epoch_seconds: 600 },
  ...{ epochs: `0x${"11".repeat(20)}`, disputes: `0x${"22".repeat(20)}` },
};
const CODE = { data_shards: 4, parity_shards: 2 };
const EPOCH = 3;
const WEIGHTS = [1000, 5000, 2000, 1000, 1000];
const keys = Array.from({ length: 6 }, (_, i) => identityOf(seededRandom(50 + i).bytes(32)));
const address = (i: number) => addressOf(keys[i]!.public_key).toLowerCase() as Address;
const nodes = keys.map(({ public_key }, i) => ({
  ...{ address: address(i), tier: "cpu_only" as const, bond: 100n },
  node_id: sha256Hex(Buffer.from(public_key, "hex")) as Hash,
}));
const view = { epoch: EPOCH, nodes } as unknown as EpochView;

const hash = (text: string) => sha256Hex(text) as Hash;
const round = (number: number, contributors: number[]): CertifiedRound => ({
  ...{ round: number, merge_hash: hash(`merge ${number}`), job_id: hash("job") },
  ...{ inner_steps: 10, param_count: 1_000_000, state_hash: hash(`state ${number}`) },
  ...{ heldout_hash: hash("heldout"), state_bytes: 8_000_128 },
  contributors: contributors.map((i) => keys[i]!.public_key),
});
const ROUNDS = new Map([1, 2, 3].map((n) => [n, round(n, n === 3 ? [1, 2] : [0, 1])]));

const context: VerifyContext = {
  ...{ place: PLACE, code: CODE, verifier: walletVerifier, benchmark: null },
  serving: { verify: async () => 0n } as unknown as VerifyContext["serving"],
  findRound: async (number) => ROUNDS.get(number) ?? null,
};

/** What everybody finds in a report of node 0. */
async function verify(facts: Partial<ContributionFacts>, over: Partial<VerifyContext> = {}) {
  const place = { chain_id: PLACE.chain_id, contract: PLACE.epochs };
  const all = { ...EMPTY_FACTS, ...facts };
  const report = makeReport(place, { epoch: EPOCH, node: address(0) }, all, WEIGHTS);
  return verifyReport({ ...context, ...over }, view, address(0), report);
}

const trained = (number: number, change = {}) => {
  const { merge_hash, inner_steps, param_count } = round(number, []);
  return { round: number, merge_hash, inner_steps, parameters: param_count, ...change };
};

describe("training", () => {
  test("counts certified rounds that name the node, by the certificate's own figures", async () => {
    const claims = [trained(1), trained(2, { inner_steps: 90_000, parameters: 2 ** 40 })];
    const { rounds } = await verify({ training_compute: claims });
    expect(rounds).toEqual([
      { round: 1, amount: 10_000_000n },
      { round: 2, amount: 10_000_000n },
    ]);
  });

  test("a round of others, of another merge, or of nobody counts nothing", async () => {
    const claims = [trained(3), trained(1, { merge_hash: hash("other") })];
    expect((await verify({ training_compute: claims })).rounds).toEqual([]);
    expect((await verify({ training_compute: [trained(9)] })).rounds).toEqual([]);
  });

  test("a report that names a round of nobody's is worth nothing, and looks for no second one", async () => {
    const looked: number[] = [];
    const findRound = async (number: number) => {
      looked.push(number);
      return ROUNDS.get(number) ?? null;
    };
    const claims = [trained(1), ...[7, 8, 9].map((n) => trained(n))];
    const found = await verify({ training_compute: claims }, { findRound });
    expect(found).toMatchObject({ rounds: [], is_unproven: true });
    expect(looked).toEqual([1, 7]);
  });

  test("a proof that may still come is waited for", async () => {
    const late = verify({ training_compute: [trained(7)] }, { findRound: async () => undefined });
    await expect(late).rejects.toMatchObject({ code: "FACTS_MISSING", retryable: true });
  });
});

describe("model quality", () => {
  const evaluation = (number: number, state = hash(`state ${number}`)) => ({
    ...{ round: number, state_hash: state, loss_micronats: 4_000_000 },
  });

  test("only of states that were promoted", async () => {
    const claims = [evaluation(1), evaluation(2, hash("invented"))];
    expect((await verify({ model_quality: claims })).evaluations).toEqual([evaluation(1)]);
    expect((await verify({ model_quality: [evaluation(9)] })).evaluations).toEqual([]);
  });

  test("and on the benchmark's data where one is set", async () => {
    const of = (benchmark: Hash) => verify({ model_quality: [evaluation(1)] }, { benchmark });
    expect((await of(hash("heldout"))).evaluations).toHaveLength(1);
    expect((await of(hash("another set"))).evaluations).toHaveLength(0);
  });
});

describe("storage", () => {
  const drawn = auditorsOf(PLACE, EPOCH, address(0), nodes);
  const isDrawn = (i: number) => drawn.includes(address(i));
  const friend = [1, 2, 3, 4, 5].find((i) => isDrawn(i))!;
  const stranger = [1, 2, 3, 4, 5].find((i) => !isDrawn(i))!;
  const SIZE = stateShardBytes(ROUNDS.get(1)!, CODE);
  /** A receipt as node `by` signs it, and as the report lists it. */
  const proof = (by: number, change: Partial<AuditReceipt> = {}) => {
    const object = objectName(1, hash("state 1"));
    const fields = { epoch: EPOCH, holder: address(0), auditor: keys[by]!.public_key, object };
    const unsigned = { ...fields, shard_index: 0, size_bytes: SIZE, held_s: 100, ...change };
    const {
      epoch: _epoch,
      holder: _holder,
      ...listed
    } = signAuditReceipt(PLACE, unsigned, keys[by]!);
    return listed;
  };
  const storage = async (...proofs: ReturnType<typeof proof>[]) =>
    (await verify({ storage: proofs })).storage;

  test("auditors are drawn anew for each epoch, never the holder itself", () => {
    expect(drawn).toHaveLength(AUDITORS_PER_HOLDER);
    expect(drawn).not.toContain(address(0));
    const epochs = Array.from({ length: 40 }, (_, e) => auditorsOf(PLACE, e, address(0), nodes));
    expect(new Set(epochs.map((list) => list.join())).size).toBeGreaterThan(10);
    expect(auditorsOf(PLACE, EPOCH, address(0), [...nodes].reverse())).toEqual(drawn);
  });

  test("byte-seconds under a drawn auditor's signature", async () => {
    expect(await storage(proof(friend))).toBe(BigInt(SIZE) * 100n);
    const two = await storage(proof(friend), proof(friend, { shard_index: 5, held_s: 50 }));
    expect(two).toBe(BigInt(SIZE) * 150n);
  });

  test("nothing under another's, a foreign or a changed signature", async () => {
    expect(await storage(proof(stranger))).toBe(0n);
    expect(await storage({ ...proof(friend), held_s: 600 })).toBe(0n);
    expect(await storage({ ...proof(stranger), auditor: keys[friend]!.public_key })).toBe(0n);
    expect(await storage(proof(friend, { epoch: EPOCH - 1 }))).toBe(0n);
    expect(await storage(proof(friend, { holder: address(1) }))).toBe(0n);
  });

  test("nothing for shards that no promoted state has, or for more time than there was", async () => {
    const name = (n: number, state: string) => objectName(n, hash(state));
    expect(await storage(proof(friend, { size_bytes: SIZE + 1 }))).toBe(0n);
    expect(await storage(proof(friend, { object: name(1, "invented") }))).toBe(0n);
    expect(await storage(proof(friend, { object: name(9, "state 9") }))).toBe(0n);
    expect(await storage(proof(friend, { shard_index: 6 }))).toBe(0n);
    expect(await storage(proof(friend, { held_s: 601 }))).toBe(0n);
  });

  test("a drawn friend cannot sign for more than the network stores at one time", async () => {
    const all = [1, 2, 3].flatMap((n) =>
      [0, 1, 2, 3, 4, 5].map((shard_index) =>
        proof(friend, { object: objectName(n, hash(`state ${n}`)), shard_index, held_s: 600 }),
      ),
    );
    const whole = await storage(...all);
    expect(whole).toBe(BigInt(SIZE) * 18n * 600n);
    const rounds = new Map(Array.from({ length: 12 }, (_, n) => [n, round(n, [0])]));
    const many = [...rounds.keys()].flatMap((n) =>
      [0, 1, 2, 3, 4, 5].map((shard_index) =>
        proof(friend, { object: objectName(n, hash(`state ${n}`)), shard_index, held_s: 600 }),
      ),
    );
    const found = await verify(
      { storage: many },
      { findRound: async (number) => rounds.get(number) ?? null },
    );
    expect(found.storage).toBe(whole);
  });
});

test("a node that is not active in the epoch has nothing", async () => {
  const place = { chain_id: PLACE.chain_id, contract: PLACE.epochs };
  const outsider = `0x${"33".repeat(20)}` as const;
  const facts = { ...EMPTY_FACTS, training_compute: [trained(1)] };
  const report = makeReport(place, { epoch: EPOCH, node: outsider }, facts, WEIGHTS);
  const found = await verifyReport(context, view, outsider, report);
  expect(found).toEqual({
    rounds: [],
    evaluations: [],
    data_quality: 0n,
    storage: 0n,
    serving: 0n,
  });
});
