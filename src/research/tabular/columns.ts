/**
 * What a member sees: some features of the table, the pipeline's class, the context, and products
 * and ratios of pairs, as one matrix for the native learners. A set of columns is plain data by
 * name, so that a saved model builds the same matrix from another table.
 */
import type { LearnerMatrix } from "../../native/learner-types.ts";
import { toLearnerMatrix } from "../table/matrix.ts";
import type { Part } from "./part.ts";

/** One column of a member's matrix; features by their place in the table. */
export type ColumnSpec =
  | { readonly kind: "feature"; readonly feature: number }
  | { readonly kind: "pipeline" }
  | { readonly kind: "context" }
  | {
      readonly kind: "product" | "ratio" | "difference";
      readonly feature: number;
      readonly other: number;
    };

/** Short text of a column set: equal sets have equal keys. */
export const columnsKey = (specs: readonly ColumnSpec[]): string =>
  specs
    .map((s) => {
      if (s.kind === "feature") return String(s.feature);
      if (s.kind === "pipeline" || s.kind === "context") return s.kind;
      return `${s.kind}(${s.feature},${s.other})`;
    })
    .join(" ");

/** For people: "income", "income * age", "pipeline's class". */
export function columnName(spec: ColumnSpec, names: readonly string[]): string {
  if (spec.kind === "feature") return names[spec.feature]!;
  if (spec.kind === "pipeline") return "(pipeline)";
  if (spec.kind === "context") return "(context)";
  const sign = { product: "*", ratio: "/", difference: "-" }[spec.kind];
  return `${names[spec.feature]} ${sign} ${names[spec.other]}`;
}

const FLOAT32_MAX = 3.4028234663852886e38;

/** The part's features as numbers, made once; codes of categories, NaN where missing. */
export class FeatureMatrix {
  readonly base: LearnerMatrix;
  private readonly part: Part;

  constructor(part: Part) {
    this.part = part;
    this.base = toLearnerMatrix(part.features);
  }

  /** The matrix of a column set. `hidden`: rows whose context is unknown to the model. */
  build(specs: readonly ColumnSpec[]): LearnerMatrix {
    const n = this.part.rows;
    const values = new Float32Array(specs.length * n);
    const levels = new Int32Array(specs.length);
    specs.forEach((spec, c) => {
      const out = values.subarray(c * n, (c + 1) * n);
      if (spec.kind === "feature") {
        out.set(this.column(spec.feature));
        levels[c] = this.base.levels[spec.feature]!;
      } else if (spec.kind === "pipeline" || spec.kind === "context") {
        const codes = this.part[spec.kind];
        if (codes === null) out.fill(Number.NaN);
        else for (let i = 0; i < n; i++) out[i] = codes[i]! < 0 ? Number.NaN : codes[i]!;
        levels[c] = spec.kind === "pipeline" ? this.part.classes : this.part.contexts;
      } else combine(spec.kind, this.column(spec.feature), this.column(spec.other), out);
    });
    return { rows: n, columns: specs.length, values, levels };
  }

  private column(feature: number): Float32Array {
    const n = this.base.rows;
    return this.base.values.subarray(feature * n, (feature + 1) * n);
  }
}

/** NaN where either is missing or the ratio's lower part is 0; held within float32. */
function combine(
  kind: "product" | "ratio" | "difference",
  a: Float32Array,
  b: Float32Array,
  out: Float32Array,
): void {
  for (let i = 0; i < out.length; i++) {
    const x = a[i]!;
    const y = b[i]!;
    let value = kind === "product" ? x * y : kind === "difference" ? x - y : x / y;
    if (kind === "ratio" && y === 0) value = Number.NaN;
    out[i] = Math.max(-FLOAT32_MAX, Math.min(FLOAT32_MAX, value));
  }
}
