/** Trials on worker processes that break in every way, budgets, and what is charged to a run. */
import { afterEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { formatBytes, sha256Hex } from "../../../src/core/bytes.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { MagnetError } from "../../../src/core/errors.ts";
import type { Hash } from "../../../src/core/types.ts";
import { DurableRunner } from "../../../src/research/trials/durable-runner.ts";
import { LocalWorkers } from "../../../src/research/trials/local-workers.ts";
import { openRun } from "../../../src/research/trials/open-run.ts";
import { processCpuSeconds } from "../../../src/research/trials/process-cpu.ts";
import { workerMemoryBytes } from "../../../src/research/trials/process-memory.ts";
import { TrialStore } from "../../../src/research/trials/trial-store.ts";
import type { WorkerSource } from "../../../src/research/trials/trial-worker.ts";
import { TOY_HASH, toyOutcome, toyProposal, toySpec } from "./toy-domain.ts";
import { toyHeader, toySearch, toyWorker } from "./toy-run.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const NO_LIMIT = { cpu_limit_s: null };

interface Setup {
  folder?: string;
  workers?: number;
  command?: string[];
  stall_watches?: number;
  memory_bytes?: number;
}

function open({ folder, workers = 1, command = toyWorker(), ...limits }: Setup = {}) {
  const place = folder ?? fs.mkdtempSync(path.join(os.tmpdir(), "magnet-trials-"));
  if (folder === undefined) closers.push(() => fs.rmSync(place, { recursive: true, force: true }));
  const store = TrialStore.openFolder(place, systemClock);
  store.begin(toyHeader());
  const options = { command, task_hash: TOY_HASH, ...limits };
  const sources = Array.from({ length: workers }, () => new LocalWorkers(options));
  const runner = new DurableRunner({ store, sources });
  const close = async () => {
    await runner.close();
    store.close();
  };
  closers.push(() => close().catch(() => undefined));
  return { folder: place, store, runner, sources, close };
}

const codeOf = (error: unknown) => (error as MagnetError).code;
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => new Error("it did not fail"),
    (error) => error as MagnetError,
  );

