/**
 * Audits of trails on one node: its links, exactly, and its stretches, by bits between CPUs. The auditor's
 * own training is untouched by it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { PreparedJob } from "../../src/agent/prepare-job.ts";
import { comparison, type PointArrays } from "../../src/agent/trail/audit-stretch.ts";
import { checkLinks, type LinksOf } from "../../src/agent/trail/check-links.ts";
import { hashArrays } from "../../src/agent/trail/point-bytes.ts";
import { type Trail, trailHash } from "../../src/agent/trail/trail.ts";
import type { Hash } from "../../src/core/types.ts";
import type { TrainedResult } from "../../src/diloco/round-types.ts";
import { keepingState } from "../../src/model/keep-state.ts";
import { Trainer } from "../../src/model/trainer.ts";
import type { DeltaKind } from "../../src/native/codec.ts";
import { makeJob } from "./real-nodes.ts";
import { never, Worker } from "./trail-bench.ts";

const STEPS = 45;
const OTHER = "b".repeat(64) as Hash;

const workers: Worker[] = [];
afterAll(() => {
  for (const worker of workers) worker.close();
});

/** A worker and the trails of its first two rounds, open to everybody. */
async function author(prepared: PreparedJob, index = 1) {
  const worker = await Worker.start(prepared, index);
  workers.push(worker);
  const first = await worker.train(0, null);
  const second = await worker.train(1, first.trail_hash);
  for (const { delta_hash } of [first, second]) worker.trails.openFor(delta_hash);
  return { worker, trails: [worker.trailOf(first), worker.trailOf(second)] as const };
}

let prepared: PreparedJob;
let made: Awaited<ReturnType<typeof author>>;
beforeAll(async () => {
  prepared = await makeJob({ inner_steps: STEPS, rounds: 8, compression: "int4" });
  made = await author(prepared);
});

/** What an auditor has of a round: 0 starts at zeros, 1 goes on from it. */
async function linksOf(of: typeof made, round: 0 | 1): Promise<LinksOf> {
  const { worker, trails } = of;
  const trail = trails[round];
  const { residual_before } = trail;
  return {
    job: worker.prepared.job,
    trail,
    base: await worker.fetch(trail.points[0]!.params),
    previous: round === 0 ? null : trails[0],
    files: {
      params: await worker.fetch(trail.points.at(-1)!.params),
      residual: residual_before && (await worker.fetch(residual_before)),
    },
  };
}

