/**
 * The gate's known behaviour (Dwork et al. 2015), the noise floor's quantiles, and bounds: the
 * adaptive attack that overfits a naively reused holdout does not get through Thresholdout.
 */
import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import { normalQuantile, tQuantile } from "../../src/research/evaluation/quantiles.ts";
import { Gate } from "../../src/research/loop/gate.ts";
import { LOOP_LIMITS } from "../../src/research/loop/limits.ts";
import {
  floorOfMeans,
  lowerBound,
  meanDifference,
  noiseFloor,
} from "../../src/research/loop/statistics.ts";
import { roughNormal } from "../../src/research/search/bandit.ts";
import type { PairedDifference } from "../../src/research/types.ts";
import { paired } from "./synthetic.ts";

/**
 * The attack: many random voters, each asked about against a coin; those that the holdout likes
 * are joined by majority. Labels are coins, so every classifier's true accuracy is one half.
 */
function attack(seed: number, ask: (search: PairedDifference, gate: PairedDifference) => boolean) {
  const random = seededRandom(seed);
  const [search, gate, fresh, voters] = [600, 150, 4000, 120];
  const labels = (n: number) => Array.from({ length: n }, () => (random.next() < 0.5 ? -1 : 1));
  const parts = [search, gate, fresh].map((n) => ({
    n,
    label: labels(n),
    votes: Array.from({ length: voters }, () => labels(n)),
  }));
  const accuracy = (part: number, ids: readonly number[]) => {
    const { n, label, votes } = parts[part]!;
    return Float32Array.from({ length: n }, (_, row) => {
      const sum = ids.reduce((total, id) => total + votes[id]![row]!, 0);
      return sum * label[row]! > 0 ? 1 : sum === 0 ? 0.5 : 0;
    });
  };
  let chosen: number[] = [];
  for (let id = 0; id < voters; id++) {
    const before = [0, 1].map((part) => accuracy(part, chosen));
    const after = [0, 1].map((part) => accuracy(part, [...chosen, id]));
    const differences = [0, 1].map((part) => paired(before[part]!, after[part]!));
    if (ask(differences[0]!, differences[1]!)) chosen = [...chosen, id];
  }
  const score = (part: number) => {
    const values = accuracy(part, chosen);
    return values.reduce((a, b) => a + b, 0) / values.length;
  };
  return { search: score(0), gate: score(1), fresh: score(2) };
}

