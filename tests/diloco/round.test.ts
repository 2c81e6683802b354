/** Rounds as the network lives them: stragglers, missing reveals, dead leaders, late joiners. */
import { describe, expect, test } from "bun:test";
import type { NodeEffect } from "../../src/agent/node-types.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import type { MergeTask } from "../../src/diloco/round-types.ts";
import { Cluster, jobOffer, type Member } from "./cluster.ts";

const merges = (member: Member): MergeTask[] =>
  member.effects.flatMap((effect) => (effect.type === "merge" ? [effect.task] : []));
const isReveal = (effect: NodeEffect): boolean =>
  effect.type === "send" && effect.message.type === "round.reveal";

test("four nodes run a job to its end on one state per round, then idle", () => {
  const cluster = new Cluster(4);
  cluster.step(cluster.members[2]!, { type: "job_started", job: jobOffer(3) });
  expect(cluster.run(20_000, () => cluster.settled(3))).toBe(true);
  for (const member of cluster.members) {
    expect(member.count("train")).toBe(3);
    expect(merges(member).map((task) => task.contributors.length)).toEqual([4, 4, 4]);
    expect(member.machine!.view()).toMatchObject({ round: 3, job: null, reason: "no job" });
  }
  const slices = cluster.members.map((member) =>
    member.effects.flatMap((e) => (e.type === "train" ? [e.task.slice_index] : [])),
  );
  expect(slices).toEqual([0, 1, 2, 3].map((i) => [i, i, i]));
  expect(cluster.members.filter((m) => m.effects.some(ledStore)).length).toBe(3);
});

const ledStore = (effect: NodeEffect): boolean =>
  effect.type === "store_checkpoint" && effect.is_leader;

test("a roster of one promotes alone", () => {
  const cluster = new Cluster(1);
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(2) });
  expect(cluster.run(5000, () => cluster.settled(2))).toBe(true);
});

test("a straggler delays a round by the grace window, not by its own time", () => {
  const cluster = new Cluster(4);
  const slow = cluster.members[3]!;
  slow.train_ms = 60_000;
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(2) });
  expect(cluster.run(8000, () => cluster.settled(2))).toBe(true);
  expect(merges(cluster.members[0]!)[0]!.contributors.map((entry) => entry.public_key)).toEqual(
    cluster.members.slice(0, 3).map((member) => member.key),
  );
  expect(slow.count("cancel_training")).toBe(2);
  // It did not contribute, and it still verified the merges.
  expect(merges(slow).length).toBe(2);
});

test("a contributor that committed but never reveals is left out", () => {
  const cluster = new Cluster(4);
  const mute = cluster.members[3]!;
  cluster.intercept = (member, effect) =>
    member === mute && (isReveal(effect) || effect.type === "publish_blob");
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(1) });
  expect(cluster.run(8000, () => cluster.settled(1))).toBe(true);
  const [task] = merges(cluster.members[0]!);
  expect(task!.contributors.map((entry) => entry.public_key)).not.toContain(mute.key);
  expect(task!.contributors.length).toBe(3);
});

test("a reveal that does not open its commitment is left out", () => {
  const cluster = new Cluster(3);
  const liar = cluster.members[2]!;
  cluster.intercept = (member, effect) => {
    if (member === liar && effect.type === "send" && isReveal(effect)) {
      const body = effect.message.body as { delta_hash: string };
      body.delta_hash = "ab".repeat(32);
    }
    return false;
  };
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(1) });
  expect(cluster.run(8000, () => cluster.settled(1))).toBe(true);
  expect(merges(cluster.members[0]!)[0]!.contributors.length).toBe(2);
});

test("a contributor that was found wrong is left out by those who know, for the rest of the job", () => {
  const cluster = new Cluster(4);
  const cheat = cluster.members[3]!;
  const job = jobOffer(6);
  const knows = cluster.members.slice(0, 2);
  cluster.step(cluster.members[0]!, { type: "job_started", job });
  const { job_id } = job;
  // Told in the middle of a round that has a slice for it; members 0 and 1 lead rounds 4, 5.
  cluster.run(20_000, () => cluster.members[0]!.machine!.view().round === 4);
  const tell = (member: Member) =>
    cluster.step(member, { type: "contributor_wrong", job_id, public_key: cheat.key });
  for (const member of knows) tell(member);
  expect(cluster.run(20_000, () => cluster.settled(6))).toBe(true);
  const withCheat = merges(cluster.members[2]!).map(({ contributors }) =>
    contributors.some((entry) => entry.public_key === cheat.key),
  );
  expect(withCheat).toEqual([true, true, true, true, false, false]);
  // In another job it starts anew; where nobody else has committed, the round goes on with it.
  const next = jobOffer(1, "next");
  cluster.step(cluster.members[0]!, { type: "job_started", job: next });
  expect(cluster.run(20_000, () => cluster.settled(7))).toBe(true);
  expect(merges(cluster.members[2]!).at(-1)!.contributors.length).toBe(4);
  const last = jobOffer(1, "last");
  for (const member of cluster.members)
    for (const { key } of cluster.members)
      cluster.step(member, {
        type: "contributor_wrong",
        ...{ job_id: last.job_id, public_key: key },
      });
  cluster.step(cluster.members[0]!, { type: "job_started", job: last });
  expect(cluster.run(20_000, () => cluster.settled(8))).toBe(true);
  expect(merges(cluster.members[2]!).at(-1)!.contributors.length).toBeGreaterThan(0);
});