describe("trials on worker processes", () => {
  test("a batch comes back in its order, bit for bit what the domain computes", async () => {
    const { runner, store } = open({ workers: 2 });
    const xs = [0.1, 0.7, 0.30000000000000004, 1e-9];
    const trials = await runner.run(
      xs.map((x, i) => toyProposal({ x, cpu_s: i === 0 ? 0.2 : 0 })),
      NO_LIMIT,
    );
    expect(trials.map((t) => t.index)).toEqual([0, 1, 2, 3]);
    for (const [i, x] of xs.entries()) {
      const expected = await toyOutcome(toySpec({ x, cpu_s: 0 }));
      const { outcome, state } = trials[i]!;
      expect(state).toBe("done");
      expect(outcome!.score).toBe(expected.score);
      expect(outcome!.outputs).toEqual(expected.outputs);
      expect(outcome!.figures.threshold).toBe(0.1 + 0.2);
    }
    expect(trials[0]!.outcome!.cpu_s).toBeGreaterThan(0.15);
    expect(store.trials().every((t) => t.worker?.startsWith("process "))).toBe(true);
  });

  test("crashes, hangs, garbage, floods and time-outs are outcomes; the run goes on", async () => {
    const { runner, store } = open({ workers: 2, stall_watches: 10 });
    const modes = ["throw", "exit", "hang", "garbage", "wrong_id", "flood", "nan", "plain"];
    const trials = await runner.run(
      modes.map((mode, i) => toyProposal({ x: i, mode })),
      NO_LIMIT,
    );
    const byMode = Object.fromEntries(modes.map((mode, i) => [mode, trials[i]!]));
    for (const mode of modes.slice(0, -1))
      expect([mode, byMode[mode]!.state]).toEqual([mode, "crashed"]);
    expect(byMode.plain!.state).toBe("done");
    expect(byMode.throw!.error).toBe("BAD_CONFIGURATION: members.0: no such learner");
    expect(byMode.exit!.error).toContain("exit code 3");
    expect(byMode.hang!.error).toContain("used no CPU for 1 s");
    expect(byMode.garbage!.error).toContain("no JSON");
    expect(byMode.flood!.error).toContain("a line without an end");
    expect(byMode.nan!.error).toContain("its score is NaN");
    // What the trial itself does wrong is not tried again; a lost worker is, once.
    const attempts = (mode: string) => store.trial(byMode[mode]!.index)!.attempts;
    expect(modes.map(attempts)).toEqual([1, 2, 2, 2, 2, 2, 1, 1]);
    expect(store.trial(byMode.throw!.index)!.log).toContain("no such learner");
  });

  test("a trial that eats memory crashes and says so; the worker before it is not blamed", async () => {
    const memory_bytes = 400 << 20;
    const { runner, store } = open({ memory_bytes });
    const [before, eater, after] = await runner.run(
      [toyProposal({ x: 1 }), toyProposal({ x: 0, mode: "eat" }), toyProposal({ x: 2 })],
      NO_LIMIT,
    );
    expect([before!.state, eater!.state, after!.state]).toEqual(["done", "crashed", "done"]);
    expect(eater!.error).toContain(`more than the ${formatBytes(memory_bytes)}`);
    // What earlier trials left in the worker may have been the reason: a fresh one decides.
    expect(store.trial(eater!.index)!.attempts).toBe(2);
  });

  test("a resumed run gives its workers the memory that it began with", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-memory-"));
    closers.push(() => fs.rmSync(folder, { recursive: true, force: true }));
    const memory_bytes = 400 << 20;
    const small = {
      ...{ task: { file: "task.json", document: {}, seed: null }, task_hash: TOY_HASH },
      ...{ settings: {}, code_version: "1", self: toyWorker(), workers: 1, threads: 1 },
    };
    await openRun({ ...small, folder, memory_bytes }).close();
    const again = openRun({ ...small, folder });
    const [eater] = await again.runner.run([toyProposal({ x: 1, mode: "eat" })], NO_LIMIT);
    await again.close();
    expect(eater!.error).toContain(`more than the ${formatBytes(memory_bytes)}`);

    const moved = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-memory-"));
    closers.push(() => fs.rmSync(moved, { recursive: true, force: true }));
    const store = TrialStore.openFolder(moved, systemClock);
    store.begin({ ...toyHeader(), memory_bytes: 2 ** 50 });
    store.close();
    const less = await failure((async () => openRun({ ...small, folder: moved }))());
    expect(codeOf(less)).toBe("NOT_ENOUGH_MEMORY");
  });

  test("a second attempt has the CPU seconds that the first has left", async () => {
    const asked: (number | null)[] = [];
    const place: WorkerSource = {
      cpuSeconds: () => 0,
      open: async () => ({
        name: "process 1",
        async evaluate(_, { cpu_limit_s }) {
          asked.push(cpu_limit_s);
          return { kind: "lost", error: "memory", blamed: true, cpu_s: 8, log: null };
        },
        close: async () => undefined,
      }),
    };
    const { store } = open();
    const runner = new DurableRunner({ store, sources: [place] });
    closers.push(() => runner.close());
    await runner.run([toyProposal({ x: 1 })], { cpu_limit_s: 10 });
    await runner.run([toyProposal({ x: 2 })], { cpu_limit_s: 7 });
    expect(asked).toEqual([10, 2, 7]);
    expect(store.trials().map(({ state }) => state)).toEqual(["crashed", "crashed"]);
  });

  test("a worker's memory is its share of what is free, and never less than it needs", () => {
    const gib = 2 ** 30;
    expect(workerMemoryBytes(1, 10 * gib)).toBe(8 * gib);
    expect(workerMemoryBytes(4, 10 * gib)).toBe(2 * gib);
    expect(workerMemoryBytes(64, gib)).toBe(512 << 20);
    expect(workerMemoryBytes(2, null)).toBeNull();
  });

  test("a trial beyond its CPU limit is timed out, and its CPU is charged", async () => {
    const { runner, sources, store } = open();
    const [slow, next] = await runner.run(
      [toyProposal({ x: 0, mode: "spin" }), toyProposal({ x: 1 })],
      { cpu_limit_s: 0.5 },
    );
    expect(slow!.state).toBe("timed_out");
    expect(slow!.error).toContain("0.5 CPU seconds");
    expect(next!.state).toBe("done");
    const { cpu_s } = store.trial(0)!;
    expect(cpu_s).toBeGreaterThan(0.45);
    expect(cpu_s).toBeLessThan(1.2);
    expect(sources[0]!.cpuSeconds()).toBeGreaterThan(cpu_s);
    expect(runner.spent().cpu_s).toBeGreaterThanOrEqual(sources[0]!.cpuSeconds());
  });

  test("a lost worker's trial is given to another one and ends as if nothing had been", async () => {
    const { runner, store, folder } = open();
    const file = path.join(folder, "died");
    const [trial] = await runner.run([toyProposal({ x: 0.5, mode: "exit_once", file })], NO_LIMIT);
    expect(trial!.state).toBe("done");
    expect(store.trial(0)!.attempts).toBe(2);
  });

  test("what a library prints, and much of it, does not disturb", async () => {
    const { runner, store } = open();
    const trials = await runner.run(
      ["print", "chatter", "plain"].map((mode) => toyProposal({ x: 0.5, mode })),
      NO_LIMIT,
    );
    expect(trials.map((t) => t.state)).toEqual(["done", "done", "done"]);
    expect(store.trial(0)!.log).toBe("a library that prints");
    expect(store.trial(1)!.log!.length).toBeLessThanOrEqual(4096);
    expect(store.trial(2)!.log).toBeNull();
  });

  test("a task that no worker can open ends the run with the worker's reason", async () => {
    const refused = await failure(
      open({ command: toyWorker("refuse") }).runner.run([toyProposal({ x: 0 })], NO_LIMIT),
    );
    expect([codeOf(refused), refused.message]).toEqual([
      "NO_SUCH_COLUMN",
      "data.csv has no column labl",
    ]);
    const changed = await failure(
      open({ command: toyWorker("changed") }).runner.run([toyProposal({ x: 0 })], NO_LIMIT),
    );
    expect(codeOf(changed)).toBe("TASK_CHANGED");
    const never = await failure(
      open({ command: toyWorker("never") }).runner.run([toyProposal({ x: 0 })], NO_LIMIT),
    );
    expect(codeOf(never)).toBe("WORKER_FAILED");
    expect(never.message).toContain("cannot allocate memory");
  });

  test("an equal specification is not computed twice", async () => {
    const { runner, store } = open();
    const [a] = await runner.run([toyProposal({ x: 0.4 })], NO_LIMIT);
    const [b] = await runner.run([toyProposal({ x: 0.4 }, 3)], NO_LIMIT);
    expect(b!.outcome).toEqual(a!.outcome);
    expect([b!.index, store.trial(1)!.cpu_s, store.trial(1)!.attempts]).toEqual([1, 0, 0]);
  });
});

