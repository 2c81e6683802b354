/**
 * The search of one strategy's sweep: first guesses, settings that the knowledge base remembers,
 * the optimiser's proposals, now and then a uniform one, and at most 30% of a teacher's. With
 * several fidelities proposals climb by successive halving. Told outcomes in the batch's order it
 * is a function of its options and of the outcomes alone.
 */
import { canonicalJson } from "../../core/bytes.ts";
import type { Random } from "../../core/random.ts";
import type { Configuration, Json, Space, Sweep, Trial, TrialPlace } from "../types.ts";
import { Halving } from "./halving.ts";
import { SEARCH_LIMITS } from "./limits.ts";
import {
  type Axis,
  applySettings,
  axesOf,
  type Point,
  pointOf,
  readPath,
  type Settings,
  samplePoint,
  settingsOf,
} from "./space.ts";
import { type Observation, type PriorPoint, proposePoint } from "./tpe.ts";

export interface SweepProposal {
  readonly configuration: Configuration;
  readonly fidelity: number;
  readonly proposer: TrialPlace["proposer"];
}

export interface SweepSearchOptions {
  readonly sweep: Sweep;
  readonly fidelities: readonly number[];
  /** Settings remembered from other tasks, likeliest first. */
  readonly remembered: readonly Settings[];
  /** Earlier trials of the same strategy in this run: their gain over the model of their time. */
  readonly earlier: readonly { readonly configuration: Configuration; readonly gain: number }[];
  /** A teacher's configurations, checked. */
  readonly taught: readonly Configuration[];
  /** Largest part of the proposals that may be a teacher's. */
  readonly taught_share: number;
  /** Checks and completes; null where the domain refuses it. */
  readonly parse: (configuration: unknown) => Configuration | null;
  /** Whether the run has tried this configuration already. */
  readonly tried: (configuration: Configuration) => boolean;
  /** The run's done trials, for sweeps with proposals of their own. */
  readonly trials: () => readonly Trial[];
  readonly random: Random;
}

interface Item {
  readonly configuration: Configuration;
  readonly point: Point;
  readonly proposer: TrialPlace["proposer"];
}

export class SweepSearch {
  readonly #options: SweepSearchOptions;
  readonly #axes: Axis[];
  readonly #halving: Halving<Item>;
  readonly #first: { configuration: unknown; proposer: TrialPlace["proposer"] }[];
  readonly #taught: Configuration[];
  readonly #priors: PriorPoint[];
  readonly #seen = new Set<string>();
  readonly #pending = new Map<string, Item>();
  readonly #observed = new Map<number, Observation[]>();
  /** Proposals refused by the domain: a sweep's space may hold combinations that make no sense. */
  refused = 0;
  issued = 0;
  #taughtIssued = 0;
  #drawn = 0;

