/** The election alone: who may decide what, after crashes, replays and conflicting proposals. */
import { describe, expect, test } from "bun:test";
import { sha256Hex } from "../../src/core/bytes.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import { Ballots, contentHash, leaderOf, quorumOf } from "../../src/network/ballot.ts";
import { Election, type ElectionContext, type ElectionEffect } from "../../src/network/election.ts";
import type { Certificate, Proposal, ViewTimeout } from "../../src/network/election-messages.ts";
import type { Message } from "../../src/network/protocol.ts";
import { standInKeys } from "../../src/sim/sim-keys.ts";

const VIEW_TIMEOUT_MS = 1000;
const RESEND_MS = 100;
const keys = standInKeys(9);
const signers = Array.from({ length: 5 }, (_, i) => keys.signer(i)).sort((a, b) =>
  a.public_key < b.public_key ? -1 : 1,
);
const roster = signers.map((signer) => signer.public_key);
const roster_hash = sha256Hex("roster") as Hash;
const ready: ElectionContext = {
  active: true,
  quorum_alive: true,
  allowance_ms: 0,
  leader_lost_ms: null,
};

/** Five elections; messages are passed on only where the test says so. */
class Five {
  now_ms = 0;
  readonly nodes: Election[] = [];
  readonly persisted: unknown[] = [];
  readonly sent: { from: number; to: number; message: Message }[] = [];
  readonly evidence: ElectionEffect[] = [];

  constructor() {
    for (let i = 0; i < 5; i++) this.restart(i);
  }
  restart(i: number): void {
    const params = { signer: signers[i]!, verifier: keys.verifier, roster, roster_hash };
    const pace = { view_timeout_ms: VIEW_TIMEOUT_MS, resend_ms: RESEND_MS };
    this.nodes[i] = new Election({ ...params, ...pace });
    this.act(i, (node, out) => node.start(structuredClone(this.persisted[i]), this.now_ms, out));
  }
  act(i: number, run: (node: Election, out: ElectionEffect[]) => void): void {
    const out: ElectionEffect[] = [];
    run(this.nodes[i]!, out);
    for (const effect of out) {
      if (effect.type === "persist") this.persisted[i] = structuredClone(effect.value);
      else if (effect.type === "evidence") this.evidence.push(effect);
      else if (effect.type === "send")
        this.sent.push({ from: i, to: roster.indexOf(effect.to), message: effect.message });
      else if (effect.type === "broadcast")
        for (let to = 0; to < 5; to++)
          if (to !== i) this.sent.push({ from: i, to, message: effect.message });
    }
  }
  /** Delivers what is under way between these nodes, to the end; the rest is lost. */
  deliver(among: number[] = [0, 1, 2, 3, 4]): void {
    for (let next = this.sent.shift(); next; next = this.sent.shift()) {
      const { from, to, message } = next;
      if (!among.includes(from) || !among.includes(to)) continue;
      this.receive(to, from, message);
    }
  }
  receive(to: number, from: number, message: Message): void {
    this.act(to, (node, out) => {
      node.message({ from: roster[from]!, ...message }, this.now_ms, out);
      const { pending } = node;
      if (pending && !node.acknowledged)
        node.acknowledge(node.knownResult ?? contentHash(pending.content), this.now_ms, out);
    });
  }
  propose(i: number, content: string): void {
    this.act(i, (node, out) => {
      node.propose(content, this.now_ms, out);
      if (node.pending) node.acknowledge(contentHash(content), this.now_ms, out);
    });
  }
  tick(among: number[], after_ms: number, context = ready): void {
    this.now_ms += after_ms;
    for (const i of among) this.act(i, (node, out) => node.tick(context, this.now_ms, out));
  }
  decided(i: number): (string | undefined)[] {
    return this.nodes[i]!.decided.map((certificate) => certificate.proposal.content);
  }
}

describe("the rule", () => {
  test("view 0 is the paper's formula, and each view passes the leader over", () => {
    const members = ["a", "b", "c"] as PublicKey[];
    expect([0, 1, 2, 3].map((round) => leaderOf(members, round, 0) as string)).toEqual([
      "a",
      "b",
      "c",
      "a",
    ]);
    expect(leaderOf(members, 1, 1) as string).toBe("c");
  });
  test("a quorum is a strict majority: any two share a member", () => {
    expect([1, 2, 3, 4, 5, 16].map(quorumOf)).toEqual([1, 2, 2, 3, 3, 9]);
  });
});

