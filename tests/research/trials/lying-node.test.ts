/**
 * Nodes that lie a little through a whole run, with no result drawn for a check: what a decision rests
 * on is computed again, and a lie costs its author's trials, never more looks at the gate.
 */
import { afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { NetworkPlace } from "../../../src/cli/research/network-workers.ts";
import { sha256Hex } from "../../../src/core/bytes.ts";
import { systemClock } from "../../../src/core/clock.ts";
import type { MagnetError } from "../../../src/core/errors.ts";
import type { Hash } from "../../../src/core/types.ts";
import type { ControlClient } from "../../../src/http/control-client.ts";
import type { ResearchResult } from "../../../src/research/loop/events.ts";
import { LOOP_LIMITS } from "../../../src/research/loop/limits.ts";
import { runResearch } from "../../../src/research/loop/run.ts";
import { DurableRunner } from "../../../src/research/trials/durable-runner.ts";
import {
  type OutcomeRecord,
  outcomeRecordSchema,
  outputBytes,
  recordOf,
} from "../../../src/research/trials/outcome-record.ts";
import { RunReader } from "../../../src/research/trials/run-reader.ts";
import { TrialStore } from "../../../src/research/trials/trial-store.ts";
import type {
  TrialWorker,
  WorkerAnswer,
  WorkerSource,
} from "../../../src/research/trials/trial-worker.ts";
import type { TrialOutcome, TrialSpec } from "../../../src/research/types.ts";
import { syntheticDomain } from "../synthetic.ts";

const domain = syntheticDomain();
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) fs.rmSync(folder, { recursive: true, force: true });
});

type Tell = (outcome: TrialOutcome, spec: TrialSpec) => TrialOutcome;
const truth: Tell = (outcome) => outcome;

/** Evaluates in this process and tells what `tell` makes of it; counts its trials. */
function source(name: string, foreign: boolean, tell: Tell = truth) {
  const counted = { trials: 0 };
  const place: WorkerSource = {
    foreign,
    cpuSeconds: () => 0,
    async open() {
      return {
        name,
        async evaluate(spec) {
          counted.trials++;
          const outcome = tell(await domain.evaluate(spec, { threads: 1 }), spec);
          const outputs = outputBytes(outcome.outputs);
          return { kind: "done", record: recordOf(outcome), outputs, cpu_s: 0, log: null };
        },
        close: async () => undefined,
      };
    },
  };
  return { place, counted };
}

/** A part of the run's trials is told better than they are: score and outputs, so that they agree. */
const flatter =
  (by: number, after: number): Tell =>
  (outcome) => {
    if (--after >= 0) return outcome;
    const outputs = outcome.outputs.map((value) => value + by);
    return { ...outcome, score: outcome.score + by, outputs };
  };

async function life(
  folder: string,
  places: readonly WorkerSource[],
  own = source("process 1", false),
) {
  const store = TrialStore.openFolder(folder, systemClock);
  store.begin({ task_hash: domain.task_hash, task: {}, settings: {}, code_version: "1" });
  const verifier = { source: own.place, isDue: () => false };
  const runner = new DurableRunner({ store, sources: places, verifier });
  const ended = await runResearch({ domain, budget: { trials: 60 }, seed: 1, runner }).then(
    ({ result }) => result,
    (error) => error as MagnetError,
  );
  await runner.close();
  const reads = store.reads().filter(({ part }) => part === "gate");
  const steps = store.steps().map(({ key }) => key);
  store.close();
  return { ended, reads, steps, checked: own.counted.trials };
}

function makeFolder(): string {
  folders.push(fs.mkdtempSync(path.join(os.tmpdir(), "magnet-lies-")));
  return folders.at(-1)!;
}

test("an honest node's decisive trials are computed again, a few of all, and once", async () => {
  const folder = makeFolder();
  const node = source("node-1", true);
  const first = await life(folder, [node.place]);
  expect(first.ended).not.toBeInstanceOf(Error);
  expect(node.counted.trials).toBeGreaterThan(50);
  expect(first.checked).toBeWithin(4, 40);
  const again = await life(folder, [node.place]);
  expect(again.checked).toBe(0);
});