test("one that is found wrong while it has a slice is left out of that round's collection", () => {
  const cluster = new Cluster(4);
  const [, leader, , cheat] = cluster.members;
  cheat!.train_ms = 50; // its commitment is there before the others'
  const job = jobOffer(2);
  cluster.step(cluster.members[0]!, { type: "job_started", job });
  const { machine } = cheat!;
  const isTraining = () => machine!.view().round === 1 && machine!.view().phase === "training";
  expect(cluster.run(20_000, isTraining)).toBe(true);
  const { job_id } = job;
  cluster.step(leader!, { type: "contributor_wrong", job_id, public_key: cheat!.key });
  expect(cluster.run(20_000, () => cluster.settled(2))).toBe(true);
  const contributors = merges(cluster.members[2]!).map((task) =>
    task.contributors.map((entry) => entry.public_key),
  );
  expect(contributors.map((keys) => keys.includes(cheat!.key))).toEqual([true, false]);
  expect(contributors.map(({ length }) => length)).toEqual([4, 3]);
  expect(cheat!.count("train")).toBe(2);
});

test("nothing is published or revealed before the collected set is certified", () => {
  const cluster = new Cluster(4);
  const stuck = (effect: NodeEffect) =>
    effect.type === "send" &&
    effect.message.type === "election.ack" &&
    (effect.message.body as { step: string }).step === "collect";
  cluster.intercept = (_, effect) => stuck(effect);
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(1) });
  cluster.run(4000);
  for (const member of cluster.members) {
    expect(member.count("publish_blob")).toBe(0);
    expect(member.effects.some(isReveal)).toBe(false);
  }
  cluster.intercept = () => false;
  expect(cluster.run(30_000, () => cluster.settled(1))).toBe(true);
});

test("a node whose merge deviates fetches the certified state", () => {
  const cluster = new Cluster(4);
  const broken = cluster.members[1]!;
  cluster.intercept = (member, effect) => {
    if (member !== broken || effect.type !== "merge") return false;
    const { merge_hash } = effect.task;
    const state_hash = "cd".repeat(32) as typeof merge_hash;
    cluster.step(broken, { type: "merged", merge_hash, state_hash });
    return true;
  };
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(2) });
  expect(cluster.run(20_000, () => cluster.settled(2))).toBe(true);
  expect(broken.count("fetch_checkpoint")).toBe(2);
  expect(broken.effects.some((e) => e.type === "log" && e.event === "merge_deviates")).toBe(true);
});

test("a late joiner fetches the state and contributes to the next round", () => {
  const cluster = new Cluster(4, 3);
  const late = cluster.members[3]!;
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(5) });
  cluster.run(20_000, () => (cluster.members[0]!.machine!.view().promoted?.round ?? -1) >= 1);
  cluster.start(late);
  expect(cluster.run(20_000, () => cluster.settled(5))).toBe(true);
  expect(late.count("fetch_checkpoint")).toBeGreaterThan(0);
  expect(merges(cluster.members[0]!).at(-1)!.contributors.length).toBe(4);
});

test("a minority waits and says so; the quorum's return continues the job", () => {
  const cluster = new Cluster(4);
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(3) });
  cluster.run(10_000, () => cluster.members[0]!.machine!.view().round === 1);
  cluster.kill(cluster.members[2]!);
  cluster.kill(cluster.members[3]!);
  const { round, view } = cluster.members[0]!.machine!.view();
  cluster.run(10_000);
  expect(cluster.members[0]!.machine!.view()).toMatchObject({ round, view, alive: 2, quorum: 3 });
  expect(cluster.members[0]!.machine!.view().reason).toContain("2 of 4 members");
  cluster.start(cluster.members[2]!);
  cluster.start(cluster.members[3]!);
  expect(cluster.run(30_000, () => cluster.settled(3))).toBe(true);
});

test("failed training is reported, waited for no longer, and tried again", () => {
  const cluster = new Cluster(3);
  let failures = 0;
  cluster.intercept = (member, effect) => {
    if (effect.type !== "train" || member.index !== 2 || failures > 0) return false;
    failures++;
    const { announce_hash } = effect.task;
    cluster.step(member, { type: "train_failed", announce_hash, reason: "disk full" });
    return true;
  };
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(2) });
  expect(cluster.run(10_000, () => cluster.settled(2))).toBe(true);
  const counts = merges(cluster.members[0]!).map((task) => task.contributors.length);
  expect(counts).toEqual([2, 3]);
});

