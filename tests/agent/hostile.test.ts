/**
 * Liars among the peers and among the members: rounds go on, and nothing of a node's own is lost.
 */
import { afterEach, expect, test } from "bun:test";
import { jobOfferOf } from "../../src/agent/job-registry.ts";
import { canonicalJson, sha256Hex } from "../../src/core/bytes.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Hash } from "../../src/core/types.ts";
import type { TrainedResult } from "../../src/diloco/round-types.ts";
import { encodeBody } from "../../src/network/codec.ts";
import { cidOfManifest, manifestBytes, parseManifest } from "../../src/storage/manifest.ts";
import { rawWire, rogue, strangerKey } from "./hostile-peer.ts";
import { awaitStates, type Member, makeJob, TestNetwork, until } from "./real-nodes.ts";

let network: TestNetwork | undefined;
afterEach(async () => {
  await network?.stop();
  network = undefined;
});

/** The member trains honestly and then commits to bytes that are no pseudo-gradient. */
function makeGarbageContributor(member: Member): void {
  const { jobs, blobs } = member.running;
  const run = jobs.run.bind(jobs);
  jobs.run = async <T>(...[job_id, work]: Parameters<typeof run<T>>): Promise<T> => {
    const result = await run(job_id, work);
    if ((result as { type?: string })?.type !== "trained") return result;
    const { hash, size_bytes } = await blobs.put(seededRandom(9).bytes(5000));
    return { ...(result as TrainedResult), delta_hash: hash, size_bytes } as T;
  };
}

test("a contributor of garbage is left out by everyone, and the rounds go on", async () => {
  network = new TestNetwork(3, 0, 11);
  await network.start();
  makeGarbageContributor(network.members[2]!);
  await network.members[0]!.submit(await makeJob({ rounds: 3 }));
  const states = await awaitStates(network.members, 3);
  expect(new Set(states).size).toBe(3);
  for (const member of network.members) {
    expect(member.head!.state_hash).toBe(states.at(-1)!);
    // All three are in the certified plan; the garbage has no part in the sum.
    expect(member.running.history.records[0]!.contributors.length).toBe(3);
  }
}, 30_000);

test("only garbage in a round: its state is the base again, certified like any other", async () => {
  network = new TestNetwork(3, 0, 12);
  await network.start();
  for (const member of network.members) makeGarbageContributor(member);
  await network.members[0]!.submit(await makeJob({ rounds: 2 }));
  const states = await awaitStates(network.members, 2);
  for (const member of network.members) expect(member.head!.state_hash).toBe(states.at(-1)!);
}, 30_000);

test("connected peers that send garbage do no harm to the rounds", async () => {
  network = new TestNetwork(3, 0, 13);
  await network.start();
  const [target] = network.members;
  const random = seededRandom(77);
  const raw = await Promise.all([0, 1, 2].map(() => rawWire(target!)));
  const liar = await rogue(target!, strangerKey(4001));
  await network.members[1]!.submit(await makeJob({ rounds: 3 }));
  for (const wire of raw) for (let i = 0; i < 50; i++) wire.send(random.bytes(random.below(2000)));
  const types = ["round.commit", "round.jobs", "election.ack", "storage.inventory", "no.such"];
  for (let i = 0; i < 200; i++)
    liar.send({ type: types[i % types.length]!, body: random.bytes(random.below(500)) });
  for (const type of types) liar.send({ type, body: encodeBody({ round: -1, jobs: {} }) });
  const states = await awaitStates(network.members, 3);
  for (const member of network.members) expect(member.head!.state_hash).toBe(states.at(-1)!);
  await until("the liar to be dropped", () =>
    target!.running.transport
      .peers()
      .every(({ public_key }) => public_key !== liar.identity.public_key),
  );
  for (const wire of raw) wire.close("over");
}, 30_000);

