/** Trails in a real network: signed with commitments, served to members only, and gone on from after a kill. */
import { afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { type Trail, trailHash } from "../../src/agent/trail/trail.ts";
import { filesOf } from "../../src/agent/trail/trail-store.ts";
import { awaitStates, type Member, makeJob, TestNetwork, until } from "./real-nodes.ts";

/** On a machine that does other things too. */
const LIMIT_MS = 90_000;

let network: TestNetwork | undefined;
afterEach(async () => {
  await network?.stop();
  network = undefined;
});

/** The trail of the member's last contribution that was merged, as its disk says. */
function lastMerged(member: Member): Trail | null {
  const file = path.join(member.data_dir, "state/contribution.json");
  if (!fs.existsSync(file)) return null;
  const { merged } = JSON.parse(fs.readFileSync(file, "utf8"));
  return merged && member.running.trails.trail(merged.trail_hash);
}
const isOpen = (member: Member, trail: Trail) =>
  member.running.trails.textFor(trailHash(trail), member.identity.public_key) !== null;

test(
  "members read the points of a merged contribution, a stranger does not",
  async () => {
    network = new TestNetwork(3, 1, 7);
    const [author, reader] = network.members as [Member, Member];
    const [stranger] = network.strangers as [Member];
    await network.start();
    await stranger.start([author]);
    await author.submit(await makeJob({ rounds: 2, inner_steps: 25 }));
    await awaitStates(network.members, 2, LIMIT_MS);
    const trail = await until(
      "the last trail to be open",
      () => {
        const last = lastMerged(author);
        return last?.previous && isOpen(author, last) ? last : undefined;
      },
      LIMIT_MS,
    );
    expect(trail.public_key).toBe(author.identity.public_key);
    expect(trail.points.map(({ step }) => step)).toEqual([0, 20, 25]);
    const from = [author.identity.public_key];
    await until(
      "the stranger to be connected",
      () => stranger.running.transport.peers().some(({ public_key }) => public_key === from[0]),
      LIMIT_MS,
    );
    for (const hash of new Set(filesOf(trail))) {
      await reader.running.fetchBlob(hash, from);
      await reader.running.blobs.verify(hash);
      await expect(stranger.running.fetchBlob(hash, from)).rejects.toThrow(/not served/);
    }
  },
  3 * LIMIT_MS,
);

test(
  "a node that was killed goes on from its last merged contribution",
  async () => {
    network = new TestNetwork(3, 0, 8);
    await network.start();
    const [witness, , victim] = network.members as [Member, Member, Member];
    await witness.submit(await makeJob({ rounds: 30, inner_steps: 10 }));
    await until(
      "two of its contributions to be merged",
      () => lastMerged(victim)?.previous != null,
      LIMIT_MS,
    );
    await victim.stop();
    await victim.start([witness]);
    const before = lastMerged(victim)!;
    const after = await until(
      "it to contribute again",
      () => {
        const last = lastMerged(victim);
        return last && trailHash(last) !== trailHash(before) ? last : undefined;
      },
      LIMIT_MS,
    );
    expect(after.previous).not.toBeNull();
    expect(after.optimizer_steps).toBeGreaterThan(before.optimizer_steps);
    expect(after.optimizer_steps % 10).toBe(0);
  },
  3 * LIMIT_MS,
);
