/** Claims about contributions: two auditors of the draw convict, and a restart forgets nothing. */
import { afterEach, describe, expect, test } from "bun:test";
import path from "node:path";
import type { AuditCase } from "../../src/agent/training-audits/audit-case.ts";
import { type NotedCase, TrainingBook } from "../../src/agent/training-audits/book.ts";
import { ClaimDesk } from "../../src/agent/training-audits/claim-desk.ts";
import { signClaim, signVerdict, verdictHolds } from "../../src/agent/training-audits/claims.ts";
import {
  type Claim,
  claimRequest,
  type Verdict,
} from "../../src/agent/training-audits/messages.ts";
import { trainingFacts } from "../../src/agent/training-audits/training-evidence.ts";
import { canonicalJson, sha256Hex } from "../../src/core/bytes.ts";
import { MagnetError } from "../../src/core/errors.ts";
import { roomLog } from "../../src/core/log.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import { walletVerifier } from "../../src/network/auth.ts";
import { identityOf } from "../../src/network/identity.ts";
import type { Transport } from "../../src/network/transport.ts";
import { makeFolder } from "./real-nodes.ts";

const identities = Array.from({ length: 6 }, (_, i) => identityOf(seededRandom(500 + i).bytes(32)));
const hash = (text: string) => sha256Hex(text) as Hash;
const [author, ...others] = identities;

/** A drawn case with these auditors, in this order. */
const caseOf = (auditors = others, round = 7): AuditCase => ({
  ...{ round, job_id: hash("job"), merge_hash: hash("merge"), announce_hash: hash("announce") },
  ...{ base_hash: hash("base"), author: author!.public_key, delta_hash: hash("delta") },
  ...{ trail_hash: hash("trail"), stretch: 0 },
  auditors: auditors.slice(0, 4).map(({ public_key }) => public_key),
  task: { job_round: 0, inner_steps: 3, data_seed: 1, slice_index: 0, slice_count: 2 },
});

const books: TrainingBook[] = [];
afterEach(() => {
  for (const book of books.splice(0)) book.close();
});

test("whether all rounds of a job were seen here: from its first one, none missed", () => {
  const book = new TrainingBook(":memory:");
  books.push(book);
  const see = (round: number, job: string, job_round: number) =>
    book.addRound([], [], { round, job_id: hash(job), job_round, now_ms: 1 });
  const whole = () => ["a", "b", "c"].map((job) => book.sawAll(hash(job)));
  see(3, "a", 0);
  see(4, "a", 0); // the one before was void
  see(5, "b", 1);
  see(6, "a", 1);
  expect(whole()).toEqual([true, false, false]);
  see(6, "a", 1); // told once more
  expect(whole()).toEqual([true, false, false]);
  see(8, "c", 0); // the seventh may have been one of the first job's
  see(9, "a", 2);
  expect(whole()).toEqual([false, false, true]);
});

class Desk {
  readonly convicted: (Verdict | null)[] = [];
  readonly penalized: PublicKey[] = [];
  readonly desk: ClaimDesk;
  online = true;
  woken = 0;
  now_ms = 1_000_000;

  constructor(
    readonly identity: (typeof identities)[number],
    readonly net: Map<PublicKey, Desk>,
    readonly book: TrainingBook,
    cases: readonly AuditCase[],
  ) {
    books.push(book);
    net.set(identity.public_key, this);
    const seen = { round: 7, job_id: hash("job"), job_round: 0, now_ms: this.now_ms };
    book.addRound(cases, [], seen);
    const convict = ({ value }: NotedCase, verdict: Verdict | null) => {
      if (book.convict(value.job_id, value.author, value.round, verdict))
        this.convicted.push(verdict);
    };
    this.desk = new ClaimDesk({
      ...{ signer: identity, verifier: walletVerifier, book, log: roomLog("audits") },
      signal: new AbortController().signal,
      now_ms: () => this.now_ms,
      transport: this.#transport(),
      wake: () => {
        this.woken++;
      },
      convict,
    });
  }

  #transport(): Transport {
    const from = this.identity.public_key;
    return {
      request: async (to: PublicKey, type: string, body: unknown) => {
        expect(type).toBe(claimRequest.request.type);
        const target = this.net.get(to);
        if (!target?.online) throw new MagnetError("PEER_NOT_CONNECTED", "away");
        const { claim } = claimRequest.request.schema.parse(body);
        return claimRequest.response.schema.parse(target.desk.receive(from, claim));
      },
      broadcast: ({ body }: { body: unknown }) => {
        for (const other of this.net.values())
          if (other !== this && other.online) other.desk.hear(from, body as Verdict);
        return 0;
      },
      penalize: (key: PublicKey) => this.penalized.push(key),
    } as unknown as Transport;
  }

  /** This node's own audit ends like this. */
  finds(state: "wrong" | "passed" | "handed_over", round = 7): void {
    const by = this.book.audit(round, author!.public_key);
    if (!by) this.book.addDue(round, author!.public_key, null, this.now_ms);
    this.book.finish({ round, author: author!.public_key }, { state, reason: "steps" }, 1);
    const noted = this.book.case(round, author!.public_key)!;
    if (state === "wrong" && (by?.claimer ?? null) === null) this.desk.open(noted, "steps");
  }
}

