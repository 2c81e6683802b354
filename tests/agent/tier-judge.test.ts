/** A notary's verdicts on tiers: by its own audits, and by doing again what the evidence names. */
import { afterEach, expect, test } from "bun:test";
import { nodeIdHash } from "../../src/agent/ledger/audit-receipts.ts";
import { FactStore } from "../../src/agent/ledger/fact-store.ts";
import { accusations, judgeTier } from "../../src/agent/ledger/judge.ts";
import type { FactContext } from "../../src/agent/ledger/report-facts.ts";
import type { TrainingFacts } from "../../src/agent/training-audits/training-evidence.ts";
import type { DisputeView, EpochView, LedgerNode } from "../../src/chain/ledger/ledger-types.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import type { Tier } from "../../src/core/tiers.ts";
import type { Cid, Hash, PublicKey } from "../../src/core/types.ts";

const KEY = `02${"a".repeat(64)}` as PublicKey;
const ADDRESS = `0x${"1".repeat(40)}` as const;
const hash = (text: string) => sha256Hex(text) as Hash;
let facts: FactStore | undefined;
afterEach(() => facts?.close());

const nodeOf = (tier: Tier) =>
  ({ address: ADDRESS, node_id: nodeIdHash(KEY), tier }) as unknown as LedgerNode;
const dispute = (offence: DisputeView["offence"] = "false_tier") =>
  ({ id: 1, offence, accused: ADDRESS, evidence_hash: hash("evidence") }) as DisputeView;

type States = ("passed" | "wrong" | "not_served")[];
interface Own {
  tier?: Tier;
  states?: States;
  confirmed?: boolean;
  again?: ReturnType<TrainingFacts["reexamine"]>;
}

function contextOf({ tier = "cpu_only", states = [], confirmed = false, again = null }: Own) {
  facts = new FactStore(":memory:");
  const audits = states.map((state, round) => ({
    ...{ round, author: KEY, state, reason: "", at_ms: round },
  }));
  const training: TrainingFacts = {
    evidence: (isOf) =>
      isOf(KEY)
        ? { audits, verdict: confirmed ? ({ second: KEY } as never) : null }
        : { audits: [], verdict: null },
    reexamine: (_bytes, isOf) => (isOf(KEY) ? again : null),
  };
  const node = nodeOf(tier);
  return {
    ...{ gatherer: { facts }, training, self: { public_key: "", address: `0x${"2".repeat(40)}` } },
    nodeOf: (address: string) => (address === ADDRESS ? node : undefined),
  } as unknown as FactContext;
}
const served = { fetch: async () => new Uint8Array(1) };
const unserved = { fetch: async () => null };
const many = (n: number, state: States[number]): States => Array(n).fill(state);

test("a training node is guilty by most of eight own audits, or by one that two found wrong", async () => {
  const cases: [Own, boolean | null][] = [
    [{}, null],
    [{ states: many(7, "wrong") }, null],
    [{ states: many(8, "wrong") }, true],
    [{ states: [...many(5, "not_served"), ...many(4, "passed")] }, true],
    [{ states: [...many(4, "not_served"), ...many(4, "passed")] }, false],
    [{ states: many(8, "passed") }, false],
    [{ states: ["wrong"], confirmed: true }, true],
    [{ tier: "gpu_compute", states: many(8, "wrong") }, true],
    [{ tier: "claude_session", states: many(8, "wrong") }, true],
    [{ tier: "mobile_light", states: many(8, "wrong") }, null],
    [{ tier: "storage_node", states: many(8, "wrong") }, null],
  ];
  for (const [own, guilty] of cases) {
    const verdict = await judgeTier(contextOf(own), dispute(), unserved);
    expect([own, verdict?.guilty ?? null]).toEqual([own, guilty]);
  }
  const other = contextOf({ states: many(8, "wrong") });
  expect(await judgeTier(other, dispute("bad_data"), served)).toBeNull();
  const stranger = { ...dispute(), accused: `0x${"9".repeat(40)}` as const };
  expect(await judgeTier(other, stranger, served)).toBeNull();
});

test("what the evidence names is done again, whatever this node has seen of the accused", async () => {
  const cases: [Own, boolean | null][] = [
    [{ again: "wrong" }, true],
    [{ again: "passed" }, false],
    [{ again: "working" }, null],
    [{ again: null }, null],
    [{ again: "wrong", states: many(9, "passed") }, true],
    [{ again: "working", states: many(9, "passed") }, null],
    [{ again: null, states: many(9, "passed") }, false],
    [{ again: "passed", states: many(9, "wrong") }, true],
  ];
  for (const [own, guilty] of cases) {
    const verdict = await judgeTier(contextOf(own), dispute(), served);
    expect([own, verdict?.guilty ?? null]).toEqual([own, guilty]);
  }
});

test("a storage node is judged by audits of its shards alone", async () => {
  const context = contextOf({ tier: "storage_node", again: "wrong" });
  const add = (passed: boolean, n: number) => {
    for (let i = 0; i < n; i++)
      facts!.addAudit({
        ...{
          holder: KEY,
          cid: "cid" as Cid,
          shard: i,
          size_bytes: 1,
          passed,
          reason: "",
          at_ms: i,
        },
      });
  };
  expect(await judgeTier(context, dispute(), served)).toBeNull();
  add(false, 8);
  expect((await judgeTier(context, dispute(), served))!.guilty).toBe(true);
  add(true, 9);
  expect((await judgeTier(context, dispute(), served))!.guilty).toBe(false);
});

test("a guilty one is accused with evidence that others can read", () => {
  const context = contextOf({ states: ["wrong"], confirmed: true });
  const view = { epoch: 3, nodes: [nodeOf("cpu_only")] } as unknown as EpochView;
  const [accusation, ...more] = accusations(context, view);
  expect(more).toEqual([]);
  expect(accusation).toMatchObject({ accused: ADDRESS, subject: `0x${"3".padStart(64, "0")}` });
  const evidence = JSON.parse(new TextDecoder().decode(accusation!.evidence));
  expect(evidence).toMatchObject({ schema: "magnet.training_evidence/1", epoch: 3 });
  expect(evidence.audits).toHaveLength(1);
  expect(evidence.verdict).not.toBeNull();
  expect(accusations(contextOf({ states: many(3, "wrong") }), view)).toEqual([]);
});