test("a small lie about what would be the best ends the run with the node's name", async () => {
  // A thousandth is far within the noise of a trial, which is about a hundredth.
  for (const [by, after] of [[0.001, 0] as const, [0.001, 12] as const, [0.3, 20] as const]) {
    const folder = makeFolder();
    const { ended } = await life(folder, [source("node-liar", true, flatter(by, after)).place]);
    expect([by, after, (ended as MagnetError).code]).toEqual([by, after, "NODE_WRONG"]);
    expect((ended as MagnetError).message).toContain("node-liar");
  }
});

test("a run resumed after lies looks at the gate no more often than it may", async () => {
  const folder = makeFolder();
  const asked: string[] = [];
  for (let lives = 0; lives < 6; lives++) {
    // Honest until models were accepted, so that the gate has been asked each time.
    const liar = source(`node-${lives}`, true, flatter(0.01, 45));
    const { ended, reads } = await life(folder, [liar.place]);
    asked.push(...reads.map(({ key }) => key));
    if ((ended as MagnetError).code !== "NODE_WRONG") break;
  }
  const lost = new Set(asked.map((key) => /^gate\/(\d+)/.exec(key)![1]!));
  expect(lost.size).toBeGreaterThan(1);
  const { ended, reads } = await life(folder, [source("process 2", false).place]);
  expect(ended).not.toBeInstanceOf(Error);
  // Every look at the gate has a number of its own, and there are not more than one run's.
  const numbers = reads.map(({ key }) => Number(/^gate\/(\d+)/.exec(key)![1]));
  expect(new Set(numbers).size).toBe(numbers.length);
  expect(Math.max(...numbers)).toBeLessThan(LOOP_LIMITS.gate_queries);
});

/** The place, some of whose evaluations (from 0 on) end as this says. */
function ending(
  { place, counted }: ReturnType<typeof source>,
  ends: (nth: number, spec: TrialSpec) => WorkerAnswer | null,
) {
  const open = async () => {
    const worker = await place.open();
    const evaluate: TrialWorker["evaluate"] = async (spec, limits) => {
      const end = ends(counted.trials, spec);
      if (end === null) return worker.evaluate(spec, limits);
      counted.trials++;
      return end;
    };
    return { ...worker, evaluate };
  };
  return { place: { ...place, open }, counted };
}
const ended = (kind: "failed" | "timed_out", error: string): WorkerAnswer => ({
  ...{ kind, error, cpu_s: 0, log: null },
});
const gone: WorkerAnswer = { kind: "lost", error: "killed", blamed: true, cpu_s: 0, log: null };

test("a checking worker that is killed once, or too slow for a trial, accuses nobody", async () => {
  const folder = makeFolder();
  const honest = () => source("node-1", true).place;
  const killed = ending(source("process 1", false), (nth) => (nth === 3 ? gone : null));
  const first = await life(folder, [honest()], killed);
  expect(first.ended).not.toBeInstanceOf(Error);

  const other = makeFolder();
  let slow: string | null = null;
  const late = ending(source("process 1", false), (nth, spec) => {
    if (nth === 9) slow = JSON.stringify(spec);
    return JSON.stringify(spec) === slow ? ended("timed_out", "too slow") : null;
  });
  const { ended: error } = await life(other, [honest()], late);
  expect((error as MagnetError).code).toBe("RESULT_UNCHECKED");
  expect((error as MagnetError).message).toContain("too slow");
  const { ended: result } = await life(other, [honest()], late);
  expect(result).not.toBeInstanceOf(Error);
  const reader = RunReader.open(other);
  const crashed = reader.trials().filter(({ state }) => state === "crashed");
  reader.close();
  expect(crashed.map(({ spec }) => JSON.stringify(spec))).toEqual([slow!]);
});

/** What a run decided, without what was measured. */
function untimed(ended: ResearchResult | MagnetError): unknown {
  if (ended instanceof Error) throw ended;
  const { baseline, final, sealed, versions } = ended;
  const text = JSON.stringify({ baseline, final, sealed, versions }, (name, value) =>
    name.endsWith("_s") ? 0 : value,
  );
  return JSON.parse(text);
}