function network(cases = [caseOf()]): Desk[] {
  const net = new Map<PublicKey, Desk>();
  return others.map((identity) => new Desk(identity, net, new TrainingBook(":memory:"), cases));
}
const statesOf = ({ book }: Desk, state: Parameters<TrainingBook["claims"]>[0]) =>
  book.claims(state).length;

describe("what an auditor finds wrong", () => {
  test("is looked at by the next, and both together convict everywhere", async () => {
    const desks = network();
    const [first, second, ...rest] = desks;
    first!.finds("wrong");
    await first!.desk.ask();
    expect(second!.woken).toBe(1);
    expect(second!.book.due()[0]).toMatchObject({ round: 7, claimer: first!.identity.public_key });
    await first!.desk.ask(); // still at work: nothing follows
    expect([first!.convicted, second!.convicted, statesOf(first!, "open")]).toEqual([[], [], 1]);
    second!.finds("wrong");
    await first!.desk.ask();
    for (const desk of desks) expect(desk.convicted).toHaveLength(1);
    const [verdict] = rest[0]!.convicted;
    expect(verdict!.claim.claimer).toBe(first!.identity.public_key);
    expect(verdict!.second).toBe(second!.identity.public_key);
    expect(statesOf(first!, "confirmed")).toBe(1);
    expect(first!.book.counts()).toMatchObject({ wrong: 1, confirmed: 1, false_claims: 0 });
  });

  test("but not by the second is noted against the first, and nothing else", async () => {
    const [first, second, ...rest] = network();
    first!.finds("wrong");
    await first!.desk.ask();
    second!.finds("passed");
    await first!.desk.ask();
    await first!.desk.ask();
    for (const desk of [first!, second!, ...rest]) expect(desk.convicted).toEqual([]);
    expect(second!.book.counts().false_claims).toBe(1);
    expect(first!.book.counts().false_claims).toBe(0);
    expect(statesOf(first!, "denied")).toBe(1);
  });

  test("is told to the next where one cannot look, or is silent for two minutes", async () => {
    const [first, second, third, fourth] = network();
    second!.finds("handed_over");
    third!.online = false;
    first!.finds("wrong");
    for (let i = 0; i < 3; i++) {
      await first!.desk.ask();
      first!.now_ms += 130_000;
    }
    await first!.desk.ask();
    expect(fourth!.woken).toBe(1);
    fourth!.finds("wrong");
    await first!.desk.ask();
    expect(third!.convicted).toEqual([]);
    expect(second!.convicted[0]!.second).toBe(fourth!.identity.public_key);
  });

  test("where nobody else is there, counts for the auditor alone", async () => {
    const [only] = network([caseOf(others.slice(0, 1))]);
    only!.finds("wrong");
    await only!.desk.ask();
    expect(only!.convicted).toEqual([null]);
    expect(statesOf(only!, "unanswered")).toBe(1);
    expect(only!.book.counts().confirmed).toBe(0);
  });

  test("survives a restart of both in the middle", async () => {
    const folder = makeFolder();
    const open = (i: number, net: Map<PublicKey, Desk>) =>
      new Desk(others[i]!, net, new TrainingBook(path.join(folder, `${i}.sqlite`)), [caseOf()]);
    const before = new Map<PublicKey, Desk>();
    const first = open(0, before);
    open(1, before);
    first.finds("wrong");
    await first.desk.ask();
    for (const book of books.splice(0)) book.close();
    const after = new Map<PublicKey, Desk>();
    const again = open(0, after);
    const other = open(1, after);
    expect(other.book.due()).toHaveLength(1);
    other.finds("wrong");
    await again.desk.ask();
    expect([again.convicted.length, other.convicted.length]).toEqual([1, 1]);
    expect(again.book.convict(hash("job"), author!.public_key, 7, null)).toBe(false);
  });
});

