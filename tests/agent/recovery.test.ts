/** Nodes that die, return, come late or only follow; and checkpoints that outlive a node's disk. */
import { afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import type { Hash } from "../../src/core/types.ts";
import { BlobStore } from "../../src/storage/blobs.ts";
import { hostDisk } from "../../src/storage/disk.ts";
import { awaitStates, type Member, makeFolder, makeJob, TestNetwork, until } from "./real-nodes.ts";

let network: TestNetwork | undefined;
afterEach(async () => {
  await network?.stop();
  network = undefined;
});

const contributorsOf = (member: Member, from: number) =>
  member.running.history.records.slice(from).map(({ contributors }) => contributors);

test("a member that died in the middle returns on its disk, catches up and contributes", async () => {
  network = new TestNetwork(4, 0, 2);
  await network.start();
  const victim = network.members[3]!;
  const others = network.members.slice(0, 3);
  await others[0]!.submit(await makeJob({ rounds: 40, inner_steps: 2 }));
  await awaitStates(network.members, 1);
  await victim.stop();
  const seen = others[0]!.states.length;
  await awaitStates(others, seen + 2);
  await victim.start(others.slice(0, 1));
  const key = victim.identity.public_key;
  await until("the member to contribute again", () =>
    contributorsOf(others[0]!, seen + 2).some((keys) => keys.includes(key)),
  );
  const witness = others[0]!;
  await until("the same state on both", () => {
    const head = victim.head;
    return head !== null && witness.states.includes(head.state_hash) && victim.states.length > 2;
  });
  for (const state of victim.states.slice(0, 2)) expect(witness.states).toContain(state);
}, 40_000);

test("a late member and a stranger without a vote follow to the same state", async () => {
  network = new TestNetwork(4, 1, 3);
  const early = network.members.slice(0, 3);
  const [late, stranger] = [network.members[3]!, network.strangers[0]!];
  await network.start(early);
  const { job_id } = await early[2]!.submit(await makeJob({ rounds: 4 }));
  await awaitStates(early, 2);
  await late.start(early.slice(0, 1));
  await stranger.start(early.slice(1, 2));
  const last = (await awaitStates(early, 4)).at(-1)!;
  for (const follower of [late, stranger]) {
    await until("the last state", () => follower.head?.state_hash === last);
    await until("it to be here", () => follower.running.blobs.has(last as Hash));
    expect(follower.head).toMatchObject({ job_id });
  }
  expect(stranger.running.machine.view().in_roster).toBe(false);
  const all = early.flatMap((member) => contributorsOf(member, 0).flat());
  expect(all).not.toContain(stranger.identity.public_key);
}, 40_000);

test("a checkpoint is put together from shards alone after a node is gone for good", async () => {
  network = new TestNetwork(4, 0, 4);
  await network.start();
  await network.members[0]!.submit(await makeJob({ rounds: 2 }));
  const states: string[] = await awaitStates(network.members, 2);
  const [victim, witness] = [network.members[3]!, network.members[0]!];
  const object = () =>
    witness.running.machine.keeper
      .health()
      .find(({ live, total, holders }) => live === total && holders.length > 0);
  await until("the last checkpoint to be spread", () => {
    const cids = witness.running.machine.keeper.health();
    return cids.length > 0 && cids.every(({ live, total }) => live === total);
  });
  await victim.stop();
  fs.rmSync(victim.data_dir, { recursive: true });
  const gone = victim.identity.public_key;
  const healed = await until("its shards to be rebuilt", () => {
    const found = object();
    return found?.holders.every((keys) => keys.some((key) => key !== gone)) && found;
  });
  const folder = path.join(makeFolder(), "restored");
  const request = { cid: healed.cid, folder };
  const answer = (await witness.control.restoreObject(request)) as { content_hash: Hash };
  const restored = await BlobStore.open({ folder, disk: hostDisk });
  await restored.verify(answer.content_hash);
  expect(states).toContain(answer.content_hash);
}, 40_000);

test("two jobs run one after the other, and what the first one needed is given back", async () => {
  network = new TestNetwork(3, 0, 6);
  await network.start();
  const [one, two] = [
    await makeJob({ rounds: 3, name: "one" }),
    await makeJob({ rounds: 3, name: "two", seed: 2 }),
  ];
  const first = await network.members[0]!.submit(one);
  const second = await network.members[1]!.submit(two);
  await awaitStates(network.members, 6);
  const base_of = new Map<string, Hash>();
  for (const { job_id, base_hash } of [first, second]) base_of.set(job_id, base_hash as Hash);
  for (const member of network.members) {
    const { running } = member;
    const order: string[] = [...new Set(running.history.records.map(({ job_id }) => job_id))];
    expect(order.toSorted()).toEqual([...base_of.keys()].toSorted());
    const changes = running.history.records.filter(
      ({ job_id }, i, all) => i > 0 && all[i - 1]!.job_id !== job_id,
    );
    expect(changes.length).toBe(1);
    await until("both to be freed", () => running.jobs.baseHashes().length === 0);
    const base = base_of.get(order[0]!)!;
    await until("the first initial state to be gone", () => !running.blobs.has(base));
    await until("two states to be kept", () => {
      const kept = running.blobs.list().filter((hash) => member.states.includes(hash));
      return kept.length <= 2;
    });
  }
}, 40_000);
