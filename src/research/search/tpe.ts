/**
 * The classical optimiser in control of a sweep: a multivariate tree-structured Parzen estimator
 * (Bergstra et al. 2011; multivariate as in Falkner et al. 2018). Points are split in good and
 * others; candidates are drawn from a mixture around the good ones and the one with the best ratio
 * of the two densities is proposed. Pending points count as "others", so that a batch spreads.
 *
 * Kernels are Student t with 2 degrees of freedom, truncated to [0, 1]: density, distribution and
 * quantile need only + - * / sqrt (bit-equal on every machine), and their tails keep exploring.
 */
import type { Random } from "../../core/random.ts";
import { SEARCH_LIMITS } from "./limits.ts";
import { type Axis, type Point, samplePoint } from "./space.ts";

export interface Observation {
  readonly point: Point;
  /** Higher is better. */
  readonly score: number;
}

/** A point believed to be good before any trial here: of the knowledge base. */
export interface PriorPoint {
  readonly point: Point;
  /** In trials' worth of belief. */
  readonly weight: number;
}

interface Mixture {
  readonly centres: readonly Point[];
  readonly weights: readonly number[];
  /** Kernel width by axis; of choices the probability to leave the centre's option. */
  readonly widths: readonly number[];
  /** Weight of the uniform component. */
  readonly uniform: number;
  readonly total: number;
}

/** The next point to try, from what was observed and what is still running. */
export function proposePoint(
  axes: readonly Axis[],
  observations: readonly Observation[],
  pending: readonly Point[],
  priors: readonly PriorPoint[],
  random: Random,
): number[] {
  const [good, others] = split(observations);
  const { prior_fade } = SEARCH_LIMITS;
  const fade = prior_fade / (prior_fade + observations.length);
  const near = mixture(
    axes,
    [...good.map((o) => o.point), ...priors.map((p) => p.point)],
    [...good.map((_, i) => rankWeight(i, good.length)), ...priors.map((p) => p.weight * fade)],
  );
  const far = mixture(
    axes,
    [...others.map((o) => o.point), ...pending],
    [...others, ...pending].map(() => 1),
  );
  let best: number[] = [];
  let bestRatio = -1;
  // With little observed the ratio only leads back to what is known.
  const draws = Math.min(SEARCH_LIMITS.tpe_candidates, 4 + observations.length);
  for (let i = 0; i < draws; i++) {
    const point = drawPoint(axes, near, random);
    const ratio = density(axes, near, point) / density(axes, far, point);
    if (ratio > bestRatio) [best, bestRatio] = [point, ratio];
  }
  return best;
}

/** Best first into good; ties by age, so that the split does not depend on a sort's whims. */
function split(observations: readonly Observation[]): [Observation[], Observation[]] {
  const order = observations
    .map((observation, i) => ({ observation, i }))
    .sort((a, b) => b.observation.score - a.observation.score || a.i - b.i)
    .map((entry) => entry.observation);
  const count = Math.min(
    SEARCH_LIMITS.tpe_good_max,
    Math.max(Math.min(2, order.length), Math.ceil(order.length * SEARCH_LIMITS.tpe_good_share)),
  );
  return [order.slice(0, count), order.slice(count)];
}

/** The best counts for more: 1 falling to about a half. */
const rankWeight = (rank: number, count: number) => 1 - (0.5 * rank) / Math.max(1, count);

function mixture(axes: readonly Axis[], centres: Point[], weights: number[]): Mixture {
  const n = centres.length;
  // Scott's rule in d dimensions, by repeated square roots: n^(-1/4) is near enough for 2..8 axes.
  const shrink = 1 / Math.sqrt(Math.sqrt(Math.max(1, n)));
  const widths = axes.map((axis, i) => {
    if (axis.options > 0) return shrink * SEARCH_LIMITS.tpe_choice_leave;
    const spread = deviation(centres.map((c) => c[i]!));
    return Math.min(
      SEARCH_LIMITS.tpe_width_max,
      Math.max(
        SEARCH_LIMITS.tpe_width_min,
        spread * shrink,
        SEARCH_LIMITS.tpe_width_first / (n + 1),
      ),
    );
  });
  const uniform = SEARCH_LIMITS.tpe_uniform_weight;
  return { centres, weights, widths, uniform, total: uniform + sum(weights) };
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

function deviation(values: readonly number[]): number {
  const mean = sum(values) / Math.max(1, values.length);
  return Math.sqrt(sum(values.map((v) => (v - mean) * (v - mean))) / Math.max(1, values.length));
}

/** Distribution function of Student's t with 2 degrees of freedom. */
const cumulative = (x: number) => 0.5 + x / (2 * Math.sqrt(2 + x * x));
const kernel = (x: number) => 1 / ((2 + x * x) * Math.sqrt(2 + x * x));
function quantile(p: number): number {
  const q = 2 * p - 1;
  return q * Math.sqrt(2 / Math.max(1e-12, 1 - q * q));
}

function density(axes: readonly Axis[], mix: Mixture, point: Point): number {
  let total = mix.uniform;
  for (const axis of axes) if (axis.options > 0) total /= axis.options;
  for (const [k, centre] of mix.centres.entries()) {
    let product = mix.weights[k]!;
    for (let i = 0; i < axes.length; i++) {
      const width = mix.widths[i]!;
      const [x, c, options] = [point[i]!, centre[i]!, axes[i]!.options];
      if (options > 0) product *= (x === c ? 1 - width : 0) + width / options;
      else {
        const mass = cumulative((1 - c) / width) - cumulative(-c / width);
        product *= kernel((x - c) / width) / (width * mass);
      }
    }
    total += product;
  }
  return total / mix.total;
}

function drawPoint(axes: readonly Axis[], mix: Mixture, random: Random): number[] {
  let at = random.next() * mix.total;
  const k = mix.weights.findIndex((weight) => {
    at -= weight;
    return at < 0;
  });
  if (k < 0) return samplePoint(axes, random);
  return axes.map((axis, i) => {
    const [centre, width] = [mix.centres[k]![i]!, mix.widths[i]!];
    if (axis.options > 0) return random.next() < width ? random.below(axis.options) : centre;
    const low = cumulative(-centre / width);
    const high = cumulative((1 - centre) / width);
    const x = centre + width * quantile(low + random.next() * (high - low));
    return Math.min(1, Math.max(0, x));
  });
}
