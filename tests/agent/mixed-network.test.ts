/**
 * Real nodes, one of them on a GPU (the emulation of one): from a submitted job to the last certified state,
 * which is one for all, and to which every device has contributed with its weight. Every contribution is
 * audited: by bits between the CPUs, by tolerance where the GPU is one of the two.
 */
import { afterEach, beforeAll, expect, test } from "bun:test";
import { chooseDevice, ON_CPU } from "../../src/native/device.ts";
import { BUILD_TIMEOUT_MS, useEmulation } from "../native/emulated.ts";
import { awaitStates, makeJob, TestNetwork, until } from "./real-nodes.ts";

/** One layer of 32 channels: a step of the emulation takes a second or two. */
const MODEL = {
  ...{ variant: "bitnet" as const, vocab_size: 260, d_model: 32, n_layers: 1, n_heads: 2 },
  ...{ n_kv_heads: 1, head_dim: 16, d_ff: 64, context: 16, rope_theta: 10_000, norm_eps: 1e-5 },
};
const ROUNDS = 2;
/** On a machine that does other things too. */
const LIMIT_MS = 250_000;

let network: TestNetwork | undefined;
beforeAll(() => useEmulation(), BUILD_TIMEOUT_MS);
afterEach(async () => {
  await network?.stop();
  network = undefined;
});

test(
  "a GPU node and two CPU nodes certify the same state after every round",
  async () => {
    network = new TestNetwork(3);
    network.network.timing.grace_ms = LIMIT_MS; // the emulation is a straggler, and is waited for
    const [gpu, ...cpus] = network.members;
    const device = chooseDevice({ kind: "cuda", index: 0 });
    const audits = { share: 1, serve_ms: LIMIT_MS };
    await gpu!.start([], { device, tier: "gpu_compute", audits });
    for (const cpu of cpus) await cpu.start([gpu!], { audits });
    expect(network.members.map(({ running }) => running.device)).toEqual([device, ON_CPU, ON_CPU]);
    await until("everyone to be seen by everyone", () =>
      network!.members.every(({ running }) => running.transport.peers().length === 2),
    );
    const peers = cpus[0]!.running.transport.peers();
    const { public_key } = gpu!.identity;
    expect(peers.find((peer) => peer.public_key === public_key)!.tier).toBe("gpu_compute");
    const settings = { rounds: ROUNDS, inner_steps: 2, heldout_sequences: 2 };
    const prepared = await makeJob({ ...settings, round_deadline_ms: LIMIT_MS }, MODEL);
    await cpus[0]!.submit(prepared);
    const states = await awaitStates(network.members, ROUNDS, LIMIT_MS);
    expect(new Set(states).size).toBe(ROUNDS);
    for (const { running } of network.members)
      for (const { contributors, workers } of running.history.records) {
        expect(contributors.length).toBe(3);
        const losses = workers.map(({ loss_before }) => loss_before!);
        const spread = Math.max(...losses) / Math.min(...losses) - 1;
        expect(spread).toBeLessThan(5e-3);
      }
    const { members } = network;
    const passed = () => members.flatMap(({ running }) => running.audits.book.done());
    await until("all to be audited", () => passed().length === 3 * ROUNDS, LIMIT_MS);
    expect(passed().map(({ state }) => state)).toEqual(Array(3 * ROUNDS).fill("passed"));
    for (const { running } of members)
      for (const { author, reason } of running.audits.book.done()) {
        const has_gpu = [author, running.options.identity.public_key].includes(public_key);
        expect(reason).toBe(has_gpu ? "tolerance" : "bits");
      }
  },
  2 * LIMIT_MS + 60_000,
);
