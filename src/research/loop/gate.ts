/**
 * The gate: Thresholdout (Dwork et al. 2015, "The reusable holdout") over one difference per
 * query. While search and gate parts agree within a noisy threshold it answers with the search
 * part's own difference and so tells nothing about its rows; where they do not, it answers with
 * the gate's difference and noise. It answers a fixed number of queries in a run; one whose run was
 * undone afterwards was answered all the same, and neither its number nor its noise comes again.
 */
import { invariant } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import type { PairedDifference } from "../types.ts";
import { LOOP_LIMITS } from "./limits.ts";

export interface GateAnswer {
  readonly answer: number;
  readonly overfit: boolean;
}

export class Gate {
  readonly #random: Random;
  readonly #budget: number;
  readonly #lost: ReadonlySet<number>;
  #used = 0;

  /** `lost`: numbers of queries that an earlier life of the run asked and undid. */
  constructor(random: Random, options: { budget?: number; lost?: readonly number[] } = {}) {
    this.#random = random;
    this.#budget = options.budget ?? LOOP_LIMITS.gate_queries;
    this.#lost = new Set(options.lost);
  }

  get left(): number {
    const ahead = [...this.#lost].filter((query) => query >= this.#used).length;
    return Math.max(0, this.#budget - this.#used - ahead);
  }

  /** Call only while `left` is above 0, before the gate part is read. Returns the query's number. */
  open(): number {
    invariant(this.left > 0, "the gate's query budget is used up");
    for (; this.#lost.has(this.#used); this.#used++) this.#draw();
    return this.#used++;
  }

  /**
   * What is let out of one reading. The gate part is the smaller one: where its rows happen to be
   * decided alike its own standard error is zero, and the search part's is nearer to the truth.
   */
  answer(search: PairedDifference, gate: PairedDifference): GateAnswer {
    const error = Math.max(gate.standard_error, search.standard_error);
    const threshold = LOOP_LIMITS.gate_threshold_errors * error;
    const scale = LOOP_LIMITS.gate_noise_part * threshold;
    const { blur, noise } = this.#draw();
    const overfit = Math.abs(search.difference - gate.difference) > threshold + 2 * scale * blur;
    return { answer: overfit ? gate.difference + scale * noise : search.difference, overfit };
  }

  /** Both are drawn each time, so that one answer does not shift the next one's noise. */
  #draw(): { blur: number; noise: number } {
    return { blur: laplace(this.#random), noise: laplace(this.#random) };
  }
}

/** Laplace noise of scale 1. */
function laplace(random: Random): number {
  const u = random.next() - 0.5;
  return -Math.sign(u) * Math.log(Math.max(1e-300, 1 - 2 * Math.abs(u)));
}
