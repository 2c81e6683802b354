/**
 * Error analysis of a language model: where its loss comes from (domain, position, class of token),
 * how training went (curve, gradients, spikes, gap to what it was trained on), and what it spent its
 * time on. Each finding is a failure with its strength (2 and more is reported), what mending it could
 * bring, and the figures. Times measured on a clock decide nothing here.
 */
import type { Failure, FailureKind, Json, Trial } from "../types.ts";
import { bitsPerByte } from "./bootstrap.ts";
import type { LanguageConfiguration } from "./configuration.ts";
import type { Excerpt } from "./excerpts.ts";
import type { LanguageFigures } from "./figures.ts";

/** Weaker findings are noise. */
export const STRENGTH_MIN = 2;
const STRENGTH_MAX = 20;
/** A step this many deviations above the mean before it is a spike; half a thousand steps give 4. */
const SPIKE_MIN = 6;
/** Rise of the loss above its lowest stretch that is more than a stretch of hard text, nats. */
const RISE_MIN = 0.15;
/** Share of all progress that a run makes between 40% and 80% of its steps when it is too slow. */
const LATE_SHARE_MIN = 0.2;
/** A model that gains less than this over the frequencies of tokens has learnt no context. */
const CONTEXT_GAIN_MIN = 0.08;
/** Excess of a domain over the others, as a share; byte models tell difficulty to a tenth only. */
const DOMAIN_EXCESS_MIN = 0.15;
/** Gap between held-out and training text that matters, as a share of the loss. */
const GAP_MIN = 0.03;
/** Loss beyond the trained context over that within it, nats. */
const BEYOND_MIN = 0.02;
/** Tokens for a parameter beyond which a model of this size learns little more. */
const TOKENS_A_PARAMETER = 20;
/** Share of the time that the optimizer may take. */
const OPTIMIZER_SHARE_MIN = 0.2;
/** What a model of twice the size gains, as a share of the loss: exponent 0.076 of scaling laws. */
const DOUBLING_GAIN = 0.05;

export interface AnalysisContext {
  readonly configuration: LanguageConfiguration;
  /** Bits per byte that each domain takes by its nature, see the domain's references. */
  readonly references: readonly number[];
  readonly search: readonly Excerpt[];
  readonly train: readonly Excerpt[];
  readonly equal: "tokens" | "compute";
}

interface Findings extends AnalysisContext {
  readonly figures: LanguageFigures;
  readonly bits: Float32Array;
  readonly loss: number;
  /** Bits per byte of a nat per token. */
  readonly bits_of_a_nat: number;
}

type Detector = (f: Findings) => Failure | null;

function failure(
  kind: FailureKind,
  numbers: { strength: number; potential: number },
  text: string,
  evidence: { readonly [name: string]: Json },
): Failure | null {
  const strength = Math.min(STRENGTH_MAX, numbers.strength);
  if (!(strength >= STRENGTH_MIN)) return null;
  return { kind, strength, potential: Math.max(0, numbers.potential), text, evidence };
}

const mean = (values: readonly number[]) =>
  values.reduce((sum, x) => sum + x, 0) / Math.max(1, values.length);
const percent = (share: number) => `${(100 * share).toFixed(0)}%`;

/** Mean of the curve between two shares of the run. */
function between(losses: readonly number[], from: number, to: number): number {
  const n = losses.length;
  return mean(losses.slice(Math.floor(from * n), Math.max(1, Math.ceil(to * n))));
}

/** How far the loss fell around the middle of the run, before any decay of the rate. */
function progressOf({ figures }: Findings) {
  const { losses, standard_error } = figures.curve;
  const middle = between(losses, 0.4, 0.55);
  const late = between(losses, 0.65, 0.8);
  const fall = middle - late;
  const points = Math.max(1, 0.15 * losses.length);
  const total = (losses[0] ?? 0) - late;
  const error = standard_error * Math.sqrt(2 / points);
  return { fall, share: total > 0 ? fall / total : 0, sure: fall / Math.max(error, 1e-9) };
}

