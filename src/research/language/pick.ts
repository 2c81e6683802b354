/**
 * A research run of seconds: the baseline, what is wrong with it, what the strategies would try, each
 * on a quarter of the text; then the best few on all of it against the baseline. The baseline stays
 * unless another configuration is better beyond doubt. For those who need a good configuration soon
 * and will not wait for noise floor, gate and sealed part.
 */
import { canonicalJson } from "../../core/bytes.ts";
import type { Proposal, TrialRunner } from "../loop/faces.ts";
import type { Configuration, Failure, PairedDifference, Trial } from "../types.ts";
import type { LanguageDomain } from "./domain.ts";

/** Effort of the first look, as in the domain's rungs. */
const FIRST_LOOK = 0.25;
/** Configurations looked at, and those that go on with the baseline. */
const CANDIDATES_MAX = 9;
const FINALISTS = 3;
const SEED = 1;

export interface PickOptions {
  readonly domain: LanguageDomain;
  readonly runner: TrialRunner;
  /** What may be chosen: the same, something near it, or null where neither is possible. */
  readonly usable: (configuration: Configuration) => Configuration | null;
  readonly signal?: AbortSignal;
}

/** One configuration that was tried, by what differs from the baseline. */
export interface Tried {
  readonly change: string;
  readonly strategy: string;
  /** Bits per byte after a quarter of the text, and after all of it; null where it did not run. */
  readonly first_look: number | null;
  readonly full: number | null;
}

export interface Picked {
  readonly configuration: Configuration;
  /** Empty: the baseline. */
  readonly change: string;
  readonly failures: readonly Failure[];
  readonly tried: readonly Tried[];
  /** Of the best finalist to the baseline, in bits per byte less. */
  readonly difference: PairedDifference | null;
  /** One sentence with the figures. */
  readonly reason: string;
  readonly trials: number;
}

interface Candidate {
  readonly strategy: string;
  readonly configuration: Configuration;
}

/** "lr 0.006, batch 4" */
function changeOf(base: Configuration, other: Configuration): string {
  const keys = Object.keys(other).filter(
    (key) => canonicalJson(base[key]) !== canonicalJson(other[key]),
  );
  return keys
    .map((key) => {
      const value = other[key];
      if (typeof value === "number") return `${key} ${Number(value.toPrecision(3))}`;
      return `${key} ${typeof value === "string" ? value : JSON.stringify(value)}`;
    })
    .join(", ");
}

/** First guesses of all strategies, those aimed at what was found first. */
function candidatesOf(
  { domain, usable }: PickOptions,
  best: Trial,
  failures: readonly Failure[],
): Candidate[] {
  const strength = new Map(failures.map(({ kind }, i) => [kind, failures.length - i]));
  const worth = ({ targets }: { targets: readonly Failure["kind"][] }) =>
    Math.max(0, ...targets.map((kind) => strength.get(kind) ?? 0));
  const ordered = domain.strategies
    .map((strategy, i) => ({ strategy, i }))
    .sort((a, b) => worth(b.strategy) - worth(a.strategy) || a.i - b.i);
  const lists = ordered.map(({ strategy }) => {
    const sweep = strategy.sweep({ best, trials: [best], failures });
    return (sweep?.first ?? []).flatMap((first) => {
      const near = usable(first);
      return near ? [{ strategy: strategy.id, configuration: domain.parse(near) }] : [];
    });
  });
  const seen = new Set([canonicalJson(best.spec.configuration)]);
  const found: Candidate[] = [];
  // In turn, so that every strategy is heard before one is heard twice.
  for (let turn = 0; turn < Math.max(...lists.map((list) => list.length)); turn++)
    for (const list of lists) {
      const candidate = list[turn];
      if (!candidate) continue;
      const key = canonicalJson(candidate.configuration);
      if (seen.has(key)) continue;
      seen.add(key);
      found.push(candidate);
    }
  return found.slice(0, CANDIDATES_MAX);
}

function proposalOf(domain: LanguageDomain, candidate: Candidate, fidelity: number): Proposal {
  const { strategy, configuration } = candidate;
  const spec = { task_hash: domain.task_hash, configuration, seed: SEED, fidelity };
  const proposer = strategy === "baseline" ? "baseline" : "optimizer";
  return { place: { version: strategy === "baseline" ? 0 : 1, strategy, proposer }, spec };
}

const bitsOf = (trial: Trial | undefined) => (trial?.outcome ? -trial.outcome.score : null);
const scoreOf = (trial: Trial) => trial.outcome?.score ?? Number.NEGATIVE_INFINITY;

function reasonOf(change: string, difference: PairedDifference | null, before: number): string {
  if (difference === null) return "nothing else could be tried: the baseline stays";
  const percent = (bits: number) => `${((100 * bits) / before).toFixed(1)}%`;
  const figures =
    `${percent(difference.difference)} fewer bits per byte ` +
    `(95%: ${percent(difference.low)} to ${percent(difference.high)})`;
  return difference.low > 0
    ? `${change} takes ${figures} than the baseline at equal cost`
    : `the best other, ${change}, takes ${figures}: no sure gain, the baseline stays`;
}

/** Runs it. Throws the signal's reason; a baseline that cannot be trained stays all the same. */
export async function pickConfiguration(options: PickOptions): Promise<Picked> {
  const { domain, runner, signal } = options;
  const limits = { cpu_limit_s: null, ...(signal ? { signal } : {}) };
  const base = { strategy: "baseline", configuration: domain.baseline() };
  const [baseline] = await runner.run([proposalOf(domain, base, FIRST_LOOK)], limits);
  const failures = baseline!.outcome ? await domain.analyse(baseline!) : [];
  const candidates = baseline!.outcome ? candidatesOf(options, baseline!, failures) : [];
  const looks = await runner.run(
    candidates.map((candidate) => proposalOf(domain, candidate, FIRST_LOOK)),
    limits,
  );
  const order = [...candidates.keys()].sort((a, b) => scoreOf(looks[b]!) - scoreOf(looks[a]!));
  const finalists = order.filter((i) => looks[i]!.outcome !== null).slice(0, FINALISTS);
  const finals = await runner.run(
    [base, ...finalists.map((i) => candidates[i]!)].map((c) => proposalOf(domain, c, 1)),
    limits,
  );
  const [reference, ...others] = finals;
  const best = others.toSorted((a, b) => scoreOf(b) - scoreOf(a))[0];
  const comparable = reference?.outcome && best?.outcome;
  const difference = comparable ? domain.compare(reference.outcome!, best.outcome!, SEED) : null;
  const change = comparable ? changeOf(base.configuration, best.spec.configuration) : "";
  const taken = difference !== null && difference.low > 0;
  const tried = candidates.map(({ strategy, configuration }, i) => ({
    ...{ change: changeOf(base.configuration, configuration), strategy },
    first_look: bitsOf(looks[i]),
    full: bitsOf(others[finalists.indexOf(i)]),
  }));
  const of_base = { change: "", strategy: "baseline" };
  return {
    configuration: taken ? best!.spec.configuration : base.configuration,
    change: taken ? change : "",
    failures,
    tried: [{ ...of_base, first_look: bitsOf(baseline), full: bitsOf(reference) }, ...tried],
    difference,
    reason: reasonOf(change, difference, bitsOf(reference) ?? 1),
    trials: 1 + looks.length + finals.length,
  };
}
