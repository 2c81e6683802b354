/**
 * Each failure of a language model planted by itself, and its clean twin: the analysis finds the one
 * and is silent on the other.
 */
import { describe, expect, test } from "bun:test";
import type { Configuration, FailureKind } from "../../../src/research/types.ts";
import { corpusFor, type DomainSpec, failuresOf, openDomain, type TaskSettings } from "./texts.ts";

interface Case {
  readonly kind: FailureKind;
  readonly what: string;
  readonly texts?: readonly DomainSpec[];
  readonly task?: TaskSettings;
  readonly planted: Configuration;
  /** The twin differs in the flaw alone. */
  readonly clean: Configuration;
  readonly clean_texts?: readonly DomainSpec[];
  /** A strategy that is aimed at it. */
  readonly strategy: string;
}

const TWO: readonly DomainSpec[] = [
  { name: "a", documents: 60 },
  { name: "b", documents: 60 },
];
const MANY = { name: "a", successors: 30 };
const TINY = { d_model: 16, head_dim: 8, n_layers: 1, ffn: 1, batch: 8, optimizer: "adamw" };

const CASES: readonly Case[] = [
  {
    ...{ kind: "unstable_training", what: "a learning rate that blows up" },
    ...{ planted: { lr: 1 }, clean: {}, strategy: "stabilise" },
  },
  {
    ...{ kind: "unstable_training", what: "a learning rate that makes it jump" },
    ...{ planted: { optimizer: "adamw", lr: 0.3 }, clean: {}, strategy: "learning_rate" },
  },
  {
    ...{ kind: "slow_learning", what: "a learning rate far too low" },
    ...{ planted: { lr: 3e-4 }, clean: {}, strategy: "learning_rate" },
  },
  {
    ...{ kind: "domain_gap", what: "one source starved" },
    ...{ planted: { mixture: { a: 1, b: 60 } }, clean: {}, strategy: "mixture" },
  },
  {
    ...{ kind: "short_context", what: "trained on a quarter of the measured context" },
    ...{ planted: { context: 8, batch: 16 }, clean: {}, strategy: "context" },
  },
  {
    ...{ kind: "overfit", what: "a little text read twenty times" },
    texts: [{ ...MANY, documents: 24, length: 400 }],
    clean_texts: [{ ...MANY, documents: 200, length: 1000 }],
    task: { tokens: 60_000 },
    ...{ planted: { d_model: 64, batch: 8 }, clean: { d_model: 64, batch: 8 } },
    strategy: "regularise",
  },
  {
    ...{ kind: "capacity", what: "thirty tokens for each parameter" },
    task: { tokens: 240_000 },
    ...{ planted: TINY, clean: { ...TINY, d_model: 64, lr: 0.004 }, strategy: "grow" },
  },
  {
    ...{ kind: "throughput", what: "an optimizer step for every sequence" },
    task: { equal: "compute" },
    ...{ planted: { batch: 1 }, clean: { batch: 8 }, strategy: "larger_steps" },
  },
];

describe("failures of language models", () => {
  for (const { kind, what, texts = TWO, clean_texts = texts, task, ...one } of CASES)
    test(`${kind}: ${what}, and its clean twin`, async () => {
      const flawed = openDomain(corpusFor(texts), task);
      const { trial, failures } = await failuresOf(flawed, one.planted);
      expect(failures.map((failure) => failure.kind)).toContain(kind);
      const aimed = flawed.strategies.find(({ id }) => id === one.strategy)!;
      expect(aimed.targets).toContain(kind);
      const sweep = aimed.sweep({ best: trial, trials: [trial], failures });
      expect(sweep!.first.length).toBeGreaterThan(0);
      for (const first of sweep!.first) expect(flawed.parse(first)).toEqual(first);

      const twin = openDomain(corpusFor(clean_texts), task);
      const clean = await failuresOf(twin, one.clean);
      expect(clean.failures.map((failure) => failure.kind)).not.toContain(kind);
    });
});
