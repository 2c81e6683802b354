/** The language domain: determinism, hygiene of the held-out parts, the saved model, equal budgets. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { learningRate } from "../../../src/model/schedule.ts";
import { parseConfiguration } from "../../../src/research/language/configuration.ts";
import { splitCorpus } from "../../../src/research/language/documents.ts";
import type { LanguageDomain } from "../../../src/research/language/domain.ts";
import { unpackModel } from "../../../src/research/language/final-model.ts";
import { rateAt } from "../../../src/research/language/schedule.ts";
import type { Configuration, TrialSpec } from "../../../src/research/types.ts";
import { corpusFor, openDomain } from "./texts.ts";

const corpus = corpusFor([
  { name: "a", documents: 40 },
  { name: "b", documents: 20 },
]);
const TASK = { tokens: 6000 };

const specOf = (domain: LanguageDomain, change: Configuration = {}, seed = 1): TrialSpec => ({
  task_hash: domain.task_hash,
  configuration: domain.parse({ ...domain.baseline(), ...change }),
  seed,
  fidelity: 1,
});

/** Without what a clock says. */
function decided({ score, outputs, figures }: Awaited<ReturnType<LanguageDomain["evaluate"]>>) {
  return { score, outputs: [...outputs], figures };
}

test("another corpus' configuration comes without the weights of its sources", () => {
  const domain = openDomain(corpus, TASK);
  const own = domain.parse({ ...domain.baseline(), mixture: { a: 1, b: 2 } });
  expect(domain.adopt(own)).toEqual(own);
  const other = { ...own, lr: 0.007, mixture: { c: 1, d: 2 } };
  expect(domain.parse(domain.adopt(other))).toEqual({ ...own, lr: 0.007, mixture: {} });
});

test("texts are known by their content, whatever their names, seed and settings", () => {
  const domains = corpus.domains.map((name) => `${name}-renamed`);
  const renamed = openDomain({ ...corpus, domains }, { tokens: 7000 });
  expect(renamed.data_hash).toBe(openDomain(corpus, TASK).data_hash);
  const fewer = { ...corpus, documents: corpus.documents.slice(1) };
  expect(openDomain(fewer, TASK).data_hash).not.toBe(renamed.data_hash);
});

describe("a trial", () => {
  test("gives the same outcome for any number of threads and in another process' place", async () => {
    const [one, other] = [openDomain(corpus, TASK), openDomain(corpus, TASK)];
    expect(other.task_hash).toBe(one.task_hash);
    const a = await one.evaluate(specOf(one), { threads: 1 });
    const b = await other.evaluate(specOf(other), { threads: 3 });
    expect(decided(b)).toEqual(decided(a));
    const c = await one.evaluate(specOf(one, {}, 2), { threads: 1 });
    expect(c.score).not.toBe(a.score);
  });

  test("does not look at gate and sealed text; the gate's read does", async () => {
    const domain = openDomain(corpus, TASK);
    const hidden = (name: string) => ({
      get(): never {
        throw new Error(`${name} was read`);
      },
    });
    for (const holder of [domain.data.excerpts, domain.data.parts])
      Object.defineProperties(holder, { gate: hidden("gate"), sealed: hidden("sealed") });
    const spec = specOf(domain);
    const outcome = await domain.evaluate(spec, { threads: 1 });
    const place = { version: 0, strategy: "baseline", proposer: "baseline" } as const;
    const trial = { index: 0, place, spec, state: "done", outcome, error: null } as const;
    await domain.analyse(trial);
    const read = await domain.gateScores(spec, spec).catch((error: Error) => error.message);
    expect(read).toBe("gate was read");
  });

  test("of a larger vocabulary sees the same text, at equal compute a cheaper model more", async () => {
    const small = parseConfiguration(openDomain(corpus).baseline(), ["a", "b"]);
    const by_text = openDomain(corpus, TASK);
    const wide = { ...small, vocab_size: 340 };
    const tokens = await by_text.tokensOf(small, 1);
    expect(tokens).toBe(TASK.tokens);
    expect(await by_text.tokensOf(wide, 1)).toBeLessThan(tokens);
    const by_cost = openDomain(corpus, { ...TASK, equal: "compute" });
    expect(await by_cost.tokensOf({ ...small, n_layers: 1 }, 1)).toBeGreaterThan(1.3 * tokens);
    expect(await by_cost.tokensOf(small, 0.25)).toBe(tokens / 4);
  });
});

