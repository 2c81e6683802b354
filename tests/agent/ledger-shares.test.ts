/** How strangers, friends and bad luck try to spoil an honest node's report, or to buy a share. */
import { afterEach, describe, expect, test } from "bun:test";
import { encodeAbiParameters, encodeEventTopics, type Hex, numberToHex, parseAbi } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { AuditBook } from "../../src/agent/ledger/audit-book.ts";
import { LedgerAudits, stateShardBytes } from "../../src/agent/ledger/audit-duty.ts";
import {
  type AuditReceipt,
  auditorsOf,
  objectName,
  signAuditReceipt,
} from "../../src/agent/ledger/audit-receipts.ts";
import { FactStore } from "../../src/agent/ledger/fact-store.ts";
import { type FactContext, gatherFacts } from "../../src/agent/ledger/report-facts.ts";
import type { CertifiedRound } from "../../src/agent/ledger/round-proof.ts";
import { ServingFacts } from "../../src/agent/ledger/serving-facts.ts";
import { addressOf } from "../../src/chain/client/account.ts";
import type { Address, EpochView, LedgerPlace } from "../../src/chain/ledger/ledger-types.ts";
import {
  type ContributionFacts,
  EMPTY_FACTS,
  fittingFacts,
  makeReport,
  parseReport,
  reportBytes,
} from "../../src/chain/ledger/report.ts";
import { servingFact, signReceipt } from "../../src/chain/receipts/serving-receipt.ts";
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
const keys = Array.from({ length: 6 }, (_, i) => identityOf(seededRandom(50 + i).bytes(32)));
const address = (i: number) => addressOf(keys[i]!.public_key).toLowerCase() as Address;
const nodes = keys.map(({ public_key }, i) => ({
  ...{ address: address(i), tier: "cpu_only" as const, bond: 100n },
  node_id: sha256Hex(Buffer.from(public_key, "hex")) as Hash,
}));
const view = {
  ...{ epoch: EPOCH, nodes },
  windows: { commit_start_s: 2400 },
} as unknown as EpochView;
const hash = (text: string) => sha256Hex(text) as Hash;
const reportOf = (facts: ContributionFacts) =>
  makeReport(
    { chain_id: PLACE.chain_id, contract: PLACE.epochs },
    { epoch: EPOCH, node: address(0) },
    facts,
    [1000, 5000, 2000, 1000, 1000],
  );

let facts: FactStore | undefined;
afterEach(() => {
  facts?.close();
  facts = undefined;
});

describe("a report", () => {
  const receipt = (payer: string, nonce: string) => ({
    ...{ payer: `0x${payer.repeat(40)}` as const, payment_nonce: `0x${nonce}` as const },
    ...{ tokens: 5, signature: "5".repeat(130) },
  });

  test("is not spoilt by a payer that copies another's nonce, only by one payment twice", () => {
    const nonce = "7".repeat(64);
    const two = { ...EMPTY_FACTS, serving: [receipt("a", nonce), receipt("b", nonce)] };
    expect(BigInt(reportOf(two).score)).toBe(10n * 1000n);
    const twice = { ...EMPTY_FACTS, serving: [receipt("a", nonce), receipt("a", nonce)] };
    expect(() => reportOf(twice)).toThrow("twice");
  });

  test("of everything that a node may list is cut to what others read", () => {
    const all = Array.from({ length: 256 }, (_, i) => i);
    const full: ContributionFacts = {
      ...EMPTY_FACTS,
      training_compute: all.map((i) => ({
        ...{ round: 1_000_000 + i, merge_hash: hash(`${i}`) },
        ...{ inner_steps: 10_000, parameters: 10 ** 10 },
      })),
      model_quality: all.slice(0, 64).map((i) => ({
        ...{ round: 1_000_000 + i, state_hash: hash(`${i}`), loss_micronats: 4_000_000 },
      })),
      storage: all.map((i) => ({
        ...{ auditor: keys[1]!.public_key, object: objectName(1_000_000 + i, hash("s")) },
        ...{ shard_index: 200, size_bytes: 10 ** 9, held_s: 600, signature: "5".repeat(130) },
      })),
      serving: all.map((i) => receipt("a", hash(`${i}`))),
    };
    expect(() => reportOf(full)).toThrow("too long");
    const report = reportOf(fittingFacts(full));
    expect(parseReport(Buffer.from(reportBytes(report)).toString("utf8"))).toEqual(report);
    expect(report.facts.serving.length).toBeGreaterThan(150);
  });

  test("leaves out what would spoil it: losses of a ruined state, rounds without a proof", async () => {
    const store = new FactStore(":memory:");
    facts = store;
    const losses = [4.5, 1e6, Number.POSITIVE_INFINITY, 3.5, 2.5];
    // Of the last round nobody has kept a proof.
    const certified = (n: number) => (n < 4 ? { state_hash: hash(`${n}`) } : undefined);
    for (const [round, loss] of losses.entries())
      store.addEvaluation({ round, state_hash: hash(`${round}`), loss, noted_ms: 1 });
    const context = {
      ...{ place: PLACE, self: { public_key: keys[0]!.public_key, address: address(0) } },
      gatherer: { facts: store, archive: { certified } },
      book: new AuditBook(store),
      serving: { gather: async () => [] },
    } as unknown as FactContext;
    const { model_quality } = await gatherFacts(context, view, -1);
    expect(model_quality.map((one) => one.loss_micronats)).toEqual([4_500_000, 3_500_000]);
  });
});