describe("Thresholdout", () => {
  test("adaptive reuse overfits a plain holdout, the gate stays honest", () => {
    const naive: number[] = [];
    const guarded: number[] = [];
    for (let seed = 1; seed <= 5; seed++) {
      // The naive holdout shows its own figure: whoever does better on it is taken.
      const plain = attack(seed, (_, gate) => gate.difference > 0);
      naive.push(plain.gate - plain.fresh);
      const gate = new Gate(seededRandom(seed));
      const asked = attack(seed, (search, reading) => {
        // As the loop does it: only what is significant on the search part is asked about.
        if (gate.left === 0 || search.difference < 0.02) return false;
        gate.open();
        return gate.answer(search, reading).answer > 0;
      });
      guarded.push(asked.gate - asked.fresh);
    }
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    expect(mean(naive)).toBeGreaterThan(0.1);
    expect(Math.abs(mean(guarded))).toBeLessThan(0.05);
  });

  test("agreeing parts tell only what the search part knows; disagreeing ones are told apart", () => {
    const gate = new Gate(seededRandom(4), { budget: 1000 });
    const reading = (difference: number) => ({
      difference,
      standard_error: 0.01,
      low: 0,
      high: 0,
      level: 0.95,
    });
    let [same, caught, accepted] = [0, 0, 0];
    for (let i = 0; i < 400; i++) {
      if (gate.answer(reading(0.02), reading(0.021)).answer === 0.02) same++;
      const answer = gate.answer(reading(0.06), reading(-0.03));
      if (answer.overfit) caught++;
      if (answer.answer > 0) accepted++;
    }
    expect(same).toBeGreaterThan(350);
    expect(caught).toBeGreaterThan(380);
    expect(accepted).toBeLessThan(20);
  });

  test("rows that the gate decides alike are no objection", () => {
    const gate = new Gate(seededRandom(3), { budget: 1000 });
    const search = { difference: 0.017, standard_error: 0.014, low: 0, high: 0, level: 0.95 };
    const alike = { difference: 0, standard_error: 0, low: 0, high: 0, level: 0.95 };
    let accepted = 0;
    for (let i = 0; i < 200; i++) if (gate.answer(search, alike).answer > 0) accepted++;
    expect(accepted).toBeGreaterThan(150);
  });

  test("no query beyond the budget", () => {
    const gate = new Gate(seededRandom(1), { budget: 2 });
    expect([gate.open(), gate.open(), gate.left]).toEqual([0, 1, 0]);
    expect(() => gate.open()).toThrow("query budget");
  });

  test("queries that were undone stay used, with their numbers and their noise", () => {
    const gate = new Gate(seededRandom(1), { budget: 5, lost: [1, 2] });
    expect(gate.left).toBe(3);
    const far = { difference: 1, standard_error: 0.01, low: 1, high: 1, level: 0.95 };
    const none = { ...far, difference: 0 };
    const answers = [0, 1, 2].map(() => [gate.open(), gate.answer(far, none).answer]);
    expect(answers.map(([query]) => query)).toEqual([0, 3, 4]);
    expect(gate.left).toBe(0);
    // The noise of a gate that nobody has undone, at the same numbers.
    const whole = new Gate(seededRandom(1), { budget: 5 });
    const all = [0, 1, 2, 3, 4].map(() => [whole.open(), whole.answer(far, none).answer]);
    expect(answers).toEqual([all[0]!, all[3]!, all[4]!]);
  });
});

describe("levels", () => {
  test("quantiles agree with the tables", () => {
    for (const [p, z] of [
      [0.9, 1.281552],
      [0.975, 1.959964],
      [0.01, -2.326348],
      [0.999, 3.090232],
    ])
      expect(normalQuantile(p!)).toBeCloseTo(z!, 5);
    // Student's t, from any printed table.
    const table = [
      [0.9, 1, 3.0777],
      [0.9, 2, 1.8856],
      [0.95, 2, 2.92],
      [0.9, 3, 1.6377],
      [0.9, 7, 1.4149],
      [0.95, 7, 1.8946],
      [0.975, 9, 2.2622],
    ];
    for (const [p, degrees, t] of table) expect(tQuantile(p!, degrees!)).toBeCloseTo(t!, 2);
  });

  test("the floor covers what the seed alone does, at its level", () => {
    const random = seededRandom(11);
    let over = 0;
    const rounds = 3000;
    for (let i = 0; i < rounds; i++) {
      const scores = Array.from({ length: 8 }, () => 0.8 + 0.01 * roughNormal(random));
      const floor = noiseFloor(scores);
      // The mean of three paired differences that vary as the seeds do.
      const draws = [0, 1, 2].map(() => 0.01 * roughNormal(random));
      if ((draws[0]! + draws[1]! + draws[2]!) / 3 > floorOfMeans(floor, 3)) over++;
    }
    expect(Math.abs(over / rounds - (1 - LOOP_LIMITS.noise_level))).toBeLessThan(0.02);
  });

  test("a bound at another level is rescaled, a mean of differences keeps the units' error", () => {
    const one = { difference: 0.02, standard_error: 0.01, low: 0.0004, high: 0.0396, level: 0.95 };
    expect(lowerBound(one, 0.975)).toBeCloseTo(0.0004, 6);
    expect(lowerBound(one, 0.9)).toBeCloseTo(0.02 - 0.01 * 1.2816, 4);
    expect(meanDifference([one, one, one])).toEqual(one);
  });
});