test("a member's lying job offers are refused, and the honest job runs", async () => {
  network = new TestNetwork(4, 0, 14);
  const honest_members = network.members.slice(0, 3);
  await network.start(honest_members);
  const prepared = await makeJob({ rounds: 2 });
  const base_hash = sha256Hex("no state") as Hash;
  const honest = jobOfferOf(prepared.job, base_hash);
  const other = jobOfferOf({ ...prepared.job, seed: 7 }, base_hash);
  const spec = canonicalJson({ schema: "magnet.job/1", name: "x".repeat(100) });
  const liar = await rogue(network.members[0]!, network.members[3]!.identity);
  const lies = [
    { ...other, spec: honest.spec },
    { ...other, rounds: 99 },
    { ...honest, job_id: sha256Hex(spec) as Hash, spec },
  ];
  for (const lie of lies)
    liar.send({ type: "round.jobs", body: encodeBody({ jobs: [lie], finished: [] }) });
  // Whoever says that a job has ended which nobody finished is not believed either.
  const finished = [{ job_id: honest.job_id, round: 5 }];
  liar.send({ type: "round.jobs", body: encodeBody({ jobs: [], finished }) });
  const { jobs } = network.members[0]!.running.machine.round.parts;
  await until("a lie to be refused", () => jobs.get(other.job_id)?.state === "failed");
  liar.close();
  await network.members[1]!.submit(prepared);
  const states = await awaitStates(honest_members, 2);
  for (const member of honest_members) expect(member.head!.state_hash).toBe(states.at(-1)!);
}, 30_000);

test("an honest job is not blocked by offers of it that lied first", async () => {
  network = new TestNetwork(4, 0, 16);
  const honest = network.members.slice(0, 3);
  await network.start(honest);
  const prepared = await makeJob({ rounds: 2 });
  const offer = jobOfferOf(prepared.job, sha256Hex("no state") as Hash);
  const lies = [offer, { ...offer, rounds: 99 }, { ...offer, inner_steps: 1 }];
  for (const [i, member] of honest.entries()) {
    const liar = await rogue(member, network.members[3]!.identity);
    liar.send({ type: "round.jobs", body: encodeBody({ jobs: [lies[i]], finished: [] }) });
    await until("the lie to be heard", () => member.running.machine.round.parts.jobs.size === 1);
    liar.close();
  }
  await honest[1]!.submit(prepared);
  const states = await awaitStates(honest, 2);
  for (const member of honest) expect(member.head!.state_hash).toBe(states.at(-1)!);
}, 30_000);

test("a manifest that names a node's own blobs as shards does not delete them", async () => {
  network = new TestNetwork(1, 0, 15, { data_shards: 1, parity_shards: 1 });
  await network.start();
  const [member] = network.members;
  const prepared = await makeJob({ rounds: 2 });
  await member!.submit(prepared);
  await awaitStates(network.members, 2);
  const { running } = member!;
  const { blobs, checkpoints, machine } = running;
  const [cid] = await until("the checkpoint to be stored", () => {
    const all = machine.keeper.health().map((object) => object.cid);
    return all.length > 0 && all;
  });
  const { hashOfCid } = await import("../../src/storage/cid.ts");
  const honest = parseManifest(await blobs.get(hashOfCid(cid!)));
  const state = member!.head!.state_hash as Hash;
  const lie = {
    ...honest,
    content_hash: sha256Hex("x") as Hash,
    shards: [state, honest.shards[0]!],
  };
  await blobs.put(manifestBytes(lie));
  const lie_cid = cidOfManifest(lie);
  for (const [index, hash] of lie.shards.entries())
    checkpoints.perform({ type: "delete_shard", cid: lie_cid, index, hash });
  checkpoints.perform({ type: "delete_manifest", cid: lie_cid, hash: hashOfCid(lie_cid) });
  await until("the manifest to be gone", () => !blobs.has(hashOfCid(lie_cid)));
  expect(blobs.has(state)).toBe(true);
  expect(blobs.has(honest.shards[0]!)).toBe(true);
}, 30_000);
