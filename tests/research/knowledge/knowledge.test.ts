/** What is learnt and told: priors, merging without double counting, files of strangers. */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { MagnetError } from "../../../src/core/errors.ts";
import { seededRandom } from "../../../src/core/random.ts";
import type { Hash } from "../../../src/core/types.ts";
import { identityOf, newPrivateKey } from "../../../src/network/identity.ts";
import {
  exportKnowledge,
  importKnowledge,
  readKnowledge,
} from "../../../src/research/knowledge/exchange.ts";
import { checkInsight, KnowledgeBase } from "../../../src/research/knowledge/knowledge-base.ts";
import { likeness } from "../../../src/research/knowledge/likeness.ts";
import { type Insight, RECALL, type Signature } from "../../../src/research/loop/faces.ts";
import type { Configuration } from "../../../src/research/types.ts";

const clock = { now_ms: () => 1000 };
const makeBase = () => KnowledgeBase.open(":memory:", clock);
const identity = (seed: number) => identityOf(newPrivateKey(seededRandom(seed)));

const signature = (name: string, over: Partial<Signature["facts"]> = {}): Signature => ({
  facts: {
    ...{ domain: "tabular", name, rows: 1000, features: 20, classes: 2, minority: 0.1 },
    ...{ contexts: 0, has_pipeline: false, missing_share: 0, categorical_share: 0.5 },
    ...over,
  },
  metric: "balanced_accuracy",
  failures: [{ kind: "class_imbalance", strength: 5 }],
});

function insight(task: string, strategy: string, gain: number | null, over = {}): Insight {
  const difference =
    gain === null
      ? null
      : {
          difference: gain,
          standard_error: 0.004,
          low: gain - 0.01,
          high: gain + 0.01,
          level: 0.95,
        };
  return {
    key: `${task}/1/1/${strategy}`,
    task_hash: Bun.CryptoHasher.hash("sha256", task, "hex") as Hash,
    signature: signature(task),
    ...{ version: 1, strategy, family: "decision", result: "accepted", difference },
    ...{ units: 650, trials: 8, seeds: [1], cpu_s: 2.5, settings: { "decision.threshold": 0.2 } },
    ...over,
  };
}

const failure = (work: () => unknown): MagnetError => {
  try {
    work();
  } catch (error) {
    return error as MagnetError;
  }
  throw new Error("it did not fail");
};