describe("the split", () => {
  test("puts every distinct document on one side, whatever the order", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), (seed) => {
        const twice = { ...corpus, documents: [...corpus.documents, ...corpus.documents] };
        const a = splitCorpus(corpus, { seed });
        const b = splitCorpus({ ...twice, documents: twice.documents.toReversed() }, { seed });
        expect(b.copies).toBe(corpus.documents.length + a.copies);
        const text = (document: { bytes: Uint8Array }) => Buffer.from(document.bytes).toString();
        const seen = new Set<string>();
        for (const part of ["train", "search", "gate", "sealed"] as const) {
          expect(b[part].map(text)).toEqual(a[part].map(text));
          for (const document of a[part]) {
            expect(seen.has(text(document))).toBe(false);
            seen.add(text(document));
          }
        }
      }),
      { numRuns: 10 },
    );
  });

  test("refuses a domain with too few documents by its name", () => {
    const few = corpusFor([
      { name: "a", documents: 9 },
      { name: "lonely", documents: 3 },
    ]);
    expect(() => splitCorpus(few, { seed: 1 })).toThrow("lonely has 3 document(s)");
  });
});

describe("a configuration", () => {
  const base = openDomain(corpus).baseline();
  const message = (change: Configuration) => {
    try {
      parseConfiguration({ ...base, ...change }, ["a", "b"]);
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };
  test("is refused with the field's name", () => {
    expect(message({ lr: 0 })).toContain("lr");
    expect(message({ head_dim: 12 })).toContain("head_dim");
    expect(message({ group: 3 })).toContain("group");
    expect(message({ mixture: { a: 1 } })).toContain("mixture.b");
    expect(message({ mixture: { a: 1, c: 1 } })).toContain("mixture.c");
    expect(message({ widht: 3 })).toContain("widht");
    expect(message({})).toBe("");
  });

  test("has the native schedule's rates at its shares", () => {
    for (const total of [1, 7, 100, 333])
      for (let step = 1; step <= total; step++)
        for (const schedule of ["wsd", "cosine", "two-stage", "constant"] as const) {
          const c = { schedule, lr: 0.003, warmup: 0.01, decay: 0.15 };
          const expected = learningRate(schedule, step, total, 0.003);
          expect(rateAt(c, step, total)).toBeCloseTo(expected, 9);
        }
  });
});

test("gate, final fit and sealed look: the better model wins all three", async () => {
  const domain = openDomain(corpus, { tokens: 16_000 });
  const [good, bad] = [specOf(domain), specOf(domain, { lr: 1e-4 })];
  const { gate } = await domain.gateScores(bad, good);
  expect(gate.low).toBeGreaterThan(0);
  const [a, b] = [await domain.fitFinal(good), await domain.fitFinal(bad)];
  const sealed = await domain.openSealed(a, b);
  expect(sealed.difference.low).toBeGreaterThan(0);
  expect(sealed.model.score).toBeGreaterThan(sealed.baseline.score);
  expect(sealed.model.low).toBeLessThan(sealed.model.score);
  const { params, tokenizer, model } = unpackModel(a.bytes);
  expect(params.some((x) => x !== 0)).toBe(true);
  expect(tokenizer.vocab_size).toBe(model.vocab_size);
  expect(() => unpackModel(a.bytes.subarray(0, 100))).toThrow();
});