const unstable: Detector = ({ figures, loss, configuration }) => {
  const { diverged_at, curve, steps } = figures;
  if (diverged_at !== null)
    return failure(
      "unstable_training",
      { strength: STRENGTH_MAX, potential: loss / 2 },
      `training blew up at step ${diverged_at} with a learning rate of ${configuration.lr}`,
      { diverged_at, lr: configuration.lr },
    );
  let lowest = Number.POSITIVE_INFINITY;
  let rise = 0;
  for (const value of curve.losses) {
    lowest = Math.min(lowest, value);
    rise = Math.max(rise, value - lowest);
  }
  const by_rise = rise < RISE_MIN ? 0 : rise / Math.max(curve.standard_error, 1e-9) / 5;
  const strength = Math.max((STRENGTH_MIN * curve.spike) / SPIKE_MIN, by_rise);
  return failure(
    "unstable_training",
    { strength, potential: 0.02 * loss },
    `the loss jumps: worst step ${curve.spike.toFixed(1)} deviations above the mean before it, ` +
      `rise ${rise.toFixed(2)} nats; gradient norm up to ` +
      `${(figures.gradient.largest / Math.max(figures.gradient.median, 1e-9)).toFixed(0)}x its median`,
    { spike: curve.spike, rise, steps, lr: configuration.lr },
  );
};

const slow: Detector = (f) => {
  const { figures, loss, configuration } = f;
  if (figures.diverged_at !== null) return null;
  const gain = 1 - loss / figures.unigram;
  const { fall, share, sure } = progressOf(f);
  const stuck = gain < CONTEXT_GAIN_MIN;
  const by_share = sure > 3 ? (STRENGTH_MIN * share) / LATE_SHARE_MIN : 0;
  const by_gain = stuck ? STRENGTH_MIN + 4 * (1 - Math.max(0, gain) / CONTEXT_GAIN_MIN) : 0;
  const text = stuck
    ? `the model is only ${percent(gain)} better than the frequencies of tokens: it has learnt ` +
      `hardly any context in ${figures.steps} steps`
    : `the loss still falls steeply: ${percent(share)} of all progress between 40% and 80% of the run`;
  const potential = Math.max(fall * f.bits_of_a_nat, stuck ? CONTEXT_GAIN_MIN * loss : 0);
  return failure("slow_learning", { strength: Math.max(by_share, by_gain), potential }, text, {
    late_share: share,
    gain_over_frequencies: gain,
    ...{ steps: figures.steps, lr: configuration.lr },
  });
};

/** Bits per byte of the excerpts of one domain, each by itself. */
function ratesOf(excerpts: readonly Excerpt[], bits: ArrayLike<number>, domain: number): number[] {
  return [...excerpts.keys()]
    .filter((i) => excerpts[i]!.domain === domain)
    .map((i) => bits[i]! / excerpts[i]!.bytes.length);
}

