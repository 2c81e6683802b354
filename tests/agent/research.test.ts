/**
 * Trials of research on other nodes: real nodes on loopback, toy trials in processes of their own.
 * What is not asked for by a member, signed, and within limits is not run.
 */
import { afterEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { networkConfigHash } from "../../src/agent/network-file.ts";
import { POLL_MS } from "../../src/agent/research/limits.ts";
import { researchOffer, researchTrial } from "../../src/agent/research/messages.ts";
import { jobId, readResult, signJob } from "../../src/agent/research/research-job.ts";
import { type NetworkPlace, networkSources } from "../../src/cli/research/network-workers.ts";
import { systemClock } from "../../src/core/clock.ts";
import { type MagnetError, toMagnetError } from "../../src/core/errors.ts";
import { systemRandom } from "../../src/core/random.ts";
import type { Hash } from "../../src/core/types.ts";
import { connectControl } from "../../src/http/control-client.ts";
import { serveControl } from "../../src/http/control-server.ts";
import { DurableRunner } from "../../src/research/trials/durable-runner.ts";
import { LocalWorkers } from "../../src/research/trials/local-workers.ts";
import type { RunTask } from "../../src/research/trials/open-run.ts";
import { TrialStore } from "../../src/research/trials/trial-store.ts";
import { TOY_HASH, toyOutcome, toyProposal, toySpec } from "../research/trials/toy-domain.ts";
import { toyHeader, toySearch, toyWorker } from "../research/trials/toy-run.ts";
import { type Member, makeFolder, TestNetwork, until } from "./real-nodes.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const offer = (workers: number) => ({
  research: { workers, trial_cpu_s: 600, self: toyWorker("node"), version: "1" },
});

/** The first member hands out; each other one takes `workers` trials at once. */
async function startNetwork(members: number, workers = 1, strangers = 0) {
  const network = new TestNetwork(members, strangers);
  closers.push(() => network.stop());
  const [first, ...others] = [...network.members, ...network.strangers];
  await first!.start([]);
  for (const member of others) await member.start([first!], offer(workers));
  await until(
    "all to be connected",
    () => first!.running.transport.peers().length === others.length,
  );
  return { first: first!, others };
}

function makeTask(): RunTask {
  const folder = makeFolder();
  fs.writeFileSync(path.join(folder, "data.csv"), "x,label\n1,a\n2,b\n");
  const document = {
    ...{ schema: "magnet.research_task/1", name: "toy", domain: "tabular", label: "label" },
    ...{ data: "data.csv", teacher: { url: "http://127.0.0.1:9/secret" } },
  };
  return { file: path.join(folder, "task.json"), document, seed: null };
}

/** As the command does it: through the control interface of the first node. */
async function connect(member: Member) {
  const control = serveControl(member.control, { data_dir: member.data_dir, random: systemRandom });
  closers.push(() => control.close());
  const client = connectControl(member.data_dir);
  const options = { control: client, task: makeTask(), version: "1", workers_max: 8 };
  return { client, options };
}

function openRunner(sources: readonly NetworkPlace[]) {
  const store = TrialStore.openFolder(makeFolder(), systemClock);
  store.begin(toyHeader());
  const runner = new DurableRunner({ store, sources });
  closers.push(async () => {
    await runner.close();
    store.close();
  });
  return { store, runner };
}

const failure = async (work: Promise<unknown>): Promise<MagnetError> => {
  try {
    await work;
  } catch (error) {
    return toMagnetError(error);
  }
  throw new Error("a failure was expected");
};

