/** Samplers with state: penalties by their definitions, alternatives, frequencies, and equal paths. */
import { describe, expect, test } from "bun:test";
import path from "node:path";
import { GREEDY, parseSampling, Sampler, type SamplingInput } from "../../src/model/sampling.ts";
import { cpuInfo } from "../../src/native/library.ts";
import { liveHandles } from "../../src/native/sample.ts";
import { randomNumbers } from "./constraint/fixtures.ts";

/** Draws n tokens from the same logits. */
function drawn(logits: number[], sampling: SamplingInput, n: number): number[] {
  const sampler = new Sampler(logits.length, parseSampling(sampling));
  const row = Float32Array.from(logits);
  const tokens = Array.from({ length: n }, () => sampler.draw(row).token);
  sampler.close();
  return tokens;
}

describe("penalties", () => {
  const greedy = { temperature: 0 };
  test("presence is taken off once, of drawn tokens", () => {
    expect(drawn([3, 2.5, 2.2, 0], { ...greedy, presence_penalty: 0.6 }, 5)).toEqual([
      0, 1, 0, 0, 0,
    ]);
  });
  test("frequency is taken off for every time", () => {
    // 3 -> 2.4 -> 1.8; 2.5 -> 1.9; 2.2: in order of what is left
    expect(drawn([3, 2.5, 2.2, 0], { ...greedy, frequency_penalty: 0.6 }, 6)).toEqual([
      0, 1, 0, 2, 1, 0,
    ]);
  });
  test("a negative one draws the same token again", () => {
    expect(drawn([1, 1.4], { ...greedy, presence_penalty: -1 }, 3)).toEqual([1, 1, 1]);
  });
  test("the repetition penalty looks at the prompt and at 256 tokens in all", () => {
    const sampler = new Sampler(3, parseSampling({ ...greedy, repetition_penalty: 2 }));
    sampler.prompt(Int32Array.of(0));
    expect(sampler.draw(Float32Array.of(3, 2, -1)).token).toBe(1);
    sampler.prompt(new Int32Array(256).fill(2));
    expect(sampler.draw(Float32Array.of(3, 2, -1)).token).toBe(0);
    sampler.close();
  });
  test("they do not touch log-probabilities", () => {
    const sampler = new Sampler(2, parseSampling({ ...greedy, presence_penalty: 2 }));
    const logits = Float32Array.of(1, 0);
    const first = sampler.draw(logits);
    const second = sampler.draw(logits);
    expect([first.token, second.token]).toEqual([0, 1]);
    expect(first.logprob).toBeCloseTo(-Math.log(1 + Math.exp(-1)), 6);
    expect(second.logprob).toBeCloseTo(-1 - Math.log(1 + Math.exp(-1)), 6);
    sampler.close();
  });
});

describe("alternatives", () => {
  test("are the most likely under the unmodified logits, with their logs of probability", () => {
    const random = randomNumbers(3);
    const logits = Float32Array.from({ length: 5000 }, () => 10 * random());
    const sampler = new Sampler(5000, GREEDY, { top_logprobs: 20 });
    const { top, token, logprob } = sampler.draw(logits);
    sampler.close();
    const total = logits.reduce((sum, x) => sum + Math.exp(x), 0);
    const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, 20);
    expect(top.map((t) => t.token)).toEqual(order);
    for (const t of top) expect(t.logprob).toBeCloseTo(logits[t.token]! - Math.log(total), 4);
    expect({ token, logprob }).toEqual(top[0]!);
  });
  test("of fewer tokens than asked for are all of them", () => {
    const sampler = new Sampler(2, GREEDY, { top_logprobs: 20 });
    expect(
      sampler.draw(Float32Array.of(0, Number.NEGATIVE_INFINITY)).top.map((t) => t.token),
    ).toEqual([0]);
    sampler.close();
  });
});