describe("priors", () => {
  test("order strategies by what other tasks say, failures too, and shrink one task's praise", () => {
    const base = makeBase();
    for (const task of ["a", "b", "c", "d"]) {
      base.record(insight(task, "threshold", 0.04));
      base.record(insight(task, "bigger", -0.01, { result: "worse" }));
      base.record(insight(task, "network", null, { result: "crashed" }));
    }
    base.record(insight("a", "lucky", 0.04));
    const priors = base.prior(signature("new"));
    expect(priors.threshold!.gain).toBeGreaterThan(0.03);
    expect(priors.bigger!.gain).toBeLessThan(0);
    expect(Math.abs(priors.network!.gain)).toBeLessThan(1e-9);
    expect(priors.lucky!.gain).toBeLessThan(priors.threshold!.gain);
    expect(priors.lucky!.spread).toBeGreaterThan(priors.threshold!.spread);
    expect(priors.threshold!.weight).toBeCloseTo(4, 5);
    expect(priors.threshold!.settings).toEqual([{ "decision.threshold": 0.2 }]);
    expect(priors.bigger!.settings).toEqual([]);
  });

  test("tasks that disagree leave a wide spread", () => {
    const [agree, disagree] = [makeBase(), makeBase()];
    for (const [i, task] of ["a", "b", "c", "d"].entries()) {
      agree.record(insight(task, "s", 0.03));
      disagree.record(insight(task, "s", i % 2 === 0 ? 0.13 : -0.07));
    }
    const spread = (base: KnowledgeBase) => base.prior(signature("new")).s!.spread;
    expect(spread(disagree)).toBeGreaterThan(5 * spread(agree));
  });

  test("a task counts once however often it was run, and never for itself", () => {
    const base = makeBase();
    for (let seed = 1; seed <= 50; seed++)
      base.record(
        insight("a", "s", 0.05, { key: `a/${seed}`, task_hash: `${seed}`.padStart(64, "0") }),
      );
    base.record(insight("b", "s", 0.01));
    base.record(insight("c", "s", 0.01));
    const { s } = base.prior(signature("new"));
    expect(s!.weight).toBeCloseTo(3, 5);
    expect(s!.gain).toBeLessThan(0.03);
    // The same data under another seed: their sealed rows were searched there.
    expect(base.prior(signature("a")).s!.gain).toBeLessThan(0.012);
  });

  test("the same data is the task itself, under another name or in another order; others are not", () => {
    const base = makeBase();
    const hash = (text: string) => Bun.CryptoHasher.hash("sha256", text, "hex") as Hash;
    const of = (name: string, data: string) => ({ ...signature(name), data: hash(data) });
    base.record(insight("renamed", "s", 0.05, { signature: of("renamed", "mine") }));
    expect(base.prior(of("asked", "mine"))).toEqual({});
    // Another hash of what has its name and size: its rows in another order.
    base.record(insight("asked", "s", 0.04, { signature: of("asked", "shuffled") }));
    expect(base.prior(of("asked", "mine"))).toEqual({});
    const other = { ...signature("asked", { rows: 1200 }), data: of("asked", "other").data };
    base.record(insight("asked", "s", 0.03, { key: "asked/2/1/s", signature: other }));
    expect(base.prior(of("asked", "mine")).s!.weight).toBeGreaterThan(0.9);
    // What was told without a hash is known by its description.
    base.record(insight("old", "s", 0.01));
    expect(base.prior(of("old", "mine")).s!.weight).toBeWithin(1.9, 2.1);
    expect(base.prior(of("new", "mine")).s!.weight).toBeWithin(2.9, 3.1);
  });

  test("what was gained over a baseline is no promise to a model that has left it behind", () => {
    const base = makeBase();
    base.record(insight("a", "s", 0.05));
    base.record(insight("a", "s", 0.001, { key: "a/1/2/s", version: 2 }));
    const at = (version: number) => base.prior(signature("new"), version).s!.gain;
    expect(at(1)).toBeGreaterThan(0.02);
    expect(at(2)).toBeLessThan(0.002);
    expect(at(5)).toBe(at(2));
  });

  test("tasks that are alike say more; other metrics and domains say nothing", () => {
    const mine = signature("mine");
    const other = signature("x", { rows: 100_000, classes: 9, has_pipeline: true });
    expect(likeness(mine, signature("twin"))).toBe(1);
    expect(likeness(mine, other)).toBeLessThan(0.4);
    expect(likeness(mine, { ...mine, metric: "auc" })).toBe(0);
    expect(likeness(mine, { ...mine, failures: [{ kind: "drift", strength: 5 }] })).toBeLessThan(
      0.5,
    );
    const base = makeBase();
    base.record(insight("near", "s", 0.04));
    base.record(insight("far", "s", -0.04, { signature: { ...other, failures: [] } }));
    expect(base.prior(mine).s!.gain).toBeGreaterThan(0.002);
    expect(base.prior({ ...mine, metric: "auc" })).toEqual({});
  });
});

describe("what runs ended with", () => {
  const final = (task: string, configuration: Configuration, gain: number, over = {}) =>
    insight(task, RECALL, gain, { key: `${task}/${gain}/final`, configuration, ...over });

  test("is recalled of the likest tasks first, one of each, never of the task itself", () => {
    const base = makeBase();
    const far = { signature: signature("far", { rows: 90_000, classes: 9 }) };
    base.record(final("far", { of: "far" }, 0.2, far));
    base.record(final("near", { of: "near, less" }, 0.02));
    base.record(final("near", { of: "near" }, 0.05));
    base.record(final("worse", { of: "worse" }, -0.01));
    base.record(final("mine", { of: "mine" }, 0.3));
    const told = base.prior(signature("mine"))[RECALL]!.configurations;
    expect(told).toEqual([{ of: "near" }, { of: "far" }]);
  });

  test("is refused where it is no reasonable configuration", () => {
    const endless = { members: "x".repeat(30_000) };
    expect(failure(() => checkInsight(final("a", endless, 0.1))).code).toBe("BAD_INSIGHT");
  });
});