describe("a run whose trials are on other nodes", () => {
  test("has the local result, one node leaving in the middle", async () => {
    const { first, others } = await startNetwork(3);
    const { options } = await connect(first);
    const { sources, nodes } = await networkSources(options);
    expect(nodes.sort()).toEqual(others.map(({ identity }) => identity.node_id).sort());
    const { store, runner } = openRunner(sources);
    const searching = toySearch(runner, 4);
    await until("a trial of each node", () => {
      const names = new Set(store.trials().map(({ worker }) => worker));
      return others.every(({ identity }) => names.has(identity.node_id));
    });
    await others[0]!.stop();
    const digest = await searching;
    expect(store.trials().filter(({ state }) => state === "crashed").length).toBe(1); // asked for
    const alone = TrialStore.openFolder(makeFolder(), systemClock);
    alone.begin(toyHeader());
    const here = new DurableRunner({
      store: alone,
      sources: [new LocalWorkers({ command: toyWorker(), task_hash: TOY_HASH })],
    });
    expect(await toySearch(here, 4)).toBe(digest);
    await here.close();
    const addresses = (s: TrialStore) => s.trials().map((t) => t.outcome_address);
    expect(addresses(store)).toEqual(addresses(alone));
    alone.close();
    expect(runner.spent().cpu_s).toBeGreaterThan(0);
    // Neither the teacher's address nor a path of this machine has left it.
    const sent = others[1]!.running.research.blobs;
    for (const hash of sent.list()) {
      const text = new TextDecoder().decode(await sent.get(hash));
      expect(text).not.toContain("secret");
      expect(text).not.toContain(options.task.file);
    }
  });

  test("gets failures and time-outs as outcomes", async () => {
    const { first } = await startNetwork(2);
    const { options } = await connect(first);
    const { runner, store } = openRunner((await networkSources(options)).sources);
    const modes = ["throw", "spin", "exit", "plain"];
    const trials = await runner.run(
      modes.map((mode, x) => toyProposal({ x, mode })),
      { cpu_limit_s: 0.4 },
    );
    expect(trials.map(({ state }) => state)).toEqual(["crashed", "timed_out", "crashed", "done"]);
    expect(trials[0]!.error).toContain("no such learner");
    expect(trials[2]!.error).toContain("exit code 3");
    expect(store.trial(1)!.cpu_s).toBeGreaterThan(0.35);
  });

  test("stops what it has asked for when it is stopped", async () => {
    const { first, others } = await startNetwork(2);
    const { options } = await connect(first);
    const { runner, store } = openRunner((await networkSources(options)).sources);
    const stop = new AbortController();
    const run = { cpu_limit_s: null, signal: stop.signal };
    const running = failure(runner.run([toyProposal({ x: 1, mode: "spin" })], run));
    await until("the trial to run there", () => busy(others[0]!) === 1);
    stop.abort();
    await running;
    expect(store.trial(0)!.state).toBe("queued");
    await until("it to be dropped there", () => busy(others[0]!) === 0);
  });

  test("without a node that takes trials is told so", async () => {
    const network = new TestNetwork(2);
    closers.push(() => network.stop());
    await network.start();
    const { options } = await connect(network.members[0]!);
    expect((await failure(networkSources(options))).code).toBe("NO_RESEARCH_NODES");
  });

  test("goes on without a node that cannot run the task, and ends where none can", async () => {
    const { first } = await startNetwork(2);
    const { options } = await connect(first);
    const { sources } = await networkSources(options);
    const { runner } = openRunner(sources);
    const proposal = toyProposal({ x: 1 });
    const other = { ...proposal, spec: { ...proposal.spec, task_hash: "9".repeat(64) as Hash } };
    const error = await failure(runner.run([other], { cpu_limit_s: null }));
    expect(error.code).toBe("NODE_REFUSED");
    expect(error.message).toContain("TASK_CHANGED");
    const limited = openRunner((await networkSources(options)).sources).runner;
    const beyond = await failure(limited.run([proposal], { cpu_limit_s: 5000 }));
    expect(beyond.message).toContain("600 CPU seconds");
  });
});

const busy = (member: Member): number => member.running.research.executor.running;

