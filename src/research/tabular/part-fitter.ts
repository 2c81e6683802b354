/**
 * Fits members on rows of one part and predicts others of its rows. Column sets are binned once,
 * importances and noise lists are found once for each set of training rows; all of it is kept in a
 * cache limited by bytes. One call at a time: a fit in progress must not lose its bins.
 */
import { canonicalJson } from "../../core/bytes.ts";
import { seededRandom } from "../../core/random.ts";
import type { BinnedData, LearnerMatrix, Learners } from "../../native/learner-types.ts";
import { ByteCache } from "./cache.ts";
import { type ColumnSpec, columnsKey, FeatureMatrix } from "./columns.ts";
import type { Member, RowOptions, TabularConfiguration } from "./configuration.ts";
import { exactExp, exactLog } from "./exact-math.ts";
import { BIN_CACHE_BYTES_MAX } from "./limits.ts";
import { chooseColumns } from "./member-columns.ts";
import type { MemberModel } from "./member-model.ts";
import { chooseRows } from "./member-rows.ts";
import { isNative, nativeParams, type PlainMember } from "./native-params.ts";
import type { Part } from "./part.ts";
import { fitTernary } from "./ternary/fit.ts";

/** Rows of the part that a model is fitted on, with a short name that stands for exactly them. */
export interface TrainRows {
  readonly rows: Uint32Array;
  readonly key: string;
}

/** Name of all rows of a part: what a model is fitted on that leaves it. */
export const WHOLE_PART = "all";

export interface FitSettings {
  readonly seed: number;
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
}

/** One fit of a member (one bag). `wrong` is there for residual targets only. */
export interface FittedMember {
  readonly columns: readonly ColumnSpec[];
  /** Class probabilities; null where the residual of two classes needs none within its part. */
  readonly plain: MemberModel | null;
  /** Probability that the pipeline is wrong. */
  readonly wrong: MemberModel | null;
}

/** Learners whose fit does not depend on the seed: further bags would be copies. */
export function isDeterministic(member: Member): boolean {
  if (member.learner === "logistic") return true;
  if (member.learner !== "boosting") return false;
  return member.params.row_share === 1 && member.params.column_share === 1;
}

/** Everything of a member that its fit depends on; its weight in a blend does not. */
export function memberKey(configuration: TabularConfiguration, member: Member): string {
  const { learner, params, balance, features } = member;
  const { rows, target } = configuration;
  return canonicalJson({ learner, params, balance, features, rows, target });
}

/** A seed for a purpose: well mixed, below 2^48. */
export const mixSeed = (seed: number, ...parts: readonly number[]): number => {
  let mixed = BigInt(seed);
  for (const part of parts)
    mixed = BigInt(seededRandom(mixed * 1_000_003n + BigInt(part)).below(2 ** 48));
  return Number(mixed);
};

/**
 * Seed of the fits that judge columns and rows. What they find is kept by the training rows alone,
 * so it must not depend on which trial asked first: that differs between workers and after a resume.
 */
export const JUDGE_SEED = mixSeed(1, 0);

export class PartFitter {
  readonly part: Part;
  readonly matrix: FeatureMatrix;
  readonly learners: Learners;
  private readonly bins = new ByteCache<BinnedData>(BIN_CACHE_BYTES_MAX, (data) => data.free());
  private readonly found = new ByteCache<Float64Array | Uint32Array>(BIN_CACHE_BYTES_MAX);

  constructor(learners: Learners, part: Part) {
    this.learners = learners;
    this.part = part;
    this.matrix = new FeatureMatrix(part);
  }

  close(): void {
    this.bins.clear();
    this.found.clear();
  }

  /** The binned columns; edges from all rows of the part, which uses no label. */
  async binned(specs: readonly ColumnSpec[], bins_max: number): Promise<BinnedData> {
    const key = `${bins_max}|${columnsKey(specs)}`;
    const found = this.bins.get(key);
    if (found !== undefined) return found;
    const matrix = this.matrix.build(specs);
    const data = await this.learners.binData(matrix, { bins_max, threads: 1 });
    this.bins.set(key, data, 5 * matrix.rows * matrix.columns);
    return data;
  }

  /** Found once for each key: importances, noise lists. */
  async once<V extends Float64Array | Uint32Array>(key: string, find: () => Promise<V>) {
    const known = this.found.get(key);
    if (known !== undefined) return known as V;
    const value = await find();
    this.found.set(key, value, value.byteLength);
    return value;
  }

  /** One fit on class labels with the given weights, for the domain's own questions to the data. */
  async fitPlain(
    specs: readonly ColumnSpec[],
    member: PlainMember,
    target: Int32Array,
    classes: number,
    balance: number,
    rows: Uint32Array,
    settings: FitSettings,
  ): Promise<MemberModel> {
    const weight = balanceWeights(this.part.label, this.part.classes, rows, balance);
    if (!isNative(member)) {
      const { params } = member;
      const matrix = this.matrix.build(specs);
      return fitTernary({ matrix, label: target, classes, weight, rows, params, ...settings });
    }
    const { bins_max, params } = nativeParams(member, rows.length);
    const data = await this.binned(specs, bins_max);
    return this.learners.fit(data, {
      learner: member.learner,
      objective: "classification",
      classes,
      target: Float32Array.from(target),
      weight,
      rows,
      params,
      seed: settings.seed,
      threads: settings.threads,
      ...(settings.signal === undefined ? {} : { signal: settings.signal }),
    });
  }

