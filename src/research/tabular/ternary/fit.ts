/**
 * Trains the small ternary transformer on rows as sequences, with the trainer of `magnet train`.
 * Only the label's token is learnt: each row goes in with its own label and with another one, and
 * the trainer's step on such pairs (ORPO; odds_weight 0 leaves the likelihood of the true label)
 * counts no other token. The number of sequences is fixed, so the cost does not grow with the rows.
 * The result is a function of data, rows, settings and seed, for any number of threads.
 */
import { seededRandom } from "../../../core/random.ts";
import { learningRate } from "../../../model/schedule.ts";
import { Trainer } from "../../../model/trainer.ts";
import { IGNORED_TARGET } from "../../../model/trainer-types.ts";
import type { LearnerMatrix } from "../../../native/learner-types.ts";
import { TernaryModel, ternaryConfig } from "./model.ts";
import { fitTokens, inputLength, labelToken, tokenise } from "./tokens.ts";

export interface TernaryFit {
  readonly matrix: LearnerMatrix;
  /** Class index by row of the matrix. */
  readonly label: Int32Array;
  readonly classes: number;
  /** How often a row is seen relative to others, by row of the matrix; null = all alike. */
  readonly weight: Float32Array | null;
  readonly rows: Uint32Array;
  readonly params: { readonly [name: string]: number };
  readonly seed: number;
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
}

/** Throws TABLE_TOO_WIDE, TOO_MANY_CLASSES, NOT_A_NUMBER for a training that blows up, CANCELLED. */
export async function fitTernary(fit: TernaryFit): Promise<TernaryModel> {
  const { matrix, rows, classes, params: p, threads, signal } = fit;
  const tokens = fitTokens(matrix, rows, classes, p.bins!);
  const size = { width: p.width!, layers: p.layers! };
  const context = inputLength(tokens);
  const pairs = Math.min(p.batch!, p.sequences!);
  const steps = Math.ceil(p.sequences! / pairs);
  const inputs = tokenise(tokens, matrix, rows);
  const order = new RowOrder(fit);
  const random = seededRandom(fit.seed + 1);
  const trainer = Trainer.create(ternaryConfig(tokens, size), {
    batch: 2 * pairs,
    context,
    threads,
  });
  try {
    await trainer.initialise(BigInt(fit.seed));
    const width = context + 1;
    const sequences = new Int32Array(2 * pairs * width);
    const labels = new Int32Array(sequences.length).fill(IGNORED_TARGET);
    for (let step = 1; step <= steps; step++) {
      for (let s = 0; s < 2 * pairs; s += 2) {
        const i = order.next();
        const own = fit.label[rows[i]!]!;
        const other = (own + 1 + random.below(classes - 1)) % classes;
        for (const [k, c] of [own, other].entries()) {
          const at = (s + k) * width;
          sequences.set(inputs.subarray(i * context, (i + 1) * context), at);
          sequences[at + context] = labelToken(c);
          labels[at + context] = labelToken(c);
        }
      }
      const batch = { tokens: sequences, labels, width, pairs, accumulate: 1 };
      const optimizer = {
        lr: learningRate("cosine", step, steps, p.learning_rate!),
        ...{ beta1: 0.9, beta2: 0.98, eps: 1e-8, clip: 1, step },
        weight_decay: p.weight_decay!,
      };
      await trainer.orpo(batch, { beta: p.odds_weight!, optimizer }, signal);
    }
    const params = await trainer.currentParams();
    return new TernaryModel(tokens, size, params.slice());
  } finally {
    trainer.close();
  }
}

/** Rows in passes, shuffled; a row of weight w comes w times in a pass on average. */
class RowOrder {
  private readonly random: ReturnType<typeof seededRandom>;
  private readonly weights: Float64Array;
  private readonly places: Uint32Array;
  private pass: number[] = [];

  constructor({ rows, weight, seed }: TernaryFit) {
    this.random = seededRandom(seed);
    this.places = rows.map((_, i) => i);
    const own = Float64Array.from(rows, (row) => (weight === null ? 1 : weight[row]!));
    const mean = own.reduce((sum, w) => sum + w, 0) / rows.length;
    this.weights = own.map((w) => w / mean);
  }

  /** Place of the next row among the rows. */
  next(): number {
    if (this.pass.length === 0) this.refill();
    return this.pass.pop()!;
  }

  /** As many draws as rows, evenly spaced over the weights of a shuffled list, shuffled again. */
  private refill(): void {
    shuffle(this.places, this.random);
    const drawn: number[] = [];
    let reached = this.random.next();
    for (const place of this.places)
      for (reached += this.weights[place]!; reached >= 1; reached -= 1) drawn.push(place);
    // Rounding may leave a pass of one row without a draw.
    const pass = Uint32Array.from(drawn.length > 0 ? drawn : [0]);
    shuffle(pass, this.random);
    this.pass = Array.from(pass);
  }
}

function shuffle(list: Uint32Array, random: ReturnType<typeof seededRandom>): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
}