function errorOf(values: readonly number[]): number {
  if (values.length < 2) return Number.POSITIVE_INFINITY;
  const middle = mean(values);
  const squares = values.reduce((sum, x) => sum + (x - middle) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}

const overfit: Detector = ({ figures, search, train, bits, loss }) => {
  if (figures.train_bits.length === 0) return null;
  let gap = 0;
  let variance = 0;
  for (const [domain, { share }] of figures.domains.entries()) {
    const held = ratesOf(search, bits, domain);
    const seen = ratesOf(train, figures.train_bits, domain);
    if (held.length < 2 || seen.length < 2) continue;
    gap += share * (mean(held) - mean(seen));
    variance += share ** 2 * (errorOf(held) ** 2 + errorOf(seen) ** 2);
  }
  const passes = Math.max(...figures.domains.map(({ data_passes }) => data_passes));
  if (gap < GAP_MIN * loss || passes < 1) return null;
  return failure(
    "overfit",
    { strength: gap / Math.sqrt(Math.max(variance, 1e-12)), potential: gap / 2 },
    `held-out text costs ${gap.toFixed(3)} bits per byte more than training text, ` +
      `which was read up to ${passes.toFixed(1)} times`,
    { gap, data_passes: passes },
  );
};

const domainGap: Detector = ({ figures, references, search, bits }) => {
  if (figures.domains.length < 2 || figures.diverged_at !== null) return null;
  const relative = figures.domains.map((_, d) =>
    ratesOf(search, bits, d).map((rate) => rate / references[d]!),
  );
  let worst: Failure | null = null;
  for (const [d, domain] of figures.domains.entries()) {
    const others = relative.filter((_, i) => i !== d).flat();
    const excess = mean(relative[d]!) - mean(others);
    if (excess < DOMAIN_EXCESS_MIN * mean(others)) continue;
    const error = Math.sqrt(errorOf(relative[d]!) ** 2 + errorOf(others) ** 2);
    const found = failure(
      "domain_gap",
      {
        strength: excess / error,
        potential: 0.5 * domain.share * excess * references[d]!,
      },
      `${domain.name} lags behind: ${domain.bits_per_byte.toFixed(3)} bits per byte, ` +
        `${percent(excess / mean(others))} above the others by its own difficulty, with ` +
        `${percent(domain.train_share)} of the training sequences`,
      { domain: domain.name, excess, train_share: domain.train_share, share: domain.share },
    );
    if (found && (worst === null || found.strength > worst.strength)) worst = found;
  }
  return worst;
};

const shortContext: Detector = ({ figures, configuration, bits_of_a_nat }) => {
  const { beyond, positions } = figures;
  if (beyond === null || beyond.difference < BEYOND_MIN) return null;
  return failure(
    "short_context",
    {
      strength: beyond.difference / Math.max(beyond.standard_error, 1e-9),
      potential: beyond.difference * beyond.share * bits_of_a_nat,
    },
    `beyond the trained context of ${configuration.context} tokens the loss is ` +
      `${beyond.difference.toFixed(3)} nats higher, over ${percent(beyond.share)} of the positions`,
    { difference: beyond.difference, context: configuration.context, positions },
  );
};

const capacity: Detector = (f) => {
  const { figures, loss } = f;
  const { block, head } = figures.size;
  const a_parameter = figures.tokens / (block + head);
  const { share, sure } = progressOf(f);
  const still_learning = share > LATE_SHARE_MIN / 3 && sure > 3;
  if (figures.diverged_at !== null || still_learning || a_parameter < TOKENS_A_PARAMETER)
    return null;
  const rare = figures.classes.map(({ name, bits, bytes }) => [name, bits / Math.max(1, bytes)]);
  return failure(
    "capacity",
    {
      strength: STRENGTH_MIN + Math.log2(a_parameter / TOKENS_A_PARAMETER),
      potential: DOUBLING_GAIN * loss,
    },
    `the model is too small for its text: ${a_parameter.toFixed(0)} tokens for each of ` +
      `${block + head} parameters, and the loss has stopped falling`,
    { tokens_a_parameter: a_parameter, late_share: share, classes: Object.fromEntries(rare) },
  );
};

const throughput: Detector = (f) => {
  const { figures, equal, configuration } = f;
  const { optimizer_share } = figures.cost;
  if (equal !== "compute" || optimizer_share < OPTIMIZER_SHARE_MIN) return null;
  const { fall } = progressOf(f);
  const doublings = -Math.log2(1 - optimizer_share);
  return failure(
    "throughput",
    {
      strength: (STRENGTH_MIN * optimizer_share) / OPTIMIZER_SHARE_MIN,
      potential: Math.max(0, fall) * doublings * f.bits_of_a_nat,
    },
    `the optimizer takes ${percent(optimizer_share)} of the time: ` +
      `${configuration.batch * configuration.accumulate * configuration.context} tokens a step`,
    { optimizer_share, us_per_token: figures.cost.us_per_token },
  );
};

const DETECTORS: readonly Detector[] = [
  unstable,
  slow,
  domainGap,
  overfit,
  shortContext,
  capacity,
  throughput,
];

/** Failures of the best trial, strongest potential first. */
export function analyseTrial(best: Trial, context: AnalysisContext): Failure[] {
  const { outcome } = best;
  if (outcome === null) return [];
  const figures = outcome.figures as unknown as LanguageFigures;
  const bytes = context.search.map((excerpt) => excerpt.bytes.length);
  const loss = bitsPerByte(outcome.outputs, bytes);
  const nats = between(figures.curve.losses, 0.9, 1);
  const bits_of_a_nat = nats > 0 ? loss / nats : 0;
  const findings = { ...context, figures, bits: outcome.outputs, loss, bits_of_a_nat };
  return DETECTORS.flatMap((detect) => detect(findings) ?? []).sort(
    (a, b) => b.potential - a.potential || b.strength - a.strength,
  );
}