describe("a node that takes trials", () => {
  async function jobs() {
    const { first, others } = await startNetwork(2, 1, 1);
    const [member, stranger] = others as [Member, Member];
    const task = await first.running.research.tasks.share(makeTask());
    const network = networkConfigHash(first.network);
    const job = (over = {}) =>
      signJob(first.identity, {
        ...{ network, task, spec: toySpec({ x: 0.5 }) as never, cpu_limit_s: 10 },
        ...over,
      });
    const ask = (
      to: Member,
      { text, signature }: { text: string; signature: string },
      from = first,
    ) =>
      from.running.transport.request(
        ...([
          to.identity.public_key,
          researchTrial.request.type,
          { job: text, signature },
        ] as const),
        { timeout_ms: 20_000 },
      );
    return { first, member, stranger, job, ask, task, network };
  }

  test("runs a job once, however often it is asked, and forgets it when told", async () => {
    const { first, member, job, ask } = await jobs();
    const one = job();
    const ended = async () => {
      for (;;) {
        const answer = researchTrial.response.schema.parse(await ask(member, one));
        if (answer.state === "ended") return answer;
      }
    };
    const [a, b] = await Promise.all([ended(), ended()]);
    expect(b).toEqual(a);
    const signed = { text: a.result, signature: a.signature };
    const result = readResult(signed, member.identity.public_key, jobId(one.text));
    const expected = await toyOutcome(toySpec({ x: 0.5 }));
    expect(result.record!.score).toBe(expected.score);
    const forged = { ...signed, text: signed.text.replace('"cpu_s":0', '"cpu_s":1') };
    if (forged.text !== signed.text)
      expect(() => readResult(forged, member.identity.public_key, jobId(one.text))).toThrow();
    expect(() => readResult(signed, first.identity.public_key, jobId(one.text))).toThrow();
    expect(() => readResult(signed, member.identity.public_key, TOY_HASH)).toThrow();
    const { research } = member.running;
    expect(research.blobs.has(result.record!.outputs_hash as Hash)).toBe(true);
    await research.executor.forget(jobId(one.text), member.identity.public_key);
    expect(research.blobs.has(result.record!.outputs_hash as Hash)).toBe(true);
    await research.executor.forget(jobId(one.text), first.identity.public_key);
    expect(research.blobs.has(result.record!.outputs_hash as Hash)).toBe(false);
  });

  test("refuses what is not signed, of another network, or of no member", async () => {
    const { first, member, stranger, job, ask, task, network } = await jobs();
    const good = job();
    const bad: [string, { text: string; signature: string }, Member?][] = [
      ["signature", { ...good, signature: job({ cpu_limit_s: 11 }).signature }],
      ["canonical", { ...good, text: ` ${good.text}` }],
      ["no JSON", { ...good, text: "{" }],
      ["cpu_limit_s", job({ cpu_limit_s: -1 })],
      ["another node or network", job({ network: "0".repeat(64) })],
      [
        "files",
        job({ task: { ...task, files: [{ ...task.files[0]!, name: "../../etc/passwd" }] } }),
      ],
      [
        "signature",
        signJob(stranger.identity, {
          network,
          task,
          spec: toySpec({ x: 1 }) as never,
          cpu_limit_s: 1,
        }),
      ],
    ];
    for (const [reason, message] of bad)
      expect((await failure(ask(member, message))).message).toContain(reason);
    const own = signJob(stranger.identity, {
      ...{ network, task, spec: toySpec({ x: 1 }) as never, cpu_limit_s: 1 },
    });
    // The stranger is connected to the first node only, which takes no trials of anybody.
    expect((await failure(ask(first, own, stranger))).message).toContain("members");
    expect(busy(member)).toBe(0);
    const offered = await first.running.transport.request(
      ...([member.identity.public_key, researchOffer.request.type, {}] as const),
      { timeout_ms: 5000 },
    );
    expect(offered).toMatchObject({ workers: 1, trial_cpu_s: 600 });
  });

  test("has a free place for one, says busy to a second, and answers a slow one in time", async () => {
    const { member, job, ask } = await jobs();
    const slow = job({ spec: toySpec({ x: 1, mode: "spin" }) as never, cpu_limit_s: 60 });
    const began_ms = performance.now();
    expect(await ask(member, slow)).toEqual({ state: "running" });
    expect(performance.now() - began_ms).toBeLessThan(POLL_MS + 5000);
    expect(await ask(member, job())).toEqual({ state: "busy" });
  });

  test("keeps nothing of a task that it cannot use, and takes it once it is mended", async () => {
    const { first, member, job, ask, task } = await jobs();
    const { research } = first.running;
    const document = new TextEncoder().encode("{}");
    const stored = await research.blobs.put(document);
    research.published.publish(stored.hash);
    const spoilt = job({ task: { ...task, document: stored } });
    const before = member.running.research.blobs.list();
    for (const _ of [1, 2]) {
      const answer = researchTrial.response.schema.parse(await ask(member, spoilt));
      // The same words each time: nothing of the first try is in the second one's way.
      expect(answer.state === "ended" && answer.result).toContain("BAD_TASK");
    }
    await until("it to be tidied", () => {
      return member.running.research.blobs.list().length === before.length;
    });
  });

  test("has an empty store after a restart: nothing names what was left there", async () => {
    const { first, others } = await startNetwork(2);
    const { research } = others[0]!.running;
    await research.blobs.put(new Uint8Array(1000));
    await others[0]!.stop();
    await others[0]!.start([first], offer(1));
    expect(others[0]!.running.research.blobs.used_bytes).toBe(0);
  });

  test("does not fetch data that are larger than it was told", async () => {
    const { member, job, ask, task } = await jobs();
    const files = [{ ...task.files[0]!, size_bytes: 3 }];
    const answer = researchTrial.response.schema.parse(
      await ask(member, job({ task: { ...task, files } })),
    );
    expect(answer.state).toBe("ended");
    expect(answer.state === "ended" && answer.result).toContain('"kind":"refused"');
  });
});
