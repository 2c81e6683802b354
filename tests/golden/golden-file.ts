/**
 * A golden file (tests/golden/bitnet/README.md, "Container"), read through the product's own reader, and
 * the comparison of tensors by relative L2.
 */
import path from "node:path";
import { type ModelConfig, parseModelConfig, tensorInfos } from "../../src/model/config.ts";
import { SafetensorsFile } from "../../src/model/safetensors.ts";

type Values = Float32Array | Int32Array;

export class GoldenFile {
  private constructor(
    readonly metadata: Record<string, string>,
    private readonly tensors: Map<string, { shape: readonly number[]; values: Values }>,
  ) {}

  static async open(name: string): Promise<GoldenFile> {
    const file = await SafetensorsFile.open(
      path.join(import.meta.dir, "bitnet", `${name}.safetensors`),
    );
    const tensors = new Map<string, { shape: readonly number[]; values: Values }>();
    for (const { name: tensor, dtype, shape } of file.tensors) {
      const values = dtype === "I32" ? await file.integers(tensor) : await file.floats(tensor);
      tensors.set(tensor, { shape, values });
    }
    await file.close();
    return new GoldenFile(file.metadata, tensors);
  }

  #find(name: string) {
    const found = this.tensors.get(name);
    if (!found) throw new Error(`golden file has no tensor ${name}`);
    return found;
  }
  /** A copy of an F32 tensor. */
  f32(name: string): Float32Array {
    return new Float32Array(this.#find(name).values);
  }
  i32(name: string): Int32Array {
    return new Int32Array(this.#find(name).values);
  }
  shape(name: string): number[] {
    return [...this.#find(name).shape];
  }
  json<T>(key: string): T {
    return JSON.parse(this.metadata[key]!) as T;
  }

  /** The model of a `train` or `diloco` file. */
  config(): ModelConfig {
    const c = this.json<Record<string, number | string>>("config");
    return parseModelConfig({
      variant: c.variant === "subln" ? "bitnet" : "llama",
      vocab_size: c.vocab,
      d_model: c.dim,
      n_layers: c.n_layers,
      n_heads: c.n_heads,
      n_kv_heads: c.n_kv_heads,
      head_dim: c.head_dim,
      d_ff: c.ffn_dim,
      context: c.ctx,
      rope_theta: c.rope_theta,
      norm_eps: c.rms_eps,
    });
  }

  /** All tensors below `prefix`, as one arena. */
  arena(prefix: string): Float32Array {
    const infos = tensorInfos(this.config());
    const last = infos.at(-1)!;
    const out = new Float32Array(last.offset + last.rows * last.cols);
    for (const t of infos) out.set(this.f32(`${prefix}/${t.name}`), t.offset);
    return out;
  }
}

/** ||a - b|| / ||b||, in float64. */
export function relativeL2(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`lengths differ: ${a.length} and ${b.length}`);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(difference) / Math.sqrt(norm);
}

/** The worst tensor of two arenas: its name and relative L2 distance. */
export function worstTensor(
  config: ModelConfig,
  actual: Float32Array,
  expected: Float32Array,
): { name: string; error: number } {
  let worst = { name: "none", error: 0 };
  for (const t of tensorInfos(config)) {
    const range = [t.offset, t.offset + t.rows * t.cols] as const;
    const error = relativeL2(actual.subarray(...range), expected.subarray(...range));
    if (!(error <= worst.error)) worst = { name: t.name, error };
  }
  return worst;
}

/** a - b, element by element. */
export const difference = (a: Float32Array, b: Float32Array): Float32Array =>
  a.map((x, i) => x - b[i]!);
