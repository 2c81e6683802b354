/** Real nodes train, merge and agree: the whole agent, from a submitted job to the last state. */
import { afterEach, expect, test } from "bun:test";
import { awaitStates, makeJob, TestNetwork, until } from "./real-nodes.ts";

let network: TestNetwork | undefined;
afterEach(async () => {
  await network?.stop();
  network = undefined;
});

test("three nodes hold the same state after every round, and the job ends", async () => {
  network = new TestNetwork(3);
  await network.start();
  const prepared = await makeJob({ rounds: 3 });
  const { job_id } = await network.members[1]!.submit(prepared);
  const states = await awaitStates(network.members, 3);
  expect(new Set(states).size).toBe(3);
  for (const member of network.members) {
    expect(member.head!.state_hash).toBe(states.at(-1)!);
    const { records } = member.running.history;
    expect(records.every(({ contributors }) => contributors.length === 3)).toBe(true);
    expect(records.every((record) => record.job_id === job_id)).toBe(true);
    await until("the merged states to be evaluated", () =>
      records.every(({ loss_merged }) => loss_merged !== null),
    );
    await until("the job to be over", () => member.running.machine.view().phase === "idle");
  }
}, 30_000);
