/**
 * What a trial leaves behind for error analysis: the curve of the loss, gradients, weights and
 * activations, and the loss by domain, position and class of token. Plain JSON, a few kilobytes.
 */
import type { StreamStats, TensorStats } from "../../model/trainer-types.ts";
import type { Json } from "../types.ts";
import { bitsPerByte } from "./bootstrap.ts";
import type { LanguageConfiguration } from "./configuration.ts";
import { costOf, sizeOf } from "./cost.ts";
import type { Excerpt } from "./excerpts.ts";
import type { Measurement } from "./measure.ts";
import type { TrainingTrace } from "./training.ts";

/** Points of the stored curve. */
export const CURVE_POINTS = 40;

export interface LanguageFigures {
  readonly tokens: number;
  readonly steps: number;
  readonly diverged_at: number | null;
  /** Bits of each excerpt of training documents, in order. */
  readonly train_bits: readonly number[];
  /** Bits per byte of the held-out text under the frequencies of tokens alone. */
  readonly unigram: number;
  readonly domains: readonly DomainFigures[];
  readonly classes: readonly { name: string; bits: number; bytes: number; tokens: number }[];
  /** Nats of a token by eighth of the evaluation's context. */
  readonly positions: readonly number[];
  /** Beyond the trained context against its second half, nats of a token; null where none is. */
  readonly beyond: { difference: number; standard_error: number; share: number } | null;
  readonly curve: CurveFigures;
  readonly gradient: { median: number; largest: number; clipped_share: number };
  readonly streams: readonly StreamStats[];
  readonly tensors: { zero_share: number; dead: number; gradient_ratio: number };
  readonly size: { block: number; head: number };
  readonly cost: { us_per_token: number; optimizer_share: number };
}

interface DomainFigures {
  readonly name: string;
  readonly bits_per_byte: number;
  /** Of the held-out bytes, and of the training sequences. */
  readonly share: number;
  readonly train_share: number;
  readonly data_passes: number;
}

export interface CurveFigures {
  /** Mean loss of consecutive stretches of steps, nats per token. */
  readonly losses: readonly number[];
  /** Standard error of the mean of a stretch. */
  readonly standard_error: number;
  /** Largest rise of one step's loss above the mean before it, in standard deviations. */
  readonly spike: number;
}

const mean = (values: ArrayLike<number>) => {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / Math.max(1, values.length);
};

const median = (values: Float32Array) => values.slice().sort()[values.length >> 1] ?? 0;

/** Stretches of the losses, the noise around their trend, and the worst step. */
function curveOf(losses: Float32Array): CurveFigures {
  const points = Math.min(CURVE_POINTS, losses.length);
  const cut = (i: number) => Math.floor((i * losses.length) / points);
  const stretches = Array.from({ length: points }, (_, i) => losses.subarray(cut(i), cut(i + 1)));
  // Neighbours differ by noise alone: half their squared difference is its variance.
  let squares = 0;
  for (let i = 1; i < losses.length; i++) squares += (losses[i]! - losses[i - 1]!) ** 2 / 2;
  const deviation = Math.sqrt(squares / Math.max(1, losses.length - 1));
  let average = losses[0] ?? 0;
  let spike = 0;
  for (const loss of losses) {
    spike = Math.max(spike, (loss - average) / Math.max(deviation, 1e-6));
    average += 0.1 * (loss - average);
  }
  const per_stretch = Math.max(1, losses.length / Math.max(1, points));
  return {
    losses: stretches.map((stretch) => mean(stretch)),
    standard_error: deviation / Math.sqrt(per_stretch),
    spike,
  };
}

function beyondOf(beyond: Measurement["beyond"]): LanguageFigures["beyond"] {
  if (beyond.length < 2) return null;
  const differences = beyond.map(({ inside, outside }) => outside - inside);
  const difference = mean(differences);
  const squares = differences.reduce((sum, x) => sum + (x - difference) ** 2, 0);
  const deviation = Math.sqrt(squares / (differences.length - 1));
  return { difference, standard_error: deviation / Math.sqrt(differences.length), share: 0 };
}

/** Share of zero codes, tensors with hardly any other, and how unevenly gradients are spread. */
function tensorsOf(tensors: readonly TensorStats[]): LanguageFigures["tensors"] {
  const ternary = tensors.filter(({ is_ternary }) => is_ternary);
  const gradients = ternary.map(({ gradient_rms }) => gradient_rms).filter((x) => x > 0);
  const zero_share = mean(ternary.map((t) => t.zero_share));
  const dead = ternary.filter((t) => t.zero_share > 0.9).length;
  const largest = gradients.reduce((a, b) => Math.max(a, b), 0);
  const least = gradients.reduce((a, b) => Math.min(a, b), Number.MAX_VALUE);
  return { zero_share, dead, gradient_ratio: gradients.length > 0 ? largest / least : 0 };
}

export interface Measured {
  readonly configuration: LanguageConfiguration;
  readonly evaluation_context: number;
  readonly domains: readonly string[];
  readonly excerpts: readonly Excerpt[];
  readonly trace: TrainingTrace;
  /** Null for a run that blew up: there is no model. */
  readonly heldout: Measurement | null;
  readonly train: Measurement | null;
  readonly tensors: readonly TensorStats[];
  readonly tokens: number;
  readonly steps: number;
}

function domainsOf({ domains, excerpts, heldout, trace }: Measured): DomainFigures[] {
  const total = excerpts.reduce((sum, { bytes }) => sum + bytes.length, 0);
  return domains.map((name, index) => {
    const own = [...excerpts.keys()].filter((i) => excerpts[i]!.domain === index);
    const bits = own.map((i) => heldout?.bits[i] ?? 8 * excerpts[i]!.bytes.length);
    const bytes = own.map((i) => excerpts[i]!.bytes.length);
    const source = trace.sources.find((one) => one.name === name);
    return {
      name,
      bits_per_byte: bitsPerByte(bits, bytes),
      share: bytes.reduce((sum, n) => sum + n, 0) / total,
      train_share: source?.share ?? 0,
      data_passes: source?.data_passes ?? 0,
    };
  });
}

export function figuresOf(m: Measured): { readonly [name: string]: Json } {
  const { configuration: c, trace, heldout, train } = m;
  const { gradient_norms } = trace;
  const clipped = gradient_norms.filter((norm) => c.clip > 0 && norm > c.clip).length;
  const beyond = heldout && beyondOf(heldout.beyond);
  const share = Math.max(0, 1 - c.context / m.evaluation_context);
  const cost = costOf(c);
  const figures: LanguageFigures = {
    tokens: m.tokens,
    steps: m.steps,
    diverged_at: trace.diverged_at,
    train_bits: train ? [...train.bits] : [],
    unigram: heldout?.unigram ?? 8,
    domains: domainsOf(m),
    classes: heldout ? [...heldout.by_class] : [],
    positions: heldout?.by_position.map(({ nats, tokens }) => nats / Math.max(1, tokens)) ?? [],
    beyond: beyond && { ...beyond, share },
    curve: curveOf(trace.losses),
    gradient: {
      median: median(gradient_norms),
      largest: gradient_norms.reduce((a, b) => Math.max(a, b), 0),
      clipped_share: clipped / Math.max(1, gradient_norms.length),
    },
    streams: heldout?.streams ?? [],
    tensors: tensorsOf(m.tensors),
    size: sizeOf(c),
    cost: { us_per_token: cost.us_per_token, optimizer_share: cost.optimizer_share },
  };
  return figures as unknown as { readonly [name: string]: Json };
}
