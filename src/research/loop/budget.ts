/**
 * What a run may still spend: trials, CPU seconds or wall clock. Of time it learns what trials,
 * gate reads and final fits cost beyond the trials' own figures, and keeps back what the end of
 * the run needs, so that the whole run ends within 5% of its budget.
 */
import { MagnetError } from "../../core/errors.ts";
import type { Spent } from "./faces.ts";
import { LOOP_LIMITS } from "./limits.ts";

/** Whichever ends first; at least one. */
export interface BudgetLimits {
  readonly trials?: number | undefined;
  readonly cpu_s?: number | undefined;
  readonly wall_s?: number | undefined;
}

type TimeKind = "cpu_s" | "wall_s";

export class Budget {
  readonly limits: BudgetLimits;
  #spent: Spent = { cpu_s: 0, wall_s: 0 };
  #trials = 0;
  /** Sums over the batches: the trials' own CPU seconds, and what they took of each clock. */
  #own = 0;
  #took = { cpu_s: 0, wall_s: 0 };
  #batches = 0;
  #gate: number = LOOP_LIMITS.gate_cost_share;
  #final: number = LOOP_LIMITS.final_cost_share;
  /** Final fits have been measured: gate reads, of fewer rows, say nothing about them any more. */
  #fits = false;
  /** Own CPU seconds of trials that were vouched for, and what that took of each clock. */
  #vouched = { own_s: 0, cpu_s: 0, wall_s: 0 };
  /** CPU seconds of the last error analysis. */
  analysis_s = 0;

  constructor(limits: BudgetLimits) {
    const { trials, cpu_s, wall_s } = limits;
    const given = [trials, cpu_s, wall_s].filter((limit) => limit !== undefined);
    if (given.length === 0 || given.some((limit) => !(limit > 0)))
      throw new MagnetError("BAD_BUDGET", "a run needs a budget above zero", {
        hint: 'give one of {"trials": 200}, {"cpu_s": 60} or {"wall_s": 60}',
        exit: "config",
      });
    this.limits = { trials, cpu_s, wall_s };
  }

  get spent(): Spent {
    return this.#spent;
  }
  get timed(): boolean {
    return this.limits.cpu_s !== undefined || this.limits.wall_s !== undefined;
  }
  /** Trials alone are counted, and they are many: what one costs is then no reason against it. */
  get counted(): boolean {
    return !this.timed && (this.limits.trials ?? 0) >= LOOP_LIMITS.counted_trials_min;
  }

  /** Before the first batch: what opening the task has taken. */
  begin(spent: Spent): void {
    this.#spent = spent;
  }

  /**
   * After a batch: how many trials, their own CPU seconds, and the run's clocks. Null: one of them
   * failed, and nobody says what it took.
   */
  batchDone(trials: number, own_s: number | null, spent: Spent): void {
    this.#trials += trials;
    const before = this.#spent;
    this.#spent = spent;
    if (own_s === null) return;
    // Workers start in the first batch; what it took says nothing about the next ones.
    if (this.#batches++ === 1) [this.#own, this.#took] = [0, { cpu_s: 0, wall_s: 0 }];
    this.#own += own_s;
    this.#took.cpu_s += Math.max(0, spent.cpu_s - before.cpu_s);
    this.#took.wall_s += Math.max(0, spent.wall_s - before.wall_s);
  }

  /** After a gate read of two candidates whose trials cost `own_s` together. */
  gateDone(own_s: number, spent: Spent): void {
    const took = spent.cpu_s - this.#spent.cpu_s;
    if (own_s > 0 && took > 0) {
      this.#gate = took / own_s;
      if (!this.#fits) this.#final = this.#gate * LOOP_LIMITS.final_over_gate;
    }
    this.#spent = spent;
  }

  /** After the final fit of a model whose trial costs `own_s`. */
  fitDone(own_s: number, spent: Spent): void {
    const took = spent.cpu_s - this.#spent.cpu_s;
    if (own_s > 0 && took > 0) [this.#final, this.#fits] = [took / own_s, true];
    this.#spent = spent;
  }

  analysisDone(spent: Spent): void {
    this.analysis_s = spent.cpu_s - this.#spent.cpu_s;
    this.#spent = spent;
  }

  /** After what other machines said of trials of `own_s` CPU seconds was computed again here. */
  vouchDone(own_s: number, spent: Spent): void {
    this.#vouched.own_s += own_s;
    for (const kind of ["cpu_s", "wall_s"] as const)
      this.#vouched[kind] += Math.max(0, spent[kind] - this.#spent[kind]);
    this.#spent = spent;
  }

  /** Seconds of a clock that vouching for trials of `own_s` takes: none without other machines. */
  #again(kind: TimeKind, own_s: number): number {
    const { own_s: own } = this.#vouched;
    return own > 0 ? (own_s * this.#vouched[kind]) / own : 0;
  }

  /** Seconds of a clock that CPU seconds in this process take. */
  #alone(kind: TimeKind, own_s: number): number {
    return kind === "cpu_s" ? own_s : own_s * 1.05;
  }

  /** Seconds of a clock that trials of `own_s` CPU seconds together take. */
  #together(kind: TimeKind, own_s: number): number {
    return this.#own > 0 ? (own_s * this.#took[kind]) / this.#own : own_s;
  }

  /** Trials that fit before the end: all of `costs` (own CPU seconds) from the front. */
  fitting(costs: readonly number[], reserve: Reserve): number {
    let fit = Math.min(costs.length, this.#trialsLeft() - reserve.trials);
    for (const kind of ["cpu_s", "wall_s"] as const) {
      let left = this.#left(kind, reserve);
      let n = 0;
      const over_max = (this.limits[kind] ?? 0) * LOOP_LIMITS.budget_over;
      for (; n < fit; n++) {
        const cost = this.#together(kind, costs[n]!);
        // A trial that would end nearer to the budget than its absence does still fits.
        if (cost - left > Math.min(cost / 2, over_max)) break;
        left -= cost;
      }
      fit = n;
    }
    return Math.max(0, fit);
  }

  #trialsLeft(): number {
    return (this.limits.trials ?? Infinity) - this.#trials;
  }

  #left(kind: TimeKind, reserve: Reserve): number {
    const limit = this.limits[kind];
    if (limit === undefined) return Infinity;
    const end = this.#alone(kind, reserve.fit_s * this.#final + reserve.gate_s * this.#gate);
    const spare = reserve.unlikely ? limit * LOOP_LIMITS.budget_spare : 0;
    const confirm =
      this.#together(kind, reserve.confirm_s) + this.#again(kind, reserve.vouch_s ?? 0);
    return limit - this.#spent[kind] - confirm - Math.max(0, end - spare);
  }