test("a live leader's content is certified on all nodes", () => {
  const five = new Five();
  five.propose(0, "A");
  five.deliver();
  for (let i = 0; i < 5; i++) expect(five.decided(i)).toEqual(["A"]);
});

test("two of five are not enough, three are", () => {
  const five = new Five();
  five.propose(0, "A");
  five.deliver([0, 1]);
  expect(five.decided(0)).toEqual([]);
  five.tick([0], RESEND_MS);
  five.deliver([0, 1, 2]);
  expect(five.decided(2)).toEqual(["A"]);
});

test("a dead leader is passed over by the next view", () => {
  const five = new Five();
  const living = [1, 2, 3, 4];
  five.tick(living, VIEW_TIMEOUT_MS);
  five.deliver(living);
  expect(living.map((i) => five.nodes[i]!.view)).toEqual([1, 1, 1, 1]);
  expect(five.nodes[1]!.mayPropose).toBe(true);
  five.propose(1, "B");
  five.deliver(living);
  expect(five.decided(4)).toEqual(["B"]);
});

test("the wait doubles with the view, and a lost leader ends the allowance", () => {
  const five = new Five();
  const living = [2, 3, 4];
  five.tick(living, VIEW_TIMEOUT_MS);
  five.deliver(living);
  five.tick(living, 2 * VIEW_TIMEOUT_MS - 1);
  expect(five.nodes[2]!.changingView).toBe(false);
  five.tick(living, 1);
  expect(five.nodes[2]!.changingView).toBe(true);

  const busy = { ...ready, allowance_ms: 60_000 };
  const patient = new Five();
  patient.tick([1], 30_000, busy);
  expect(patient.nodes[1]!.changingView).toBe(false);
  patient.tick([1], VIEW_TIMEOUT_MS, { ...busy, leader_lost_ms: 30_000 });
  expect(patient.nodes[1]!.changingView).toBe(true);
});

test("a minority asks for no view", () => {
  const five = new Five();
  five.tick([3, 4], 60_000, { ...ready, quorum_alive: false });
  expect(five.sent).toEqual([]);
  expect(five.nodes[3]!.changingView).toBe(false);
});

test("what may be certified survives its leader: the next one must propose it again", () => {
  const five = new Five();
  five.propose(0, "A");
  // Node 2 alone acknowledges, to a leader that dies: for all it knows, "A" was certified.
  const proposal = five.sent.find(({ to }) => to === 2)!;
  five.receive(2, 0, proposal.message);
  five.sent.length = 0;
  const living = [1, 2, 3];
  five.tick(living, VIEW_TIMEOUT_MS);
  five.deliver(living);
  expect(five.nodes[1]!.view).toBe(1);
  expect(living.map((i) => five.decided(i))).toEqual([["A"], ["A"], ["A"]]);
});

test("a node that asked for a view acknowledges nothing below it, not even after a restart", () => {
  const five = new Five();
  five.propose(0, "A");
  const proposal = five.sent.find(({ to }) => to === 3)!.message;
  five.sent.length = 0;
  five.tick([3], VIEW_TIMEOUT_MS);
  five.sent.length = 0;
  five.receive(3, 0, proposal);
  expect(five.sent).toEqual([]);
  five.restart(3);
  five.receive(3, 0, proposal);
  expect(five.sent.filter(({ message }) => message.type === "election.ack")).toEqual([]);
});

test("the promise is durable before the acknowledgement, and is repeated after a restart", () => {
  const five = new Five();
  five.propose(0, "A");
  const proposal = five.sent.find(({ to }) => to === 1)!.message;
  const out: ElectionEffect[] = [];
  const node = five.nodes[1]!;
  node.message({ from: roster[0]!, ...proposal }, 0, out);
  node.acknowledge(contentHash("A"), 0, out);
  expect(out.map((effect) => effect.type)).toEqual(["persist", "send"]);
  five.persisted[1] = structuredClone((out[0] as { value: unknown }).value);
  five.sent.length = 0;
  five.restart(1);
  five.act(1, (again, effects) => again.message({ from: roster[0]!, ...proposal }, 0, effects));
  expect(five.sent.map(({ message }) => message.type)).toEqual(["election.ack"]);
});

test("a leader that restarts proposes nothing but what it proposed", () => {
  const five = new Five();
  five.propose(0, "A");
  five.sent.length = 0;
  five.restart(0);
  expect(five.nodes[0]!.mayPropose).toBe(false);
  five.tick([0], RESEND_MS);
  five.deliver();
  expect(five.decided(3)).toEqual(["A"]);
});