describe("audit receipts", () => {
  const certified = {
    ...{ round: 1, state_hash: hash("state 1"), state_bytes: 8_000_128 },
  } as CertifiedRound;
  const SIZE = stateShardBytes(certified, CODE);
  const drawn = auditorsOf(PLACE, EPOCH, address(0), nodes);
  const friend = [1, 2, 3, 4, 5].find((i) => drawn.includes(address(i)))!;
  const stranger = [1, 2, 3, 4, 5].find((i) => !drawn.includes(address(i)))!;

  /** How many of these receipts node 0 keeps. */
  const kept = (by: number, ...changes: Partial<AuditReceipt>[]): number => {
    facts?.close();
    facts = new FactStore(":memory:");
    const book = new AuditBook(facts);
    const audits = new LedgerAudits({
      ...{ place: PLACE, signer: keys[0]!, verifier: walletVerifier, facts, book, code: CODE },
      archive: { certified: (round: number) => (round === 1 ? certified : undefined) } as never,
      transport: {} as never,
    });
    audits.epochRuns({ epoch: EPOCH, nodes });
    const object = objectName(1, certified.state_hash);
    for (const change of changes) {
      const fields = { epoch: EPOCH, holder: address(0), auditor: keys[by]!.public_key, object };
      const unsigned = { ...fields, shard_index: 0, size_bytes: SIZE, held_s: 100, ...change };
      audits.receive(keys[by]!.public_key, signAuditReceipt(PLACE, unsigned, keys[by]!));
    }
    return book.receiptsOf(EPOCH).length;
  };

  test("are kept of drawn auditors", () => {
    expect(kept(friend, {}, { shard_index: 5 })).toBe(2);
  });

  test("a stranger's are not, nor those that nobody would count", () => {
    expect(kept(stranger, {}, { shard_index: 5 })).toBe(0);
    const object = objectName(9, hash("invented"));
    const false_ones = [{ held_s: 601 }, { shard_index: 6 }, { size_bytes: SIZE + 1 }, { object }];
    expect(kept(friend, ...false_ones)).toBe(0);
  });
});

describe("serving", () => {
  const ABI = parseAbi([
    "event Transfer(address indexed from, address indexed to, uint256 value)",
    "event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce)",
  ]);
  const TOKEN = `0x${"77".repeat(20)}` as const;
  const TILL = `0x${"88".repeat(20)}` as const;
  const payer = privateKeyToAccount(`0x${"42".repeat(32)}`);
  const NONCE = `0x${"31".repeat(32)}` as const;
  const HEAD = 100_000;
  const word = (n: number): Hex => numberToHex(n, { size: 32 });

  /** A chain of 100,000 blocks, one a second, that searches 9,000 blocks at a time. */
  const chain = (paid_to: Address, at_block: number) => {
    const where = {
      ...{ address: TOKEN, blockNumber: numberToHex(at_block), blockHash: word(at_block) },
      ...{ transactionHash: word(1), transactionIndex: "0x0", removed: false },
    };
    const used = {
      ...{ ...where, logIndex: "0x0", data: "0x" },
      topics: encodeEventTopics({
        ...{ abi: ABI, eventName: "AuthorizationUsed" },
        args: { authorizer: payer.address, nonce: NONCE },
      }),
    };
    const moved = {
      ...{ ...where, logIndex: "0x1" },
      data: encodeAbiParameters([{ type: "uint256" }], [10n ** 18n]),
      topics: encodeEventTopics({
        ...{ abi: ABI, eventName: "Transfer", args: { from: payer.address, to: paid_to } },
      }),
    };
    const block = (n: number) => ({
      ...{ number: numberToHex(n), hash: word(n), timestamp: numberToHex(n), transactions: [] },
    });
    const request = async (method: string, params: readonly unknown[]): Promise<unknown> => {
      const [first] = params as [never];
      if (method === "eth_getBlockByNumber")
        return block(first === "latest" ? HEAD : Number(first));
      if (method === "eth_getBlockByHash") return block(Number(first));
      if (method === "eth_getTransactionReceipt") return { ...where, logs: [used, moved] };
      const { fromBlock, toBlock } = first as { fromBlock: Hex; toBlock?: Hex };
      const [from, to] = [Number(fromBlock), toBlock === undefined ? HEAD : Number(toBlock)];
      if (to - from > 9000) throw new Error("range of blocks too wide");
      return from <= at_block && at_block <= to ? [used] : [];
    };
    const ledger = {
      ...{ rpc: { request }, deployment: { block: 1 }, address: () => TOKEN },
      read: async () => TILL,
    };
    return new ServingFacts({ ledger: ledger as never, place: PLACE, data_dir: "" });
  };
  const counted = async (paid_to: Address, at_block: number) => {
    const unsigned = { chain_id: PLACE.chain_id, asset: TOKEN, nonce: NONCE, tokens: 500 };
    const who = { server: address(0), payer: payer.address.toLowerCase() };
    const receipt = await signReceipt({ ...unsigned, ...who }, payer as never);
    return chain(paid_to, at_block).verify(address(0), view, [servingFact(receipt)]);
  };

  test("counts what was paid to the till in the epoch, on a chain of any length", async () => {
    expect(await counted(TILL, 1800)).toBe(500n);
    expect(await counted(TILL, 2399)).toBe(500n);
    expect(await counted(TILL, 1799)).toBe(0n);
    expect(await counted(TILL, 2400)).toBe(0n);
  });

  test("counts nothing that went to the server past its till: it would come back whole", async () => {
    expect(await counted(address(0), 2000)).toBe(0n);
  });
});