describe("liars", () => {
  const claimBy = (i: number, changes: Partial<AuditCase> = {}): Claim =>
    signClaim(others[i]!, { ...caseOf(), ...changes }, "steps");
  const holds = (verdict: Verdict) => verdictHolds(walletVerifier, caseOf(), verdict);

  test("a verdict counts by two of the drawn auditors in their order, and by nothing else", () => {
    expect(holds(signVerdict(others[1]!, claimBy(0)))).toBe(true);
    expect(holds(signVerdict(others[3]!, claimBy(1)))).toBe(true);
    const false_ones: Verdict[] = [
      signVerdict(others[0]!, claimBy(1)), // the wrong way round
      signVerdict(others[0]!, claimBy(0)), // with itself
      signVerdict(others[4]!, claimBy(0)), // not drawn
      signVerdict(others[1]!, claimBy(4)),
      signVerdict(author!, claimBy(0)),
      signVerdict(others[1]!, claimBy(0, { stretch: 1 })),
      signVerdict(others[1]!, claimBy(0, { trail_hash: hash("other") })),
      signVerdict(others[1]!, claimBy(0, { author: others[2]!.public_key })),
      signVerdict(others[1]!, { ...claimBy(0), reason: "changed" }),
      { ...signVerdict(others[1]!, claimBy(0)), second: others[2]!.public_key },
    ];
    expect(false_ones.map(holds)).toEqual(false_ones.map(() => false));
  });

  test("false claims make no audit due; a false verdict costs who told it", async () => {
    const [first, second] = network();
    const key = (i: number) => others[i]!.public_key;
    expect(() => second!.desk.receive(key(2), claimBy(2))).toThrow("not drawn"); // behind it
    expect(() => second!.desk.receive(key(4), claimBy(4))).toThrow("not drawn");
    expect(() => second!.desk.receive(key(0), claimBy(2))).toThrow("not drawn"); // another's
    const forged = { ...claimBy(0), reason: "other words" };
    expect(() => second!.desk.receive(key(0), forged)).toThrow("not drawn");
    expect(second!.penalized).toEqual([key(0)]);
    const unknown = signClaim(others[0]!, caseOf(others, 8), "steps");
    expect(() => second!.desk.receive(key(0), unknown)).toThrow("not known here");
    expect([second!.woken, second!.book.due()]).toEqual([0, []]);
    second!.desk.hear(key(3), { ...signVerdict(others[1]!, claimBy(0)), second: key(2) });
    expect(second!.penalized).toEqual([key(0), key(3)]);
    expect([first!.convicted, second!.convicted]).toEqual([[], []]);
  });

  test("a second that says yes without a right signature is passed over", async () => {
    const [first, second, third] = network();
    first!.finds("wrong");
    const answer = { state: "confirmed" as const, reason: "", signature: "0".repeat(130) };
    second!.desk.receive = () => answer;
    await first!.desk.ask();
    expect(first!.convicted).toEqual([]);
    expect(first!.penalized).toEqual([second!.identity.public_key]);
    await first!.desk.ask();
    expect(third!.woken).toBe(1);
  });

  test("two claims at once are both answered", async () => {
    const cases = [caseOf(), caseOf(others, 8)];
    const [first, second] = network(cases);
    for (const round of [7, 8]) first!.finds("wrong", round);
    await first!.desk.ask();
    expect(second!.book.due()).toHaveLength(2);
    second!.finds("wrong", 7);
    second!.finds("passed", 8);
    await first!.desk.ask();
    expect([statesOf(first!, "confirmed"), statesOf(first!, "denied")]).toEqual([1, 1]);
  });
});

test("what the ledger's notaries ask: own audits, and a second look at what evidence names", () => {
  const [first, second, third] = network();
  const isAuthor = (key: PublicKey) => key === author!.public_key;
  const factsOf = ({ identity, book }: Desk) =>
    trainingFacts({
      ...{ self: identity.public_key, verifier: walletVerifier, book },
      now_ms: () => 5,
      wake: () => undefined,
    });
  first!.finds("wrong");
  const verdict = signVerdict(others[1]!, signClaim(others[0]!, caseOf(), "steps"));
  for (const { book } of [first!, third!])
    book.convict(hash("job"), author!.public_key, 7, verdict);
  expect(factsOf(first!).evidence(isAuthor, 32)).toMatchObject({
    audits: [{ round: 7, state: "wrong" }],
    verdict: { second: second!.identity.public_key },
  });
  expect(factsOf(first!).evidence(() => false, 32)).toEqual({ audits: [], verdict: null });
  // The third has heard of it, and has not looked itself.
  expect(factsOf(third!).evidence(isAuthor, 32)).toEqual({ audits: [], verdict: null });
  const bytes = (value: unknown) => new TextEncoder().encode(canonicalJson(value));
  const evidence = { schema: "magnet.training_evidence/1", epoch: 1, audits: [], verdict };
  const { reexamine } = factsOf(third!);
  expect(reexamine(bytes(evidence), () => false)).toBeNull();
  expect(reexamine(bytes({ ...evidence, verdict: null }), isAuthor)).toBeNull();
  const forged = { ...verdict, second: third!.identity.public_key };
  expect(reexamine(bytes({ ...evidence, verdict: forged }), isAuthor)).toBeNull();
  expect(reexamine(new Uint8Array(100_000), isAuthor)).toBeNull();
  expect(third!.book.due()).toEqual([]);
  expect(reexamine(bytes(evidence), isAuthor)).toBe("working");
  expect(third!.book.due()).toHaveLength(1);
  third!.finds("wrong");
  expect(reexamine(bytes(evidence), isAuthor)).toBe("wrong");
});