describe("conflicting proposals of one term", () => {
  const ballots = new Ballots(roster, roster_hash, signers[0]!, keys.verifier);
  const term = { round: 0, view: 0, step: "announce" } as const;
  const message = (body: Proposal) => ({ type: "election.propose", body });

  test("are kept as evidence, and only the first is acknowledged", () => {
    const five = new Five();
    five.receive(1, 0, message(ballots.propose(term, "A")));
    five.receive(1, 0, message(ballots.propose(term, "B")));
    five.receive(1, 0, message(ballots.propose(term, "B")));
    const acks = five.sent.filter(({ message: { type } }) => type === "election.ack");
    expect(acks.length).toBe(1);
    expect(five.evidence[0]).toMatchObject({
      evidence: { kind: "equivocation", public_key: roster[0], first: { content: "A" } },
    });
  });

  test("a proposal by someone else than the leader, or of another roster, is ignored", () => {
    const five = new Five();
    const other = new Ballots(roster, roster_hash, signers[2]!, keys.verifier);
    const foreign = new Ballots(roster, sha256Hex("x") as Hash, signers[0]!, keys.verifier);
    five.receive(1, 2, message(other.propose(term, "A")));
    five.receive(1, 0, message(foreign.propose(term, "A")));
    expect(five.sent).toEqual([]);
    expect(five.nodes[1]!.pending).toBeNull();
  });
});

describe("certificates", () => {
  const five = new Five();
  for (const content of ["A", "B", "C"]) {
    five.propose(0, content);
    five.deliver();
  }
  const head = five.nodes[0]!.head!;
  const feed = (certificate: Certificate) => {
    const fresh = new Five();
    const body = { certificates: [certificate] };
    fresh.receive(4, 0, { type: "election.certificates", body });
    return fresh.nodes[4]!;
  };

  test("the last step promotes the round, and its certificate alone brings a late joiner there", () => {
    expect(five.nodes.map((node) => node.round)).toEqual([1, 1, 1, 1, 1]);
    expect(feed(head)).toMatchObject({ round: 1, view: 0 });
    expect(feed(head).head?.proposal.content).toBe("C");
  });
  test("too few, doubled, foreign or altered acknowledgements prove nothing", () => {
    const few = { ...head, acks: head.acks.slice(0, 2) };
    const doubled = { ...head, acks: [...few.acks, few.acks[0]!] };
    const stranger = { public_key: `03${"11".repeat(32)}` as PublicKey, signature: "0" };
    const foreign = { ...head, acks: [...few.acks, stranger] };
    const altered = { ...head, result_hash: sha256Hex("other") as Hash };
    const swapped = { ...head, proposal: { ...head.proposal, content: "D" } };
    for (const bad of [few, doubled, foreign, altered, swapped]) expect(feed(bad).round).toBe(0);
  });
  test("a replay of an old proposal is answered with what has been decided since", () => {
    const { proposal } = head;
    const replay = { type: "election.propose", body: { ...proposal } };
    five.sent.length = 0;
    five.now_ms += 10 * RESEND_MS;
    five.receive(3, 0, replay);
    expect(five.sent.map(({ to, message }) => [to, message.type])).toEqual([
      [0, "election.certificates"],
    ]);
    expect(five.nodes[3]!.round).toBe(1);
  });
});

test("a view timeout with a lock that its leader never signed counts for nothing", () => {
  const five = new Five();
  const ballots = new Ballots(roster, roster_hash, signers[2]!, keys.verifier);
  const forged = ballots.propose({ round: 0, view: 0, step: "announce" }, "EVIL");
  const lock = { proposal: forged, result_hash: contentHash("EVIL") };
  const body: ViewTimeout = ballots.viewTimeout(0, 1, [], lock);
  five.tick([1, 3], VIEW_TIMEOUT_MS);
  five.deliver([1, 3]);
  five.receive(1, 2, { type: "election.view_timeout", body });
  expect(five.nodes[1]!.view).toBe(0);
  const honest = ballots.viewTimeout(0, 1, [], null);
  five.receive(1, 2, { type: "election.view_timeout", body: honest });
  expect(five.nodes[1]!).toMatchObject({ view: 1, mayPropose: true });
});

test("corrupt durable state stops the node instead of forgetting promises", () => {
  const five = new Five();
  five.persisted[0] = { round: 1 };
  expect(() => five.restart(0)).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }));
});