  /** Seconds left for trials on the tightest clock, as CPU seconds of their own. */
  left_s(reserve: Reserve): number {
    const kinds = ["cpu_s", "wall_s"] as const;
    const lefts = kinds.map((kind) => this.#left(kind, reserve) / (this.#together(kind, 1) || 1));
    return Math.max(0, Math.min(...lefts));
  }

  /** Trials of typical cost that are left. */
  trialsAhead(cost_s: number, reserve: Reserve): number {
    const byTime = this.left_s(reserve) / Math.max(1e-9, cost_s);
    return Math.max(0, Math.min(this.#trialsLeft() - reserve.trials, byTime));
  }

  /** CPU seconds that trials may take until what must come after them is in danger. */
  #headroom_s(reserve: Reserve): number {
    const must = { ...reserve, confirm_s: 0, gate_s: reserve.unlikely ? reserve.gate_s : 0 };
    const headrooms = (["cpu_s", "wall_s"] as const).map((kind) => {
      const slack = (this.limits[kind] ?? 0) * LOOP_LIMITS.budget_slack;
      // The last of a batch runs alone, so that of the wall clock no part is shared.
      const each = kind === "cpu_s" ? Math.max(1, this.#together(kind, 1)) : 1;
      return (this.#left(kind, must) + slack) / each;
    });
    return Math.min(...headrooms);
  }

  /** How many of the trials, from the front, may run at once: few where each could take the rest. */
  together(costs: readonly number[], reserve: Reserve): number {
    if (!this.timed) return costs.length;
    const room = this.#headroom_s(reserve) / LOOP_LIMITS.batch_headroom;
    let [n, sum, most] = [0, 0, 0];
    while (n < costs.length) {
      sum += costs[n]!;
      most = Math.max(most, costs[n]!);
      if (n > 0 && Math.max(sum, (most * (n + 1)) / 2) > room) break;
      n++;
    }
    return n;
  }

  /** CPU limit of each trial of a batch; null while neither costs nor clock say anything. */
  trialLimit_s(typical_s: number, batch: number, reserve: Reserve): number | null {
    const usual = Math.max(LOOP_LIMITS.timeout_min_s, typical_s * LOOP_LIMITS.timeout_factor);
    if (!this.timed) return typical_s > 0 ? usual : null;
    const limits = [this.limits.cpu_s ?? Infinity, this.limits.wall_s ?? Infinity];
    const least = Math.min(...limits) * LOOP_LIMITS.budget_slack;
    return Math.max(least, Math.min(usual, this.#headroom_s(reserve) / Math.max(1, batch)));
  }
}

/** What must be left over when exploring stops; costs are those of trials of the same models. */
export interface Reserve {
  /** Trials of the confirmation. */
  readonly trials: number;
  readonly confirm_s: number;
  /** Of trials that are vouched for before a decision rests on them. */
  readonly vouch_s?: number;
  /** Of the two models of a gate read that is still to come. */
  readonly gate_s: number;
  /** Of the models that are still to be fitted at the end. */
  readonly fit_s: number;
  /** Gate and fits come only where the choice changes: part of them may go beyond the budget. */
  readonly unlikely?: boolean;
}