describe("knowledge that is told", () => {
  test("is merged once, whichever way and however often it comes", () => {
    const [a, b, c] = [makeBase(), makeBase(), makeBase()];
    a.record(insight("t1", "s", 0.02));
    a.record(insight("t2", "s", -0.02, { result: "worse" }));
    b.record(insight("t2", "s", -0.02, { result: "worse" }));
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-knowledge-"));
    const file = path.join(folder, "a.json");
    fs.writeFileSync(file, JSON.stringify(exportKnowledge(a, identity(1))));
    expect(importKnowledge(b, file)).toMatchObject({ insights: 2, added: 1 });
    expect(importKnowledge(b, file)).toMatchObject({ insights: 2, added: 0 });
    expect(b.prior(signature("new"))).toEqual(a.prior(signature("new")));
    // Handed on by b: what it was told only when it is asked for.
    expect(exportKnowledge(b, identity(2)).insights).toHaveLength(1);
    fs.writeFileSync(file, JSON.stringify(exportKnowledge(b, identity(2), true)));
    importKnowledge(c, file, identity(2).public_key);
    expect(c.list().map(({ origin }) => origin)).toEqual([
      identity(2).public_key,
      identity(2).public_key,
    ]);
    expect(c.list({ result: "worse" })).toHaveLength(1);
    expect(failure(() => importKnowledge(c, file, identity(1).public_key)).code).toBe(
      "BAD_KNOWLEDGE",
    );
    expect(c.forget(identity(2).public_key)).toBe(2);
    fs.rmSync(folder, { recursive: true });
  });

  test("is corrected where this machine told it, and by nobody else", () => {
    const base = makeBase();
    base.record(insight("a", "s", 0.3));
    base.record(insight("a", "s", -0.1, { result: "worse" }));
    const [known, ...others] = base.list();
    expect(others).toEqual([]);
    expect(known!.insight).toEqual(insight("a", "s", -0.1, { result: "worse" }));
    expect(base.list({ result: "worse" })).toHaveLength(1);
    const stranger = identity(5).public_key;
    base.merge([insight("b", "s", 0.2)], stranger);
    base.record(insight("b", "s", 0.1));
    expect(base.list({ task: "b" })[0]).toMatchObject({ origin: stranger });
  });

  test("a stranger cannot change what is known under a key", () => {
    const base = makeBase();
    base.record(insight("t", "s", 0.02));
    base.merge([insight("t", "s", 0.9)], identity(3).public_key);
    expect(base.list()[0]!.insight.difference!.difference).toBe(0.02);
  });

  test("hostile files are refused whole, with the reason", () => {
    const signed = (insights: unknown[]) => {
      const base = makeBase();
      base.merge = () => 0;
      const list = insights.map((one) => ({ insight: one, origin: "local", recorded_ms: 0 }));
      base.list = () => list as never;
      return JSON.stringify(exportKnowledge(base, identity(4)));
    };
    const good = insight("t", "s", 0.01);
    const bad: [unknown, string][] = [
      [{ ...good, cpu_s: -1 }, "cpu_s"],
      [{ ...good, result: "great" }, "result"],
      [{ ...good, difference: { ...good.difference, low: 2, high: 1 } }, "difference"],
      [{ ...good, difference: { ...good.difference, difference: 1e300 } }, "difference"],
      [{ ...good, strategy: "x".repeat(1000) }, "strategy"],
      [{ ...good, strategy: "\u001b[2Jgone" }, "control"],
      [{ ...good, settings: { a: "x".repeat(5000) } }, "too long"],
      [
        {
          ...good,
          settings: Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`k${i}`, 1])),
        },
        "settings",
      ],
      [
        { ...good, signature: { ...good.signature, failures: [{ kind: "evil", strength: 1 }] } },
        "failures",
      ],
      [{ ...good, extra: 1 }, "extra"],
      [7, "insight"],
    ];
    for (const [one, reason] of bad) {
      const error = failure(() => readKnowledge(signed([good, one])));
      expect([error.code, error.message]).toEqual(["BAD_INSIGHT", expect.stringContaining(reason)]);
    }
    const text = signed([good]);
    expect(readKnowledge(text).insights).toEqual([good]);
    const changes: [string, string][] = [
      [text.replace('"cpu_s":2.5', '"cpu_s":0.5'), "signature does not fit"],
      [text.replace(identity(4).public_key, identity(5).public_key), "signature does not fit"],
      [text.slice(0, -10), "no JSON"],
      [text.replace("knowledge/1", "knowledge/2"), "schema"],
      ["[]", "schema"],
      [
        text.replace('"settings":{', `"settings":{"a":${"[".repeat(50_000)}${"]".repeat(50_000)},`),
        "signature does not fit",
      ],
      ["null", "no object"],
      [text.replace('{"schema"', '{"more":1,"schema"'), "unknown keys"],
      [
        `{"schema":"magnet.research_knowledge/1","public_key":"${identity(4).public_key}"}`,
        "not signed",
      ],
    ];
    for (const [changed, reason] of changes) {
      const error = failure(() => readKnowledge(changed));
      expect([error.code, error.message]).toEqual([
        "BAD_KNOWLEDGE",
        expect.stringContaining(reason),
      ]);
    }
  });

  test("a file that is no knowledge base is refused in words", () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-knowledge-"));
    const file = path.join(folder, "knowledge.db");
    fs.writeFileSync(file, "garbage ".repeat(1000));
    expect(failure(() => KnowledgeBase.open(file, clock)).code).toBe("KNOWLEDGE_CORRUPT");
    fs.rmSync(folder, { recursive: true });
  });
});
