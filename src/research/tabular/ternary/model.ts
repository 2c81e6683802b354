/**
 * A small ternary (BitNet) transformer that reads a table's row and answers with the label's token:
 * its prediction and its saved form. A class's probability is that of its token as the answer,
 * relative to the other classes. Saved: magic, length of the header, header as JSON, parameters.
 */
import { z } from "zod";
import { MagnetError } from "../../../core/errors.ts";
import { type ModelConfig, paramCount, parseModelConfig } from "../../../model/config.ts";
import { Trainer } from "../../../model/trainer.ts";
import { IGNORED_TARGET } from "../../../model/trainer-types.ts";
import type { BinnedData, LearnerMatrix } from "../../../native/learner-types.ts";
import { exactExp } from "../exact-math.ts";
import {
  MODEL_HEADER_BYTES_MAX,
  TERNARY_CLASSES_MAX,
  TERNARY_COLUMNS_MAX,
  TERNARY_LAYERS_MAX,
  TERNARY_WIDTH_MAX,
} from "../limits.ts";
import type { MemberModel } from "../member-model.ts";
import { inputLength, labelToken, type RowTokens, tokenise, vocabularySize } from "./tokens.ts";

const MAGIC = new TextEncoder().encode("MGTERN1\n");
/** Width of an attention head. */
const HEAD = 16;
/** Sequences of one forward pass. */
const BATCH = 64;

export interface TernarySize {
  readonly width: number;
  readonly layers: number;
}

/** The architecture: as `magnet train`'s, with as much context as a row has tokens. */
export function ternaryConfig(tokens: RowTokens, { width, layers }: TernarySize): ModelConfig {
  return parseModelConfig({
    variant: "bitnet",
    vocab_size: vocabularySize(tokens),
    d_model: width,
    n_layers: layers,
    n_heads: width / HEAD,
    n_kv_heads: width / HEAD,
    head_dim: HEAD,
    d_ff: 2 * width,
    context: inputLength(tokens),
  });
}

const header = z.strictObject({
  width: z.int().multipleOf(HEAD).min(HEAD).max(TERNARY_WIDTH_MAX),
  layers: z.int().min(1).max(TERNARY_LAYERS_MAX),
  classes: z.int().min(2).max(TERNARY_CLASSES_MAX),
  columns: z
    .array(z.strictObject({ levels: z.int().min(0).max(1e9), edges: z.array(z.number()).max(256) }))
    .min(1)
    .max(TERNARY_COLUMNS_MAX),
});

export class TernaryModel implements MemberModel {
  readonly tokens: RowTokens;
  readonly size: TernarySize;
  readonly params: Float32Array;

  constructor(tokens: RowTokens, size: TernarySize, params: Float32Array) {
    this.tokens = tokens;
    this.size = size;
    this.params = params;
  }

  /** Probabilities, (rows, classes); the data must be a matrix, with the columns of the fit. */
  async predict(
    data: BinnedData | LearnerMatrix,
    rows: Uint32Array | null,
    { threads = 0, signal }: { threads?: number; signal?: AbortSignal } = {},
  ): Promise<Float32Array> {
    if (!("values" in data) || data.columns !== this.tokens.columns.length)
      throw new MagnetError(
        "BAD_LEARNER_DATA",
        `ternary_transformer was fitted on ${this.tokens.columns.length} columns of a matrix`,
      );
    const { classes } = this.tokens;
    const all = rows ?? Uint32Array.from({ length: data.rows }, (_, row) => row);
    const out = new Float32Array(all.length * classes);
    const context = inputLength(this.tokens);
    const config = ternaryConfig(this.tokens, this.size);
    const batch = Math.max(1, Math.min(BATCH, all.length * classes));
    const trainer = Trainer.create(config, { batch, context, threads });
    try {
      await trainer.setParams(this.params);
      const inputs = tokenise(this.tokens, data, all);
      for (let from = 0; from < out.length; from += batch) {
        const count = Math.min(batch, out.length - from);
        const labelled = answers(inputs, context, classes, from, count);
        const { sums } = await trainer.logProbs(labelled, count, signal);
        sums.forEach((sum, i) => {
          out[from + i] = exactExp(sum);
        });
      }
    } finally {
      trainer.close();
    }
    return normalised(out, classes);
  }

  /** No share is claimed for any column: attention weights are no measure of it. */
  importance(): Float64Array {
    return new Float64Array(this.tokens.columns.length);
  }

  save(): Uint8Array {
    const { classes, columns } = this.tokens;
    const text = new TextEncoder().encode(JSON.stringify({ ...this.size, classes, columns }));
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, text.length, true);
    const bytes = new Uint8Array(4 * this.params.length);
    const view = new DataView(bytes.buffer);
    this.params.forEach((p, i) => {
      view.setFloat32(4 * i, p, true);
    });
    return new Uint8Array(Buffer.concat([MAGIC, length, text, bytes]));
  }

  /** Nothing native is held between calls. */
  free(): void {
    // Parameters are plain memory of this object.
  }
}

/** Cells `from` to `from + count` of (rows, classes): each row with each class as its answer. */
function answers(
  inputs: Int32Array,
  context: number,
  classes: number,
  from: number,
  count: number,
) {
  const width = context + 1;
  const tokens = new Int32Array(count * width);
  const labels = new Int32Array(count * width).fill(IGNORED_TARGET);
  for (let i = 0; i < count; i++) {
    const row = Math.floor((from + i) / classes);
    tokens.set(inputs.subarray(row * context, (row + 1) * context), i * width);
    const answer = labelToken((from + i) % classes);
    tokens[i * width + context] = answer;
    labels[i * width + context] = answer;
  }
  return { tokens, labels, width };
}

/** Rows sum to 1; where no class has a probability, all are alike. */
function normalised(out: Float32Array, classes: number): Float32Array {
  for (let at = 0; at < out.length; at += classes) {
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += out[at + c]!;
    for (let c = 0; c < classes; c++) out[at + c] = sum > 0 ? out[at + c]! / sum : 1 / classes;
  }
  return out;
}

export const isTernaryModel = (bytes: Uint8Array): boolean =>
  bytes.length >= MAGIC.length && MAGIC.every((byte, i) => bytes[i] === byte);

const bad = (message: string, cause?: unknown): MagnetError =>
  new MagnetError("BAD_MODEL", `not a saved ternary_transformer: ${message}`, { cause });

/** Throws BAD_MODEL on anything that `save` did not write. */
export function loadTernary(bytes: Uint8Array): TernaryModel {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = MAGIC.length + 4;
  if (!isTernaryModel(bytes) || bytes.length < start) throw bad("it is cut off");
  const length = view.getUint32(MAGIC.length, true);
  if (length > MODEL_HEADER_BYTES_MAX || start + length > bytes.length) throw bad("it is cut off");
  const { width, layers, classes, columns } = parseHeader(bytes.subarray(start, start + length));
  const tokens = { classes, columns };
  const count = paramCount(ternaryConfig(tokens, { width, layers }));
  if (bytes.length !== start + length + 4 * count) throw bad("its parameters are not as many");
  const params = Float32Array.from({ length: count }, (_, i) =>
    view.getFloat32(start + length + 4 * i, true),
  );
  if (!params.every(Number.isFinite)) throw bad("a parameter is not finite");
  return new TernaryModel(tokens, { width, layers }, params);
}

function parseHeader(bytes: Uint8Array): z.infer<typeof header> {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw bad("its header is not JSON", error);
  }
  const parsed = header.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw bad(`${issue.path.join(".")}: ${issue.message}`, parsed.error);
}