describe("a run that stops", () => {
  test("ends its workers, leaves what was running queued, and goes on later", async () => {
    const { runner, store, folder, close } = open({ workers: 2 });
    const stop = new AbortController();
    const proposals = [0, 1, 2].map((x) => toyProposal({ x, mode: x === 0 ? "plain" : "spin" }));
    const running = failure(runner.run(proposals, { cpu_limit_s: null, signal: stop.signal }));
    const pids = new Set<number>();
    while (store.trials().filter((t) => t.state === "running" && t.trial > 0).length < 2)
      await new Promise((resolve) => setTimeout(resolve, 5));
    for (const t of store.trials()) pids.add(Number(t.worker?.slice("process ".length)));
    stop.abort(new MagnetError("INTERRUPTED", "stopped by SIGINT", { exit: "interrupted" }));
    expect(codeOf(await running)).toBe("INTERRUPTED");
    for (const pid of pids) expect(processCpuSeconds(pid)).toBeNull();
    expect(store.trials().map((t) => t.state)).toEqual(["done", "queued", "queued"]);
    const before = runner.spent();
    await close();
    const again = open({ folder });
    expect(again.runner.spent().cpu_s).toBeGreaterThanOrEqual(before.cpu_s);
    const [first] = await again.runner.run(proposals.slice(0, 1), NO_LIMIT);
    expect(first!.state).toBe("done");
    expect(again.store.trial(0)!.attempts).toBe(1);
  });

  test("resumed in the same way it spends no worker on what is known", async () => {
    const { runner, folder, close } = open({ workers: 2 });
    const digest = await toySearch(runner, 3);
    await close();
    const again = open({ folder, command: ["/nonexistent/worker"] });
    expect(await toySearch(again.runner, 3)).toBe(digest);
    expect(again.sources[0]!.cpuSeconds()).toBe(0);
  });

  test("and asks for another trial than before is refused", async () => {
    const { runner, folder, close } = open();
    await runner.run([toyProposal({ x: 0.5 })], NO_LIMIT);
    await close();
    const again = open({ folder });
    expect(codeOf(await failure(again.runner.run([toyProposal({ x: 0.6 })], NO_LIMIT)))).toBe(
      "RUN_DIVERGED",
    );
  });

  test("is charged for all its lives, and not for the time between them", async () => {
    const { runner, folder, close } = open();
    await runner.run([toyProposal({ x: 0.5, cpu_s: 0.2 })], NO_LIMIT);
    const told = runner.spent();
    await close();
    expect(told.cpu_s).toBeGreaterThan(0.2);
    const later = open({ folder });
    const more = later.runner.spent();
    expect(more.cpu_s).toBeGreaterThanOrEqual(told.cpu_s);
    expect(more.wall_s).toBeGreaterThan(told.wall_s);
    expect(more.wall_s - told.wall_s).toBeLessThan(1);
    expect(later.store.lives()).toHaveLength(2);
  });
});

