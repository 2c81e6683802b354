/** What of a teacher's answers is used: proposals in the space, examples that are new and clean. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { TeacherRequest } from "../../../src/research/loop/faces.ts";
import type { TeacherBackend } from "../../../src/research/teacher/backend.ts";
import { type GeneratedExample, generateExamples } from "../../../src/research/teacher/generate.ts";
import { jsonIn } from "../../../src/research/teacher/json-answer.ts";
import { EvaluationGrams, SeenTexts } from "../../../src/research/teacher/near-duplicates.ts";
import { readProposals } from "../../../src/research/teacher/propose.ts";
import { parseTeacher } from "../../../src/research/teacher/settings.ts";
import { Teacher } from "../../../src/research/teacher/teacher.ts";

const settings = parseTeacher({ backend: "network", model: "m" });
const answering = (answers: readonly string[]) => {
  let calls = 0;
  const backend: TeacherBackend = {
    async ask() {
      return {
        text: answers[Math.min(calls++, answers.length - 1)]!,
        input_tokens: 1,
        output_tokens: 1,
      };
    },
  };
  return new Teacher(settings, backend);
};

describe("JSON in an answer", () => {
  test("is found between words, in fences, with brackets in strings", () => {
    expect(jsonIn('Sure! ```json\n{"a": "}]", "b": [1]}\n``` done')).toEqual({ a: "}]", b: [1] });
    expect(jsonIn("see [1] and {this}, then [2, 3]")).toEqual([1]);
    expect(jsonIn('{"a": 1')).toBeUndefined();
    expect(jsonIn("none")).toBeUndefined();
  });

  test("any JSON document survives any prose without brackets around it", () => {
    const prose = fc.string().map((s) => s.replaceAll(/[[\]{}"]/g, ""));
    fc.assert(
      fc.property(prose, fc.dictionary(fc.string(), fc.jsonValue()), prose, (a, value, b) => {
        const text = JSON.stringify(value);
        expect(JSON.stringify(jsonIn(a + text + b))).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  test("no answer takes long, however its brackets stand", () => {
    const started = performance.now();
    jsonIn("[".repeat(500_000));
    jsonIn("{]".repeat(250_000));
    jsonIn("[x]".repeat(200_000));
    expect(performance.now() - started).toBeLessThan(2000);
  });
});

const request: TeacherRequest = {
  version: 1,
  metric: "balanced_accuracy",
  facts: {
    ...{ domain: "tabular", name: "t", rows: 100, features: 3, classes: 2, minority: 0.3 },
    ...{ contexts: 0, has_pipeline: false, missing_share: 0, categorical_share: 0 },
  },
  best: { configuration: {}, score: 0.7 },
  failures: [],
  tried: [],
  sweeps: [
    {
      strategy: "sweep",
      summary: "",
      base: { lr: 0.1, kind: "a" },
      wanted: 2,
      space: {
        lr: { kind: "real", min: 0.01, max: 1, log: true },
        depth: { kind: "integer", min: 1, max: 8 },
        kind: { kind: "choice", options: ["a", "b"] },
      },
    },
  ],
};

describe("proposals", () => {
  const read = (proposals: unknown) => readProposals(request, JSON.stringify({ proposals }));
  const one = (settings_: object, strategy = "sweep") => read([{ strategy, settings: settings_ }]);

  test("settings inside of the space become configurations over the base", () => {
    expect(one({ lr: 0.5 }).proposals).toEqual([
      { strategy: "sweep", configuration: { lr: 0.5, kind: "a" } },
    ]);
    expect(one({ depth: 3, kind: "b" }).proposals[0]!.configuration).toEqual({
      ...{ lr: 0.1, depth: 3, kind: "b" },
    });
  });

  test("everything else is dropped and counted", () => {
    const wrong = [{ lr: 2 }, { lr: "0.5" }, { depth: 2.5 }, { kind: "c" }, { other: 1 }];
    for (const bad of wrong) expect(one(bad)).toEqual({ proposals: [], dropped: 1 });
    expect(one({ constructor: 1 })).toEqual({ proposals: [], dropped: 1 });
    expect(one({ lr: 0.5 }, "unknown").dropped).toBe(1);
    expect(read([1, 2, 3])).toEqual({ proposals: [], dropped: 0 });
    const many = read([0.1, 0.2, 0.3].map((lr) => ({ strategy: "sweep", settings: { lr } })));
    expect(many.proposals).toHaveLength(2); // as many as were wanted
  });
});

const words = (seed: number, n: number) =>
  Array.from({ length: n }, (_, i) => `w${(seed * 7919 + i * 104_729) % 9973}`).join(" ");

describe("examples", () => {
  async function documents(answers: readonly string[], count: number, evaluation?: string) {
    const grams = new EvaluationGrams();
    if (evaluation !== undefined) grams.add(evaluation);
    const kept: GeneratedExample[] = [];
    const spec = { kind: "documents", topic: "t", language: "English", count, seed: 1 } as const;
    const result = await generateExamples(
      answering(answers),
      { ...spec, samples: [] },
      {
        evaluation: evaluation === undefined ? null : grams,
        onExample: (example) => void kept.push(example),
      },
    );
    return { result, kept };
  }
  const answer = (...texts: unknown[]) =>
    JSON.stringify({ examples: texts.map((text) => ({ text })) });

  test("near-duplicates, contaminated and malformed ones are dropped and counted", async () => {
    const [a, b, known] = [words(1, 200), words(2, 200), words(3, 200)];
    const nearly = a.replace(/^\S+/, "changed");
    const { result, kept } = await documents(
      [answer(a, nearly, b, `${known.slice(0, 400)} ${b.slice(0, 20)}`, 5, ""), answer(a)],
      4,
      `before ${known} after`,
    );
    expect(kept.map((e) => "text" in e && e.text)).toEqual([a, b]);
    expect(result).toMatchObject({ kept: 2, contaminated: 1 });
    expect(result.duplicates).toBeGreaterThanOrEqual(1);
    expect(result.stopped).toContain("nothing new");
  });

  test("an instruction is training text and a chat; a pair needs two answers", async () => {
    const line = { examples: [{ instruction: "Add 2 and 3.", answer: "5" }] };
    const kept: GeneratedExample[] = [];
    const spec = { topic: "t", language: "English", count: 1, seed: 1, samples: [] };
    const options = { evaluation: null, onExample: (e: GeneratedExample) => void kept.push(e) };
    const teacher = answering([JSON.stringify(line)]);
    await generateExamples(teacher, { ...spec, kind: "instructions" }, options);
    expect(kept[0]).toEqual({
      text: "Add 2 and 3.\n\n5",
      messages: [
        { role: "user", content: "Add 2 and 3." },
        { role: "assistant", content: "5" },
      ],
    });
    const same = answering(['{"examples": [{"prompt": "a", "chosen": "b", "rejected": "b"}]}']);
    expect(generateExamples(same, { ...spec, kind: "pairs" }, options)).rejects.toMatchObject({
      code: "NOTHING_GENERATED",
    });
  });

  test("texts are the same from a similarity of 0.8 on, whatever their case and punctuation", () => {
    const seen = new SeenTexts();
    const text = words(5, 400);
    expect(seen.add(text)).toBe(true);
    expect(seen.add(text.toUpperCase().replaceAll(" ", ", "))).toBe(false);
    const half = `${text.split(" ").slice(0, 200).join(" ")} ${words(6, 200)}`;
    expect(seen.add(half)).toBe(true);
    expect(seen.add("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。")).toBe(
      true,
    );
    expect(seen.add("吾輩は猫である、名前はまだ無い、どこで生れたかとんと見当がつかぬ")).toBe(
      false,
    );
  });
});