/** Weights of tokens after top-k, top-p and min-p, by the plain definition. */
function weights(logits: Float32Array, s: ReturnType<typeof parseSampling>): Map<number, number> {
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
  const kept = s.top_k > 0 ? order.slice(0, s.top_k) : order;
  const weight = (id: number) => Math.exp((logits[id]! - logits[order[0]!]!) / s.temperature);
  const total = kept.reduce((sum, id) => sum + weight(id), 0);
  let sum = 0;
  const nucleus = kept.filter((id) => {
    const before = sum;
    sum += weight(id);
    return s.top_p >= 1 || before < s.top_p * total;
  });
  return new Map(nucleus.filter((id) => weight(id) >= s.min_p).map((id) => [id, weight(id)]));
}

describe("draws follow the masked softmax (chi-square, fixed seed)", () => {
  test.each<[vocab: number, scale: number, sampling: SamplingInput]>([
    [50, 3, { temperature: 1, top_k: 0, top_p: 1 }],
    [50, 3, { temperature: 0.7, top_k: 12, top_p: 0.9 }],
    [400, 2, { temperature: 1.3, top_k: 0, top_p: 0.6 }],
    [400, 6, { temperature: 1, top_k: 0, top_p: 1, min_p: 0.05 }],
    [3000, 9, { temperature: 0.8, top_k: 0, top_p: 0.95 }],
    [3000, 9, { temperature: 1, top_k: 64, top_p: 1 }],
  ])("%d logits, scale %d, %j", (vocab, scale, input) => {
    const random = randomNumbers(vocab + scale);
    const logits = Float32Array.from({ length: vocab }, () => scale * random());
    const sampling = parseSampling({ ...input, seed: 11 });
    const expected = weights(logits, sampling);
    const total = [...expected.values()].reduce((a, b) => a + b, 0);
    const n = 20_000;
    const counts = new Map<number, number>();
    const sampler = new Sampler(vocab, sampling);
    for (let i = 0; i < n; i++) {
      const { token } = sampler.draw(logits);
      counts.set(token, (counts.get(token) ?? 0) + 1);
    }
    sampler.close();
    expect([...counts.keys()].filter((id) => !expected.has(id))).toEqual([]);
    // Cells of fewer than 5 expected draws are taken together.
    let [chi, cells, rest_expected, rest_counted] = [0, 0, 0, 0];
    for (const [id, weight] of expected) {
      const mean = (n * weight) / total;
      const counted = counts.get(id) ?? 0;
      if (mean < 5) {
        rest_expected += mean;
        rest_counted += counted;
        continue;
      }
      chi += (counted - mean) ** 2 / mean;
      cells++;
    }
    if (rest_expected >= 5) {
      chi += (rest_counted - rest_expected) ** 2 / rest_expected;
      cells++;
    }
    const freedom = cells - 1;
    expect(chi).toBeLessThan(freedom + 4 * Math.sqrt(2 * freedom) + 4);
  });
});

test("closed samplers leave no handle behind, and a failed draw leaves the sampler as it was", () => {
  const before = liveHandles();
  const sampler = new Sampler(4, parseSampling({ temperature: 1, top_k: 0, top_p: 1, seed: 5 }));
  const again = new Sampler(4, parseSampling({ temperature: 1, top_k: 0, top_p: 1, seed: 5 }));
  expect(liveHandles()).toBe(before + 2);
  const logits = Float32Array.of(1, 1, 1, 1);
  for (let i = 0; i < 20; i++) {
    expect(() => sampler.draw(Float32Array.of(1, Number.NaN, 1, 1))).toThrow("NaN");
    expect(sampler.draw(logits)).toEqual(again.draw(logits));
  }
  sampler.close();
  again.close();
  expect(liveHandles()).toBe(before);
});

test("draws, log-probabilities and alternatives are the same on every CPU path", () => {
  const digests = (cpu: string) => {
    const script = path.join(import.meta.dir, "draw-digest.ts");
    const env = { ...process.env, MAGNET_CPU: cpu };
    const { stdout, stderr } = Bun.spawnSync([process.execPath, script], { env });
    expect(stderr.toString()).toBe("");
    return stdout.toString().trim().split("\n");
  };
  const simd = cpuInfo().paths.filter((name) => name !== "scalar");
  if (simd.length === 0) process.stderr.write("this CPU has the scalar path only\n");
  const expected = digests("scalar");
  expect(expected.length).toBe(20);
  for (const name of simd) expect(digests(name)).toEqual(expected);
}, 60_000);