  /** Fits one bag of a member on the training rows. */
  async fitMember(
    member: Member,
    rowOptions: RowOptions,
    target: TabularConfiguration["target"],
    train: TrainRows,
    settings: FitSettings,
  ): Promise<FittedMember> {
    const chosen = await chooseRows(this, train, rowOptions, settings);
    const columns = await chooseColumns(this, chosen, member.features, settings);
    const fit = (
      specs: readonly ColumnSpec[],
      label: Int32Array,
      classes: number,
      rows = chosen.rows,
    ) => this.fitPlain(specs, member, label, classes, member.balance, rows, settings);
    const { part } = this;
    if (target === "plain")
      return { columns, plain: await fit(columns, part.label, part.classes), wrong: null };
    const pipeline = part.pipeline!;
    const specs = columns.some((s) => s.kind === "pipeline")
      ? columns
      : [...columns, { kind: "pipeline" } as const];
    const known = chosen.rows.filter((row) => pipeline[row]! >= 0);
    const isWrong = part.label.map((y, row) => (y === pipeline[row] ? 0 : 1));
    const wrong = await fit(specs, isWrong, 2, known);
    // A model of all rows meets others, whose pipeline may say nothing; within a part it is known.
    const leaves = train.key === WHOLE_PART || pipeline.includes(-1);
    const needsPlain = part.classes > 2 || leaves;
    const plain = needsPlain ? await fit(specs, part.label, part.classes) : null;
    return { columns: specs, plain, wrong };
  }

  /** What the member's models predict from. */
  private async dataOf(
    columns: readonly ColumnSpec[],
    member: Member,
    rows: number,
  ): Promise<BinnedData | LearnerMatrix> {
    if (!isNative(member)) return this.matrix.build(columns);
    return this.binned(columns, nativeParams(member, rows).bins_max);
  }

  /** Probabilities of `rows`, row-major in their order. */
  async predict(
    fitted: FittedMember,
    member: Member,
    rows: Uint32Array,
    settings: FitSettings,
  ): Promise<Float32Array> {
    const data = await this.dataOf(fitted.columns, member, rows.length);
    const options = { threads: settings.threads };
    const plain = fitted.plain === null ? null : await fitted.plain.predict(data, rows, options);
    if (fitted.wrong === null) return plain!;
    const wrong = await fitted.wrong.predict(data, rows, options);
    const pipeline = Int32Array.from(rows, (row) => this.part.pipeline![row]!);
    return residualProbabilities(wrong, plain, pipeline, this.part.classes);
  }
}

/**
 * Class probabilities from "the pipeline is wrong": its class keeps what is not wrong, the others
 * share the rest as the plain model says. Rows without a pipeline's class take the plain model's;
 * a saved model may have none, and then knows nothing of them.
 */
export function residualProbabilities(
  wrong: Float32Array,
  plain: Float32Array | null,
  pipeline: Int32Array,
  classes: number,
): Float32Array {
  const out = new Float32Array(pipeline.length * classes);
  for (let i = 0; i < pipeline.length; i++) {
    const at = i * classes;
    const said = pipeline[i]!;
    if (said < 0) {
      for (let c = 0; c < classes; c++) out[at + c] = plain === null ? 1 / classes : plain[at + c]!;
      continue;
    }
    const w = wrong[2 * i + 1]!;
    const others = plain === null ? 1 : 1 - plain[at + said]!;
    for (let c = 0; c < classes; c++) {
      if (c === said) out[at + c] = 1 - w;
      else if (plain === null) out[at + c] = w;
      else out[at + c] = others > 0 ? (w * plain[at + c]!) / others : w / (classes - 1);
    }
  }
  return out;
}

export function freeMember(fitted: FittedMember): void {
  fitted.plain?.free();
  fitted.wrong?.free();
}

/** Weight by row: (rows / (classes * rows of the class)) ^ balance, mean 1; null where all are 1. */
function balanceWeights(
  label: Int32Array,
  classes: number,
  rows: Uint32Array,
  balance: number,
): Float32Array | null {
  if (balance === 0) return null;
  const counts = new Float64Array(classes);
  for (const row of rows) counts[label[row]!]! += 1;
  const ratio = counts.map((n) => (n === 0 ? 0 : rows.length / (classes * n)));
  const power = ratio.map((r) => (r === 0 ? 0 : exactPower(r, balance)));
  const mean = power.reduce((sum, w, c) => sum + w * counts[c]!, 0) / rows.length;
  return Float32Array.from(label, (c) => power[c]! / mean);
}

const exactPower = (base: number, exponent: number): number =>
  exponent === 1 ? base : exactExp(exponent * exactLog(base));
