/** What a node gathers for the ledger while it trains: round proofs, evaluations, audits of shards. */
import { afterEach, expect, test } from "bun:test";
import type { RoundProof } from "../../src/agent/ledger/round-proof.ts";
import { readRoundProof } from "../../src/agent/ledger/round-proof.ts";
import type { Deployment } from "../../src/chain/client/deployment.ts";
import { paramCount } from "../../src/model/config.ts";
import { contentHash } from "../../src/network/ballot.ts";
import { awaitStates, makeJob, TestNetwork, until } from "./real-nodes.ts";

let network: TestNetwork | undefined;
afterEach(async () => {
  await network?.stop();
  network = undefined;
});

const address = (digit: string) => `0x${digit.repeat(40)}` as const;
/** Epochs of an hour, so that audits come when a test asks. */
const DEPLOYMENT: Deployment = {
  chain_id: 31337,
  contracts: {
    ...{ mag_token: address("1"), vote_mag: address("2"), governor: address("3") },
    ...{ timelock: address("4"), params: address("5"), nodes: address("6") },
    ...{ epochs: address("7"), disputes: address("8"), data_registry: address("9") },
    revenue: address("a"),
  },
  block: 0,
  epoch_seconds: 3600,
  genesis: 0,
};
/** Nothing listens there: facts are gathered all the same. */
const LEDGER = {
  rpc_url: "http://127.0.0.1:1",
  stake: { bond: null, seat: null },
  claims: true,
};

/** Three members that gather facts with the chain away. */
async function gathering(): Promise<TestNetwork> {
  network = new TestNetwork(3, 1, 1, {}, DEPLOYMENT);
  const [first, ...others] = network.members;
  await first!.start([], { ledger: LEDGER });
  for (const member of others) await member.start([first!], { ledger: LEDGER });
  return network;
}

test("every node proves the rounds of a job, and a proof stands for nothing else", async () => {
  const { members } = await gathering();
  const prepared = await makeJob({ rounds: 3 });
  const { job_id } = await members[0]!.submit(prepared);
  await awaitStates(members, 3);
  const [alice, bob] = members.map(({ running }) => running.ledger!.gatherer);
  const rounds = await until("three proofs", () => {
    const found = alice!.facts.roundsAfter(-1);
    return found.length === 3 && found;
  });
  const { records } = members[0]!.running.history;
  const stateBytes = members[0]!.running.blobs.size(records.at(-1)!.state_hash)!;
  for (const [i, round] of rounds.entries())
    expect(alice!.archive.certified(round)).toEqual({
      round,
      merge_hash: contentHash(alice!.facts.round(round)!.certificate.proposal.content),
      job_id: job_id as never,
      inner_steps: prepared.job.inner_steps,
      param_count: paramCount(prepared.job.model),
      state_hash: records[i]!.state_hash,
      heldout_hash: prepared.job.heldout_hash as never,
      state_bytes: members[0]!.running.blobs.size(records[i]!.state_hash) ?? stateBytes,
      contributors: [...records[i]!.contributors].sort(),
    });
  await until("three evaluations", () => bob!.facts.evaluationsAfter(-1).length === 3);
  const [evaluation] = bob!.facts.evaluationsAfter(-1);
  expect(evaluation).toMatchObject({ round: rounds[0]!, state_hash: records[0]!.state_hash });
  expect(evaluation!.loss).toBe(members[1]!.running.history.records[0]!.loss_merged!);

  const { ballots } = members[0]!.running.machine.election;
  const proof = alice!.facts.round(rounds[1]!)!;
  const other = alice!.facts.round(rounds[2]!)!;
  const falsified: Partial<RoundProof>[] = [
    { announcement: proof.announcement.replace('"inner_steps":3', '"inner_steps":9') },
    { announcement: other.announcement },
    { spec: proof.spec.replace('"rounds":3', '"rounds":4') },
    { certificate: { ...proof.certificate, result_hash: other.certificate.result_hash } },
    { certificate: { ...proof.certificate, acks: proof.certificate.acks.slice(0, 1) } },
  ];
  for (const change of falsified)
    expect(() => readRoundProof({ ...proof, ...change }, ballots)).toThrow("not the proof");
}, 40_000);

test("a round that a node was away for is fetched from a peer by its proof", async () => {
  const { members } = await gathering();
  await members[0]!.submit(await makeJob({ rounds: 2 }));
  await awaitStates(members, 2);
  const stranger = network!.strangers[0]!;
  await stranger.start([members[0]!], { ledger: LEDGER });
  const { transport } = stranger.running;
  const ledger = stranger.running.ledger!.gatherer;
  await until("connections with all", () => transport.peers().length === members.length);
  const round = members[0]!.running.ledger!.gatherer.facts.roundsAfter(-1)[0]!;
  const sources = members.map(({ identity }) => identity.public_key);
  const found = await ledger.archive.find(round, sources, Date.now());
  expect(found).toEqual(members[0]!.running.ledger!.gatherer.archive.certified(round)!);
  expect(ledger.facts.round(round)).toEqual(
    members[0]!.running.ledger!.gatherer.facts.round(round)!,
  );
  expect(await ledger.archive.find(99, sources, Date.now())).toBeNull();
}, 40_000);

test("audits: a shard that is there passes, one that is gone or damaged does not", async () => {
  const { members } = await gathering();
  await members[0]!.submit(await makeJob({ rounds: 3 }));
  await awaitStates(members, 3);
  const auditor = members[0]!.running.ledger!.gatherer;
  const victim = members[1]!;
  const claimed = await until("shards to be spread", () => {
    const claims = auditor.auditor.claims();
    return claims.size === 2 && claims.get(victim.identity.public_key);
  });
  await until(
    "a passed audit",
    () =>
      auditor.facts.auditsAfter(0).some(({ passed }) => passed) || void auditor.auditor.auditOnce(),
  );
  for (const { hash } of claimed) victim.running.published.withdraw(hash);
  const isFailed = () => auditor.facts.auditsAfter(0).find(({ passed }) => !passed);
  const failed = await until(
    "a failed audit",
    () => isFailed() ?? void auditor.auditor.auditOnce(),
  );
  expect(failed.holder).toBe(victim.identity.public_key);
  expect(failed.reason).toContain("not served here");
}, 40_000);
