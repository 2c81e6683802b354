/**
 * A stranger (authenticated, but not in the roster) may ask and be heard of, but what it claims
 * counts for nothing: no job, no proposal, no holding of shards, and no signature check at its
 * bidding.
 */
import { expect, test } from "bun:test";
import { createNode } from "../../src/agent/node.ts";
import type { NodeEffect } from "../../src/agent/node-types.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import type { JobOffer } from "../../src/diloco/round-messages.ts";
import { Ballots } from "../../src/network/ballot.ts";
import { standInKeys } from "../../src/sim/sim-keys.ts";
import { cidOf } from "../../src/storage/cid.ts";

const START_MS = 1_800_000_000_000;
const roster_hash = sha256Hex("roster") as Hash;
const status = { phase: "idle", round: 0, view: 0, decided: 0, state_hash: null, jobs: 9 };

function node() {
  const keys = standInKeys(4);
  const roster = [0, 1, 2].map((i) => keys.signer(i).public_key);
  const verifications = { count: 0 };
  const machine = createNode({
    signer: keys.signer(0),
    verifier: {
      verify: (...args) => {
        verifications.count++;
        return keys.verifier.verify(...args);
      },
    },
    random: seededRandom(1),
    roster,
    roster_hash,
    tier: "cpu_only",
    address: null,
    bootstrap: [],
    timing: {
      heartbeat_ms: 1000,
      suspect_ms: 5000,
      dead_ms: 15_000,
      view_timeout_ms: 2000,
      grace_ms: 500,
      repair_after_ms: 4000,
    },
  });
  machine.step({ type: "start", persisted: {}, states: [] }, START_MS);
  const say = (from: PublicKey, type: string, body: unknown, at_ms = 0): NodeEffect[] =>
    machine.step({ type: "message", from, message: { type, body } }, START_MS + at_ms);
  const [member, stranger] = [keys.signer(1), keys.signer(7)];
  for (const { public_key } of [member, stranger])
    machine.step({ type: "peer_up", public_key, tier: "cpu_only", dialed: null }, START_MS);
  return { machine, say, keys, roster, member, stranger, verifications };
}

const jobOffer = (): JobOffer => {
  const spec = '{"schema":"magnet.job/1"}';
  const base_hash = sha256Hex("base") as Hash;
  const fields = { rounds: 2, inner_steps: 5, round_deadline_ms: 1000, seed: 1, base_hash, spec };
  return { job_id: sha256Hex(spec) as Hash, ...fields };
};

test("jobs come from members only", () => {
  const { machine, say, member, stranger } = node();
  const body = { jobs: [jobOffer()], finished: [] };
  say(stranger.public_key, "round.jobs", body);
  expect(machine.round.parts.jobs.size).toBe(0);
  say(member.public_key, "round.jobs", body);
  expect(machine.round.parts.jobs.size).toBe(1);
});

test("whoever asks for the jobs is answered, but not without pause", () => {
  const { say, member, stranger } = node();
  say(member.public_key, "round.jobs", { jobs: [jobOffer()], finished: [] });
  const answers = (at_ms: number) =>
    say(stranger.public_key, "round.jobs_request", {}, at_ms).filter(
      (effect) => effect.type === "send" && effect.message.type === "round.jobs",
    ).length;
  expect([answers(1), answers(2), answers(3), answers(1001)]).toEqual([1, 0, 0, 1]);
});

test("a proposal that a stranger hands over is not even checked", () => {
  const { machine, say, keys, roster, member, stranger, verifications } = node();
  const ballots = keys.signer;
  const leader = [...roster].sort()[0]!;
  const index = [0, 1, 2].find((i) => ballots(i).public_key === leader)!;
  const signed = new Ballots(roster, roster_hash, keys.signer(index), keys.verifier);
  const proposal = signed.propose({ round: 0, view: 0, step: "announce" }, "{}");
  const before = verifications.count;
  say(stranger.public_key, "election.propose", proposal);
  expect(verifications.count).toBe(before);
  expect(machine.election.pending).toBeNull();
  say(member.public_key, "election.propose", proposal);
  expect(machine.election.pending?.content).toBe("{}");
});

test("a stranger's heartbeat is not followed, and its shards do not count", () => {
  const { machine, say, member, stranger } = node();
  const asked = (from: PublicKey) =>
    say(from, "membership.heartbeat", { sequence: 1, status }).some(
      (effect) => effect.type === "send" && effect.message.type === "round.jobs_request",
    );
  expect(asked(stranger.public_key)).toBe(false);
  expect(asked(member.public_key)).toBe(true);

  const cid = cidOf(new Uint8Array(3));
  const claim = { cid, shards: [0, 1, 2, 3, 4, 5] };
  const wanted = (from: PublicKey, at_ms: number) => {
    say(from, "storage.shards", claim, at_ms);
    return machine
      .step({ type: "tick" }, START_MS + at_ms + 100)
      .some((effect) => effect.type === "keeper" && effect.effect.type === "fetch_manifest");
  };
  expect(wanted(stranger.public_key, 100)).toBe(false);
  expect(wanted(member.public_key, 300)).toBe(true);
});