  constructor(options: SweepSearchOptions) {
    this.#options = options;
    const { sweep } = options;
    this.#axes = axesOf(sweep.space);
    this.#halving = new Halving(options.fidelities);
    this.#taught = [...options.taught];
    const remembered = options.remembered.filter((settings) => fits(settings, sweep.space));
    this.#first = [
      ...[...sweep.first, sweep.base].map((configuration) => ({
        configuration,
        proposer: "optimizer" as const,
      })),
      ...remembered.slice(0, SEARCH_LIMITS.prior_first_max).map((settings) => ({
        configuration: applySettings(sweep.base, settings),
        proposer: "knowledge" as const,
      })),
    ];
    this.#priors = remembered.flatMap((settings) => {
      const point = this.#pointOf((path) => settings[path]);
      return point ? [{ point, weight: SEARCH_LIMITS.prior_weight }] : [];
    });
    // Whoever made the sweep put its base where it is for a reason.
    const start = this.#pointOf((path) => readPath(sweep.base, path));
    if (start) this.#priors.push({ point: start, weight: SEARCH_LIMITS.base_weight });
    const history = options.earlier.flatMap((e) => {
      const point = this.#pointOf((path) => readPath(e.configuration, path));
      return point ? [{ point, score: e.gain }] : [];
    });
    this.#observed.set(1, history);
  }

  /** What a configuration holds on this sweep's axes. */
  settingsOf(configuration: Configuration): Settings {
    const held = this.#axes.map((axis) => [axis.path, readPath(configuration, axis.path)] as const);
    return Object.fromEntries(
      held.filter((entry): entry is [string, Json] => entry[1] !== undefined),
    );
  }

  /** One more proposal; null when the sweep has nothing new to try. */
  next(): SweepProposal | null {
    const lifted = this.#halving.promote();
    if (lifted) return this.#issue(lifted.item, lifted.fidelity);
    if (this.issued >= this.#options.sweep.trials_max) return null;
    const taught = this.#nextTaught();
    if (taught) return taught;
    for (let first = this.#first.shift(); first; first = this.#first.shift()) {
      const item = this.#accept(first.configuration, first.proposer);
      if (item) return this.#issue(item, this.#halving.lowest);
    }
    return this.#search();
  }

  /** Lifts the best to full fidelity when a sweep must end before its halving did. */
  finish(): SweepProposal | null {
    const lifted = this.#halving.finish();
    return lifted && this.#issue(lifted.item, lifted.fidelity);
  }

  /** The outcome of an issued proposal, null when it failed; gains compare within the sweep. */
  tell(configuration: Configuration, fidelity: number, gain: number | null): void {
    const key = canonicalJson(configuration);
    const item = this.#pending.get(key);
    if (!item) return;
    this.#pending.delete(key);
    const worst = Math.min(0, ...[...this.#observed.values()].flat().map((o) => o.score));
    // A failure is as bad as the worst seen: the optimiser keeps away from its surroundings.
    const observation = { point: item.point, score: gain ?? worst };
    const rung = this.#observed.get(fidelity);
    if (rung) rung.push(observation);
    else this.#observed.set(fidelity, [observation]);
    if (gain !== null) this.#halving.tell(item, fidelity, gain);
  }

  #issue(item: Item, fidelity: number): SweepProposal {
    this.issued++;
    this.#pending.set(canonicalJson(item.configuration), item);
    return { configuration: item.configuration, fidelity, proposer: item.proposer };
  }

  #nextTaught(): SweepProposal | null {
    while (
      this.#taught.length > 0 &&
      this.#taughtIssued + 1 <= this.#options.taught_share * (this.issued + 1)
    ) {
      const item = this.#accept(this.#taught.shift(), "teacher");
      if (!item) continue;
      this.#taughtIssued++;
      return this.#issue(item, this.#halving.lowest);
    }
    return null;
  }

  #search(): SweepProposal | null {
    const { random, sweep } = this.#options;
    if (sweep.propose) return this.#own(sweep.propose);
    if (this.#axes.length === 0) return null;
    for (let draw = 0; draw < SEARCH_LIMITS.duplicate_draws; draw++) {
      const observations = this.#best();
      const informed = observations.length + this.#priors.length;
      const uniform =
        informed < SEARCH_LIMITS.startup_trials ||
        ++this.#drawn % SEARCH_LIMITS.uniform_every === 0;
      const pending = [...this.#pending.values()].map((item) => item.point);
      const point = uniform
        ? samplePoint(this.#axes, random)
        : proposePoint(this.#axes, observations, pending, this.#priors, random);
      const configuration = applySettings(sweep.base, settingsOf(this.#axes, point));
      const item = this.#accept(configuration, uniform ? "random" : "optimizer", point);
      if (item) return this.#issue(item, this.#halving.lowest);
    }
    return null;
  }

  #own(propose: NonNullable<Sweep["propose"]>): SweepProposal | null {
    const trials = this.#options.trials();
    for (let draw = 0; draw < SEARCH_LIMITS.duplicate_draws; draw++) {
      const item = this.#accept(propose(trials, this.#options.random), "optimizer");
      if (item) return this.#issue(item, this.#halving.lowest);
    }
    return null;
  }

  /** Observations of the highest fidelity that has enough to go by. */
  #best(): Observation[] {
    const rungs = [...this.#observed.entries()].sort((a, b) => b[0] - a[0]);
    const enough = rungs.find(([, seen]) => seen.length >= SEARCH_LIMITS.startup_trials);
    return (
      enough?.[1] ??
      rungs.reduce<Observation[]>((most, [, seen]) => (seen.length > most.length ? seen : most), [])
    );
  }

  /** The checked configuration if it is new, null otherwise. */
  #accept(raw: unknown, proposer: Item["proposer"], at?: Point): Item | null {
    const configuration = this.#options.parse(raw);
    if (!configuration) {
      this.refused++;
      return null;
    }
    const key = canonicalJson(configuration);
    if (this.#seen.has(key) || this.#options.tried(configuration)) return null;
    this.#seen.add(key);
    const point = at ?? this.#pointOf((path) => readPath(configuration, path));
    return { configuration, proposer, point: point ?? this.#middle() };
  }

  #pointOf(read: Parameters<typeof pointOf>[1]): number[] | null {
    return pointOf(this.#axes, read, (axis) => this.#middle()[axis]!);
  }

  #middle(): number[] {
    return this.#axes.map((axis) => (axis.options > 0 ? 0 : 0.5));
  }
}

/**
 * Whether settings are of a sweep over the same axes. With others "members.0.params.trees" may be
 * another learner's: what was best for boosting is no advice for a forest.
 */
const fits = (settings: Settings, space: Space): boolean => {
  const paths = Object.keys(settings);
  const all = paths.length > 0 && paths.length === Object.keys(space).length;
  return all && paths.every((path) => Object.hasOwn(space, path));
};