describe("results of other machines", () => {
  /** A place on a machine that is honest until its third trial. */
  const liar = (lies: boolean): WorkerSource => {
    const local = new LocalWorkers({ command: toyWorker(), task_hash: TOY_HASH });
    let count = 0;
    return {
      foreign: true,
      cpuSeconds: () => local.cpuSeconds(),
      async open() {
        const worker = await local.open();
        return {
          name: "node-1234",
          close: () => worker.close(),
          async evaluate(spec, limits) {
            const answer = await worker.evaluate(spec, limits);
            if (answer.kind !== "done" || ++count < 3 || !lies) return answer;
            return { ...answer, record: { ...answer.record, score: 0.999 } };
          },
        };
      },
    };
  };

  test("are looked at before any is taken whose outputs are of another length", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-trials-"));
    closers.push(() => fs.rmSync(folder, { recursive: true, force: true }));
    const store = TrialStore.openFolder(folder, systemClock);
    store.begin(toyHeader());
    const local = () => new LocalWorkers({ command: toyWorker(), task_hash: TOY_HASH });
    const short = liar(false);
    const foreign: WorkerSource = {
      ...short,
      async open() {
        const worker = await short.open();
        return {
          name: "node-1234",
          close: () => worker.close(),
          async evaluate(spec, limits) {
            const answer = await worker.evaluate(spec, limits);
            if (answer.kind !== "done") return answer;
            const outputs = answer.outputs!.slice(0, -4);
            const outputs_hash = sha256Hex(outputs) as Hash;
            return { ...answer, outputs, record: { ...answer.record, outputs_hash } };
          },
        };
      },
    };
    const verifier = { source: local(), isDue: () => false };
    const runner = new DurableRunner({ store, sources: [foreign], verifier });
    const batch = [0.2, 0.3, 0.4].map((x) => toyProposal({ x }));
    expect(codeOf(await failure(runner.run(batch, NO_LIMIT)))).toBe("NODE_WRONG");
    await runner.close();
    store.close();
  });

  async function run(lies: boolean) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-trials-"));
    closers.push(() => fs.rmSync(folder, { recursive: true, force: true }));
    const store = TrialStore.openFolder(folder, systemClock);
    store.begin(toyHeader());
    const source = new LocalWorkers({ command: toyWorker(), task_hash: TOY_HASH });
    const verifier = { source, isDue: () => store.count() > 4 };
    const runner = new DurableRunner({ store, sources: [liar(lies)], verifier });
    const result = await toySearch(runner, 3).catch((error) => error as MagnetError);
    await runner.close();
    return { folder, store, result, checked_s: source.cpuSeconds() };
  }

  test("are computed again, some of them, and agree where the machine is honest", async () => {
    const { store, result, checked_s } = await run(false);
    expect(result).toMatch(/^[0-9a-f]{64}$/);
    expect(checked_s).toBeGreaterThan(0);
    store.close();
  });

  test("that are wrong undo what followed from them; the run goes on to the right result", async () => {
    const { folder, store, result } = await run(true);
    expect(codeOf(result)).toBe("NODE_WRONG");
    expect((result as MagnetError).message).toContain("node-1234");
    expect(store.trials().map(({ state }) => state)).toEqual(["queued"]);
    // The gate was read for nothing, but it was read.
    expect(store.reads()).toHaveLength(1);
    store.close();
    const honest = open();
    const again = open({ folder });
    expect(await toySearch(again.runner, 3)).toBe(await toySearch(honest.runner, 3));
    expect(again.store.reads()).toHaveLength(4);
  });
});
