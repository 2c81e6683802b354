/** The draw of training audits: fair, the same for everybody, and never of oneself. */
import { expect, test } from "bun:test";
import {
  AUDITORS_MAX,
  type DrawnRound,
  drawAudits,
  trainingAuditors,
} from "../../src/agent/training-audits/draw.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";

const keyOf = (i: number) => `02${sha256Hex(`key ${i}`)}` as PublicKey;
const keysOf = (n: number) => Array.from({ length: n }, (_, i) => keyOf(i)).sort();
const hashOf = (i: number) => sha256Hex(`merge ${i}`) as Hash;

const roundOf = (i: number, overrides: Partial<DrawnRound> = {}): DrawnRound => ({
  merge_hash: hashOf(i),
  inner_steps: 100,
  stride: 20,
  contributors: keysOf(10),
  members: keysOf(12),
  ...overrides,
});

test("as many steps are done again as the share says, whatever the stretches", () => {
  for (const [inner_steps, stride] of [
    [100, 20], // five equal ones
    [90, 40], // the last is a quarter of the others
    [20, 20], // a trail of one
    [3, 20],
    [250, 60],
  ] as const) {
    let audited = 0;
    const rounds = 4000;
    for (let i = 0; i < rounds; i++)
      for (const { stretch } of drawAudits(roundOf(i, { inner_steps, stride })))
        audited += Math.min(stride, inner_steps - stretch * stride);
    const share = audited / (rounds * 10 * inner_steps);
    expect([inner_steps, Math.abs(share - 0.05) < 0.006]).toEqual([inner_steps, true]);
  }
});

test("every contributor, every stretch and every auditor is drawn alike", () => {
  const authors = new Map<string, number>();
  const stretches = new Map<number, number>();
  const auditors = new Map<string, number>();
  let all = 0;
  const count = <K>(map: Map<K, number>, key: K) => map.set(key, (map.get(key) ?? 0) + 1);
  for (let i = 0; i < 4000; i++)
    for (const audit of drawAudits(roundOf(i))) {
      all++;
      count(authors, audit.author);
      count(stretches, audit.stretch);
      count(auditors, audit.auditors[0]!);
    }
  const isEven = (map: Map<unknown, number>, size: number) =>
    map.size === size &&
    [...map.values()].every((n) => Math.abs(n / (all / size) - 1) < 6 / Math.sqrt(all / size));
  expect(isEven(authors, 10)).toBe(true);
  expect(isEven(stretches, 5)).toBe(true);
  // Members that did not contribute audit a little more: they are never the author.
  expect(auditors.size).toBe(12);
  expect(Math.min(...auditors.values())).toBeGreaterThan((0.8 * all) / 12);
  expect(Math.max(...auditors.values())).toBeLessThan((1.25 * all) / 12);
});

test("nobody audits himself, nobody is drawn twice, and the order of members is of no account", () => {
  const random = seededRandom(3);
  for (let i = 0; i < 500; i++) {
    const size = 1 + random.below(9);
    const members = keysOf(size);
    const contributors = members.filter(() => random.below(4) > 0);
    const round = roundOf(i, { members, contributors });
    const drawn = drawAudits(round, 1);
    expect(drawn.map(({ author }) => author)).toEqual(contributors);
    for (const { author, auditors, stretch } of drawn) {
      expect(auditors).not.toContain(author);
      expect(new Set(auditors).size).toBe(auditors.length);
      expect(auditors.length).toBe(Math.min(AUDITORS_MAX, size - 1));
      expect(stretch).toBeGreaterThanOrEqual(0);
      expect(stretch).toBeLessThan(5);
    }
    const shuffled = [...members].reverse();
    expect(drawAudits({ ...round, members: shuffled }, 1)).toEqual(drawn);
  }
});

test("another plan is another draw; a member more changes an order by itself alone", () => {
  const drawn = (i: number) => JSON.stringify(drawAudits(roundOf(i), 1));
  expect(drawn(1)).toBe(drawn(1));
  expect(drawn(1)).not.toBe(drawn(2));
  const [author, ...members] = keysOf(8);
  const newcomer = keyOf(99);
  const before = trainingAuditors(hashOf(1), author!, members);
  const after = trainingAuditors(hashOf(1), author!, [...members, newcomer]);
  const without = after.filter((key) => key !== newcomer);
  expect(before.slice(0, without.length)).toEqual(without);
});

test("a higher share audits all that a lower one does, and share 1 everybody", () => {
  for (let i = 0; i < 200; i++) {
    const few = drawAudits(roundOf(i), 0.02).map(({ author }) => author);
    const more = drawAudits(roundOf(i), 0.1).map(({ author }) => author);
    for (const author of few) expect(more).toContain(author);
    expect(drawAudits(roundOf(i), 1)).toHaveLength(10);
    expect(drawAudits(roundOf(i), 0)).toHaveLength(0);
  }
});