describe("links", () => {
  test("of honest work hold, with every encoding", async () => {
    for (const compression of ["fp32", "fp16", "int8", "int4"] satisfies DeltaKind[]) {
      const job = await makeJob({ inner_steps: 3, rounds: 8, compression });
      const of = await author(job);
      for (const round of [0, 1] as const) {
        expect([compression, await checkLinks(await linksOf(of, round))]).toEqual([
          compression,
          null,
        ]);
        expect(await checkLinks({ ...(await linksOf(of, round)), files: null })).toBeNull();
      }
    }
  });

  const changed = (array: Float32Array, by = 1e-3) => array.map((x, i) => (i === 7 ? x + by : x));
  type Change = (links: LinksOf, trail: Trail) => LinksOf | Promise<LinksOf>;
  const point = (trail: Trail, i: number, change: Partial<Trail["points"][0]>) =>
    trail.points.map((one, at) => (at === i ? { ...one, ...change } : one));
  const falsified: [string, 0 | 1, Change, RegExp][] = [
    ["another base", 1, (l) => ({ ...l, base: changed(l.base) }), /start with the round's base/],
    [
      "moments out of nothing",
      0,
      (l, t) => ({ ...l, trail: { ...t, points: point(t, 0, { moments: OTHER }) } }),
      /moments start from nowhere/,
    ],
    [
      "other moments than the contribution before",
      1,
      (l, t) => ({ ...l, trail: { ...t, points: point(t, 0, { moments: OTHER }) } }),
      /moments are not those of the contribution before/,
    ],
    [
      "another residual than the contribution before",
      1,
      (l, t) => ({ ...l, trail: { ...t, residual_before: OTHER } }),
      /residual is not that of the contribution before/,
    ],
    [
      "other steps of its moments",
      1,
      (l, t) => ({ ...l, trail: { ...t, optimizer_steps: 7 } }),
      /counts the steps/,
    ],
    ["no contribution before", 1, (l) => ({ ...l, previous: null }), /names another contribution/],
    [
      "another contribution before",
      1,
      (l) => ({ ...l, previous: { ...l.previous!, delta_hash: OTHER } }),
      /names another contribution/,
    ],
    [
      "another node's contribution before",
      1,
      (l, t) => {
        const public_key = `03${"1".repeat(64)}` as Trail["public_key"];
        const previous = { ...l.previous!, public_key };
        return { ...l, previous, trail: { ...t, previous: trailHash(previous) } };
      },
      /another node's/,
    ],
    [
      "other weights at the end",
      1,
      (l) => ({ ...l, files: { ...l.files!, params: changed(l.files!.params, 1) } }),
      /do not give its pseudo-gradient/,
    ],
    [
      "weights that are no numbers",
      1,
      (l) => ({ ...l, files: { ...l.files!, params: changed(l.files!.params, Number.NaN) } }),
      /not numbers/,
    ],
    [
      "another residual before",
      1,
      (l) => ({ ...l, files: { ...l.files!, residual: changed(l.files!.residual!, 1) } }),
      /do not give its pseudo-gradient/,
    ],
    [
      "another residual after",
      0,
      (l, t) => ({ ...l, trail: { ...t, residual_after: OTHER } }),
      /residual is not what compression lost/,
    ],
  ];
  for (const [name, round, change, reason] of falsified)
    test(`${name}`, async () => {
      const links = await linksOf(made, round);
      expect(await checkLinks(await change(links, links.trail))).toMatch(reason);
    });
});

describe("stretches, by bits", () => {
  const pointOf = (round: 0 | 1, i: number) => made.worker.point(made.trails[round], i);
  const work = async (round: 0 | 1, stretch: number, start?: PointArrays) => ({
    ...{ trail: made.trails[round], stretch, end: null },
    start: start ?? (await pointOf(round, stretch)),
    task: made.worker.taskOf(round, null),
  });
  let auditor: Worker;
  beforeAll(async () => {
    auditor = await Worker.start(prepared, 2);
    workers.push(auditor);
  });

  test("honest ones pass, each of them", async () => {
    for (const round of [0, 1] as const)
      for (const stretch of [0, 1, 2])
        expect(await auditor.runner.audit(await work(round, stretch))).toEqual({
          by: "bits",
          wrong: null,
        });
  });

  test("false ones do not", async () => {
    const honest = await work(1, 1);
    const { trail, start } = honest;
    const elsewhere = { ...honest, task: { ...honest.task, slice_index: 3 } };
    expect((await auditor.runner.audit(elsewhere)).wrong).toBe("the same steps give other weights");
    const changes: [keyof PointArrays, RegExp][] = [
      ["params", /other weights/],
      ["m", /other weights/],
      ["v", /other weights/],
    ];
    for (const [which, reason] of changes) {
      const other = start[which].map((x) => 1.01 * x);
      const given = { ...honest, start: { ...start, [which]: other } };
      expect((await auditor.runner.audit(given)).wrong).toMatch(reason);
    }
    const points = trail.points.map((point, i) => (i === 2 ? { ...point, moments: OTHER } : point));
    const moments = { ...honest, trail: { ...trail, points } };
    expect((await auditor.runner.audit(moments)).wrong).toBe("the same steps give other moments");
    const huge = start.params.map(() => 3e38);
    const nothing = { ...honest, start: { ...start, params: huge } };
    expect((await auditor.runner.audit(nothing)).wrong).not.toBeNull();
  });

  test("a CPU judges a GPU's by tolerance, within 20 steps", () => {
    const { job } = prepared;
    const trail: Trail = { ...made.trails[0], device: "cuda" };
    expect(comparison(job, { trail: made.trails[0], stretch: 0 }, "cpu")).toBe("bits");
    expect(comparison(job, { trail: made.trails[0], stretch: 0 }, "cuda")).toBe("tolerance");
    expect(comparison(job, { trail, stretch: 0 }, "cpu")).toBe("tolerance");
    const long = { ...job, inner_steps: 700 };
    expect(comparison(long, { trail, stretch: 0 }, "cpu")).toBeNull();
    expect(comparison(long, { trail: made.trails[0], stretch: 0 }, "cpu")).toBe("bits");
  });

  test("an auditor's own training goes on as if there had been none", async () => {
    const [busy, calm] = [await Worker.start(prepared, 3), await Worker.start(prepared, 3)];
    workers.push(busy, calm);
    let previous: Hash | null = null;
    for (const round of [0, 1, 2]) {
      const one: TrainedResult = await busy.train(round, previous);
      const other: TrainedResult = await calm.train(round, previous);
      expect(one).toEqual(other);
      previous = one.trail_hash;
      expect((await busy.runner.audit(await work(1, 0))).wrong).toBeNull();
      const abort = new AbortController();
      const cancelled = busy.runner.audit(await work(1, 1), abort.signal);
      abort.abort(new Error("a round begins"));
      await expect(cancelled).rejects.toThrow();
    }
  });

  test("weights and moments are put back bit for bit, whatever the work did", async () => {
    const { model, batch } = prepared.job;
    const trainer = Trainer.create(model, { batch, context: model.context, threads: 1 });
    await trainer.initialise(3n);
    trainer.m.fill(0.25);
    trainer.v[5] = Number.NaN;
    const held = () =>
      Promise.all([hashArrays(trainer.params), hashArrays(trainer.m), hashArrays(trainer.v)]);
    const before = await held();
    const spoil = async (outcome: () => string) => {
      for (const which of ["params", "m", "v"] as const) trainer[which].fill(7);
      return outcome();
    };
    expect(await keepingState(trainer, () => spoil(() => "done"))).toBe("done");
    expect(await held()).toEqual(before);
    const fails = () => {
      throw new Error("given up");
    };
    await expect(keepingState(trainer, () => spoil(fails))).rejects.toThrow("given up");
    expect(await held()).toEqual(before);
    trainer.close();
  });

  test("an audit that was given up before it began leaves nothing", async () => {
    const abort = new AbortController();
    abort.abort(new Error("the node is closing"));
    await expect(auditor.runner.audit(await work(0, 0), abort.signal)).rejects.toThrow();
    expect(await auditor.runner.audit(await work(0, 0), never)).toEqual({
      by: "bits",
      wrong: null,
    });
  });
});
