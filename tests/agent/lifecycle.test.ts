/** How a node ends: closed while it works, refused at the start, or because its disk fails. */
import { afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import type { Hash } from "../../src/core/types.ts";
import { awaitStates, makeJob, TestNetwork, until } from "./real-nodes.ts";

let network: TestNetwork | undefined;
afterEach(async () => {
  await network?.stop();
  network = undefined;
});

const failureOf = async (work: Promise<unknown>): Promise<MagnetError> => {
  try {
    await work;
  } catch (error) {
    if (error instanceof MagnetError) return error;
    throw error;
  }
  throw new Error("a failure was expected");
};

test("a node that is closed while it trains ends at once and starts again on its disk", async () => {
  network = new TestNetwork(1, 0, 51);
  const [member] = network.members;
  await network.start();
  await member!.submit(await makeJob({ rounds: 2, inner_steps: 100_000 }));
  await until("training to run", () => (member!.running.progress?.step ?? 0) > 2);
  const started = performance.now();
  await member!.stop();
  expect(performance.now() - started).toBeLessThan(3000);
  await member!.start([]);
  await until("training to run again", () => (member!.running.progress?.step ?? 0) > 2);
  expect(member!.running.machine.view().phase).toBe("training");
}, 30_000);

test("a node whose promise cannot be written ends, and sends nothing after it", async () => {
  network = new TestNetwork(1, 0, 52);
  const [member] = network.members;
  await network.start();
  const { running, data_dir } = member!;
  const prepared = await makeJob({ rounds: 5 });
  fs.rmSync(path.join(data_dir, "state"), { recursive: true });
  fs.writeFileSync(path.join(data_dir, "state"), "not a folder");
  await member!.submit(prepared).catch(() => undefined); // what counts is how the node ends
  const failure = await running.failure;
  expect(failure.code).toBe("NOT_A_FOLDER");
  expect(member!.states).toEqual([]);
}, 20_000);

test("a node that cannot start leaves no port, database or timer behind", async () => {
  network = new TestNetwork(2, 0, 53);
  const [first, second] = network.members;
  await first!.start([]);
  const port = Number(first!.running.transport.address.split(":").at(-1));
  const listen = { host: "127.0.0.1", port };
  expect((await failureOf(second!.start([], { listen }))).code).toBe("PORT_IN_USE");
  await first!.stop();
  const state = path.join(second!.data_dir, "state");
  fs.mkdirSync(state, { recursive: true });
  fs.writeFileSync(path.join(state, "election.json"), '{"round":"none"}');
  expect((await failureOf(second!.start([], { listen }))).code).toBe("STATE_CORRUPT");
  fs.rmSync(state, { recursive: true });
  await second!.start([], { listen }); // the port is free again
  expect(second!.running.transport.address).toEndWith(`:${port}`);
}, 20_000);

test("a full disk costs the contribution, says so, and does not end the network", async () => {
  network = new TestNetwork(3, 0, 54);
  const [first, second, full] = network.members;
  await network.start([first!, second!]);
  await full!.start([first!], { max_disk_bytes: 1000 });
  await first!.submit(await makeJob({ rounds: 2 }));
  const states = await awaitStates([first!, second!], 2);
  expect(second!.head!.state_hash).toBe(states.at(-1)!);
  expect(full!.running.blobs.used_bytes).toBeLessThanOrEqual(1000);
  expect(full!.states).toEqual([]);
}, 30_000);

test("damage on the disk is healed from peers: a base state that rotted is fetched again", async () => {
  network = new TestNetwork(3, 0, 55);
  await network.start();
  const [first, victim] = network.members;
  await first!.submit(await makeJob({ rounds: 30, inner_steps: 1 }));
  await awaitStates(network.members, 2);
  await victim!.stop();
  const store = path.join(victim!.data_dir, "store", "blobs");
  for (const prefix of fs.readdirSync(store))
    for (const name of fs.readdirSync(path.join(store, prefix))) {
      const file = path.join(store, prefix, name);
      const bytes = fs.readFileSync(file);
      if (!bytes.subarray(0, 8).equals(Buffer.from("MGSTATE1"))) continue;
      bytes[bytes.length - 1]! ^= 1;
      fs.writeFileSync(file, bytes);
    }
  await victim!.start([first!]);
  await until("the victim to follow again", () => {
    const { head } = victim!;
    if (!head || !first!.states.includes(head.state_hash)) return false;
    return victim!.states.length >= 3 && victim!.running.blobs.has(head.state_hash as Hash);
  });
  const key = victim!.identity.public_key;
  await until("the victim to contribute again", () =>
    first!.running.history.records.at(-1)!.contributors.includes(key),
  );
}, 40_000);

test("a member of the storage tier votes and stores, but gets no slice", async () => {
  network = new TestNetwork(3, 0, 56);
  const [first, second, store] = network.members;
  await network.start([first!, second!]);
  await store!.start([first!], { tier: "storage_node" });
  await until("its tier to be known", () =>
    [first!, second!].every(({ running }) => running.transport.peers().length === 2),
  );
  await first!.submit(await makeJob({ rounds: 2 }));
  const states = await awaitStates(network.members, 2);
  expect(store!.head!.state_hash).toBe(states.at(-1)!);
  const { records } = first!.running.history;
  const key = store!.identity.public_key;
  expect(records.slice(0, 2).flatMap(({ contributors }) => contributors)).not.toContain(key);
}, 30_000);
