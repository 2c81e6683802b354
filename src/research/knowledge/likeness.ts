/**
 * How alike two tasks are, by what is known of them without their labels' secrets, in [0, 1]. A
 * product of shares, made of + - * / and square roots only, so that every machine computes the same.
 */
import type { Signature } from "../loop/faces.ts";

/** Fourth root of the ratio of two sizes: 10 times as many rows are .56 alike, 100 times .32. */
function sizes(a: number, b: number): number {
  const [low, high] = [Math.min(a, b) + 1, Math.max(a, b) + 1];
  return Math.sqrt(Math.sqrt(low / high));
}

/** What is left of full likeness where a part of it fails wholly. */
const partly = (least: number, alike: number): number => least + (1 - least) * alike;
const shares = (a: number, b: number): number => 1 - Math.abs(a - b);
const same = (a: boolean, b: boolean): number => (a === b ? 1 : 0);

/** Failures beyond this strength are equally sure. */
const STRENGTH_MAX = 6;

/** Common strength of the failures over all of it; 1 where neither has any. */
function failures(a: Signature["failures"], b: Signature["failures"]): number {
  const strength = (list: Signature["failures"], kind: string) =>
    Math.min(STRENGTH_MAX, list.find((f) => f.kind === kind)?.strength ?? 0);
  let [common, all] = [0, 0];
  for (const kind of new Set([...a, ...b].map((f) => f.kind))) {
    const [x, y] = [strength(a, kind), strength(b, kind)];
    common += Math.min(x, y);
    all += Math.max(x, y);
  }
  return all === 0 ? 1 : common / all;
}

/** 0 where scores cannot be compared: other domain or metric. */
export function likeness(a: Signature, b: Signature): number {
  const [x, y] = [a.facts, b.facts];
  if (x.domain !== y.domain || a.metric !== b.metric) return 0;
  return (
    partly(0.4, sizes(x.rows, y.rows)) *
    partly(0.6, sizes(x.features, y.features)) *
    partly(0.6, sizes(x.classes, y.classes)) *
    partly(0.5, shares(x.minority, y.minority)) *
    partly(0.5, same(x.contexts > 0, y.contexts > 0)) *
    partly(0.5, same(x.has_pipeline, y.has_pipeline)) *
    partly(0.6, shares(x.missing_share, y.missing_share)) *
    partly(0.6, shares(x.categorical_share, y.categorical_share)) *
    partly(0.3, failures(a.failures, b.failures))
  );
}
