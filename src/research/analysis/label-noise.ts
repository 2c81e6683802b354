/**
 * label_noise: rows that are confidently wrong. Where classes overlap, errors thin out quickly as
 * the model gets surer; wrong labels lie anywhere, so the error rate stays level from the middle
 * of the confidence to its top. That plateau is the sign; a probe without the confidently wrong
 * rows says whether leaving them out helps.
 */
import type { Failure } from "../types.ts";
import type { AnalysisInput } from "./input.ts";
import type { ProbeGround } from "./probes.ts";
import type { Residuals } from "./residuals.ts";
import { effect } from "./statistics.ts";

/** Shares of the rows by falling confidence: the surest and the next. */
const TOP = 0.3;
const MIDDLE = 0.65;
/** A clean model's surest rows are wrong at most this often compared with the next ones. */
const FADING = 0.5;
/** Above this the surest rows are mostly luck: the signal is weak, not the labels wrong. */
const ERROR_MAX = 0.22;
/** A row whose label has less probability than this part of an even guess is suspected. */
const SUSPECT = 0.4;

interface Plateau {
  readonly z: number;
  readonly top: number;
  readonly middle: number;
}

/** Error rates of the surest rows and of the next, and how far the first is from fading. */
export function plateauOf(residuals: Residuals, label: Int32Array): Plateau {
  const { rows, classes, probabilities } = residuals;
  const confidence = new Float64Array(rows);
  const wrong = new Uint8Array(rows);
  for (let i = 0; i < rows; i++) {
    let top = 0;
    for (let c = 1; c < classes; c++) {
      if (probabilities[i * classes + c]! > probabilities[i * classes + top]!) top = c;
    }
    confidence[i] = probabilities[i * classes + top]!;
    wrong[i] = top === label[i] ? 0 : 1;
  }
  const order = Uint32Array.from({ length: rows }, (_, i) => i);
  order.sort((a, b) => confidence[b]! - confidence[a]! || a - b);
  const rate = (from: number, to: number) => {
    let sum = 0;
    for (let k = from; k < to; k++) sum += wrong[order[k]!]!;
    return sum / Math.max(1, to - from);
  };
  const [first, second] = [Math.floor(rows * TOP), Math.floor(rows * MIDDLE)];
  const [top, middle] = [rate(0, first), rate(first, second)];
  const variance =
    (top * (1 - top) + 1 / first) / first +
    (FADING ** 2 * (middle * (1 - middle) + 1 / (second - first))) / (second - first);
  return { z: effect(top - FADING * middle, variance).z, top, middle };
}

/** Positions whose label has next to no probability. */
export function suspectRows(residuals: Residuals, label: Int32Array): Uint32Array {
  const limit = SUSPECT / residuals.classes;
  const found: number[] = [];
  for (let i = 0; i < residuals.rows; i++) {
    if (residuals.probabilities[i * residuals.classes + label[i]!]! < limit) found.push(i);
  }
  return Uint32Array.from(found);
}

export async function findLabelNoise(
  input: AnalysisInput,
  residuals: Residuals,
  ground: ProbeGround | null,
): Promise<Failure | null> {
  if (input.rows < 100) return null;
  const plateau = plateauOf(residuals, input.label);
  if (plateau.top > ERROR_MAX || plateau.z < 1) return null;
  const suspects = suspectRows(residuals, input.label);
  if (suspects.length === 0) return null;
  const gain = ground ? await ground.gainOf({ without: suspects }) : null;
  const share = suspects.length / input.rows;
  return {
    kind: "label_noise",
    // Both signs are needed; the weaker one counts.
    strength: gain ? Math.min(plateau.z, gain.z) : plateau.z,
    potential: Math.max(0, gain ? gain.score_gain : plateau.top / 4),
    text:
      `The surest ${100 * TOP}% of the rows are wrong in ${(100 * plateau.top).toFixed(1)}%, the ` +
      `next in ${(100 * plateau.middle).toFixed(1)}%; ${suspects.length} labels ` +
      `(${(100 * share).toFixed(1)}%) are suspected` +
      (gain ? `, without them the loss falls by ${gain.gain.toFixed(4)}.` : "."),
    evidence: {
      plateau_z: plateau.z,
      top_error: plateau.top,
      middle_error: plateau.middle,
      suspects: suspects.length,
      share,
      loss_gain: gain?.gain ?? null,
      score_gain: gain?.score_gain ?? null,
    },
  };
}