test("a node's failure is no end of the baseline and no veto of a model", async () => {
  const whole = await life(makeFolder(), [source("process 2", false).place]);
  for (const kind of ["failed", "timed_out"] as const) {
    const liar = ending(source("node-liar", true), (_, { seed, configuration }) => {
      const baseline = JSON.stringify(configuration) === JSON.stringify(domain.baseline());
      return baseline || seed !== 1 ? ended(kind, "no") : null;
    });
    const { ended: result } = await life(makeFolder(), [liar.place]);
    expect(untimed(result)).toEqual(untimed(whole.ended));
  }
});

test("what a liar failed at is undone with what it said", async () => {
  const store = TrialStore.openFolder(makeFolder(), systemClock);
  store.begin({ task_hash: domain.task_hash, task: {}, settings: {}, code_version: "1" });
  const spec = { task_hash: domain.task_hash, configuration: {}, fidelity: 1 };
  const place = { version: 1, strategy: "s", proposer: "optimizer" } as const;
  store.queue(
    0,
    [1, 2, 3].map((seed) => ({ place, spec: { ...spec, seed } })),
  );
  for (const [index, worker] of ["process 1", "node-liar", "process 1"].entries()) {
    store.started(index, worker);
    const end = { record: null, outputs: null, error: "no", log: null, cpu_s: 0 };
    store.end(index, { ...end, state: "crashed" });
  }
  expect(store.distrust("node-liar")).toBe(2);
  expect(store.trials().map(({ state }) => state)).toEqual(["crashed", "queued"]);
  store.close();
});

test("CPU seconds that the loop plans with are within what the trial may take", async () => {
  const node = { public_key: "k", node_id: "node-1", workers: 1, trial_cpu_s: 600, version: "1" };
  const spec = { task_hash: domain.task_hash, configuration: domain.baseline(), seed: 1 };
  const outcome = await domain.evaluate({ ...spec, fidelity: 1 }, { threads: 1 });
  const answerOf = async (kept_s: number, cpu_s = 1) => {
    const record = { ...recordOf(outcome), outputs_hash: null, figures: { kept_s } };
    const result = { kind: "done", record, error: null, log: null, cpu_s };
    const control = { get: async () => ({ nodes: [node] }), post: async () => ({ result }) };
    const place = new NetworkPlace(control as unknown as ControlClient, {}, node);
    const worker = await place.open();
    const answer = await worker.evaluate({ ...spec, fidelity: 1 }, { cpu_limit_s: 10 });
    return { kind: answer.kind, cpu_s: place.cpuSeconds() };
  };
  expect(await answerOf(25)).toEqual({ kind: "done", cpu_s: 1 });
  expect(await answerOf(1e9)).toEqual({ kind: "lost", cpu_s: 0 });
  expect(await answerOf(-1)).toEqual({ kind: "lost", cpu_s: 0 });
  expect(await answerOf(0, -5)).toEqual({ kind: "lost", cpu_s: 0 });
});

test("figures that no domain would write are refused", () => {
  const record: OutcomeRecord = {
    ...{ score: 1, fold_scores: [1], outputs_hash: sha256Hex("x") as Hash, cpu_s: 0 },
    figures: { confusion: { classes: ["a"], counts: [[1]] } },
  };
  const check = (figures: unknown) => outcomeRecordSchema.safeParse({ ...record, figures }).success;
  expect(check(record.figures)).toBeTrue();
  const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
  expect(check({ deep: nested(5) })).toBeTrue();
  expect(check({ deep: nested(1000) })).toBeFalse();
  expect(check(JSON.parse(`{"huge": 1e999}`))).toBeFalse();
  expect(check({ long: "x".repeat(1 << 20) })).toBeFalse();
  expect(check({ many: Array.from({ length: 1 << 19 }, () => 10) })).toBeFalse();
  const folds = outcomeRecordSchema.safeParse({ ...record, fold_scores: [Infinity] });
  expect(folds.success).toBeFalse();
});