describe("the trail that a round goes on from", () => {
  const trailsOf = (member: Member) => member.effects.filter((effect) => effect.type === "train");
  const named = (member: Member) => trailsOf(member).map(({ task }) => task.previous_trail);
  const trailOf = (member: Member, announce_hash: string) =>
    sha256Hex(["trail", announce_hash, member.key].join("\n"));
  const made = (member: Member) =>
    trailsOf(member).map(({ task }) => trailOf(member, task.announce_hash));

  test("is that of the last contribution that was merged, also after a restart", () => {
    const cluster = new Cluster(4);
    const away = cluster.members[3]!;
    cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(6) });
    const promoted = () => cluster.members[0]!.machine!.view().promoted?.round ?? -1;
    cluster.run(20_000, () => promoted() >= 1);
    // It trains and commits, and nobody hears of it: its third round is not merged.
    cluster.intercept = (member, effect) =>
      member === away && (isReveal(effect) || effect.type === "publish_blob");
    cluster.run(20_000, () => promoted() >= 2);
    cluster.intercept = () => false;
    cluster.run(20_000, () => promoted() >= 3);
    cluster.kill(away);
    cluster.start(away);
    expect(cluster.run(60_000, () => cluster.settled(6))).toBe(true);
    for (const member of cluster.members) {
      const isMerged = (round: number) =>
        merges(cluster.members[0]!)[round]!.contributors.some(
          ({ public_key }) => public_key === member.key,
        );
      for (const { task } of trailsOf(member)) {
        const before = trailsOf(member).findLast(
          (one) => one.task.job_round < task.job_round && isMerged(one.task.job_round),
        );
        const expected = before ? trailOf(member, before.task.announce_hash) : null;
        expect([task.job_round, task.previous_trail as string | null]).toEqual([
          task.job_round,
          expected,
        ]);
      }
    }
    const [, , third, fourth] = named(away);
    expect(fourth!).toBe(third!);
  });

  test("is none for the first round of another job", () => {
    const cluster = new Cluster(3);
    cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(2, "one") });
    expect(cluster.run(20_000, () => cluster.settled(2))).toBe(true);
    cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(2, "two") });
    expect(cluster.run(20_000, () => cluster.settled(4))).toBe(true);
    for (const member of cluster.members) {
      const [first, second, third, fourth] = named(member);
      expect([first, third]).toEqual([null, null]);
      expect([second, fourth] as string[]).toEqual([made(member)[0]!, made(member)[2]!]);
    }
  });
});

describe("the death of the leader at every one of its effects", () => {
  const job = jobOffer(2);
  const begin = () => {
    const cluster = new Cluster(4);
    cluster.step(cluster.members[3]!, { type: "job_started", job });
    return cluster;
  };
  const calm = begin();
  calm.run(20_000, () => calm.settled(2));
  const effects = calm.members[0]!.effects.length;

  test(`all ${effects} places: the others finish, and it catches up after a restart`, () => {
    for (let place = 0; place < effects; place++) {
      const cluster = begin();
      const leader = cluster.members[0]!;
      leader.dies_after = place;
      cluster.run(100_000, () => !leader.machine && cluster.settled(2));
      if (leader.machine) continue;
      expect([place, cluster.settled(2)]).toEqual([place, true]);
      cluster.start(leader);
      expect([place, cluster.run(20_000, () => cluster.settled(2))]).toEqual([place, true]);
    }
  }, 30_000);

  test("a restart in the same place continues without the others giving up on the job", () => {
    for (let place = 0; place < effects; place += 3) {
      const cluster = begin();
      const leader = cluster.members[0]!;
      leader.dies_after = place;
      cluster.run(100_000, () => !leader.machine || cluster.settled(2));
      if (!leader.machine) cluster.start(leader);
      expect([place, cluster.run(100_000, () => cluster.settled(2))]).toEqual([place, true]);
    }
  }, 30_000);
});

test("a restart after the commitment neither trains again nor commits to something else", () => {
  const cluster = new Cluster(3);
  const member = cluster.members[2]!;
  cluster.members[1]!.train_ms = 400;
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(1) });
  cluster.run(5000, () => member.machine!.view().phase === "committed");
  cluster.kill(member);
  cluster.start(member);
  expect(cluster.run(20_000, () => cluster.settled(1))).toBe(true);
  expect(member.count("train")).toBe(1);
  expect(merges(cluster.members[0]!)[0]!.contributors.length).toBe(3);
});

test("two jobs submitted at once run one after the other everywhere", () => {
  const cluster = new Cluster(4);
  cluster.step(cluster.members[0]!, { type: "job_started", job: jobOffer(2, "one") });
  cluster.step(cluster.members[3]!, { type: "job_started", job: jobOffer(2, "two") });
  expect(cluster.run(40_000, () => cluster.settled(4))).toBe(true);
  const jobs = cluster.members.map((m) => merges(m).map((task) => task.job_id));
  expect(new Set(jobs.map((ids) => ids.join())).size).toBe(1);
  expect(new Set(jobs[0]).size).toBe(2);
});
