/**
 * The forward pass of arch bitnet and its relatives, written down naively in float64 from the
 * formulas: the oracle for files that llama.cpp does not load (I2_S, bitnet-b1.58). Only where the
 * model itself rounds does it round: activations in front of a ternary weight go to int8 per token.
 */
export interface NaiveModel {
  d_model: number;
  n_layers: number;
  n_heads: number;
  n_kv_heads: number;
  head_dim: number;
  d_ff: number;
  rope_theta: number;
  norm_eps: number;
  activation: "silu" | "relu2";
  /** Row-major weights by their GGUF name; those in `ternary` take rounded activations. */
  tensors: Map<string, Float32Array>;
  ternary: Set<string>;
}

const dot = (a: ArrayLike<number>, a_start: number, b: ArrayLike<number>, n: number) => {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += a[a_start + i]! * b[i]!;
  return sum;
};

function norm(x: Float64Array, weight: Float32Array, eps: number): Float64Array {
  const scale = 1 / Math.sqrt(dot(x, 0, x, x.length) / x.length + eps);
  return x.map((v, i) => v * scale * weight[i]!);
}

/** Nearest integer, ties to even. */
function nearest(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

function throughInt8(x: Float64Array): Float64Array {
  const step = Math.max(1e-5, ...x.map(Math.abs)) / 127;
  return x.map((v) => nearest(v / step) * step);
}

function rotate(x: Float64Array, head_dim: number, position: number, theta: number): void {
  const half = head_dim / 2;
  for (let at = 0; at < x.length; at += head_dim)
    for (let j = 0; j < half; j++) {
      const angle = position * theta ** (-j / half);
      const [a, b] = [x[at + j]!, x[at + j + half]!];
      x[at + j] = a * Math.cos(angle) - b * Math.sin(angle);
      x[at + j + half] = a * Math.sin(angle) + b * Math.cos(angle);
    }
}

/** Logits of every position, one array each. */
export function naiveLogits(model: NaiveModel, tokens: readonly number[]): Float64Array[] {
  const { d_model, head_dim, n_heads, n_kv_heads, norm_eps, tensors } = model;
  const tensor = (name: string) => tensors.get(name)!;
  const multiply = (name: string, x: Float64Array): Float64Array => {
    const weights = tensor(name);
    const input = model.ternary.has(name) ? throughInt8(x) : x;
    return Float64Array.from({ length: weights.length / x.length }, (_, r) =>
      dot(weights, r * x.length, input, x.length),
    );
  };
  const keys: Float64Array[][] = Array.from({ length: model.n_layers }, () => []);
  const values: Float64Array[][] = Array.from({ length: model.n_layers }, () => []);

  const attention = (x: Float64Array, layer: number, position: number): Float64Array => {
    const [q, k, v] = ["q", "k", "v"].map((n) => multiply(`blk.${layer}.attn_${n}.weight`, x));
    rotate(q!, head_dim, position, model.rope_theta);
    rotate(k!, head_dim, position, model.rope_theta);
    keys[layer]!.push(k!);
    values[layer]!.push(v!);
    const out = new Float64Array(n_heads * head_dim);
    for (let h = 0; h < n_heads; h++) {
      const from = Math.floor(h / (n_heads / n_kv_heads)) * head_dim;
      const query = q!.subarray(h * head_dim, (h + 1) * head_dim);
      const scores = keys[layer]!.map((key) => dot(key, from, query, head_dim) / head_dim ** 0.5);
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((sum, w) => sum + w, 0);
      for (const [at, weight] of weights.entries())
        for (let i = 0; i < head_dim; i++)
          out[h * head_dim + i]! += (weight / total) * values[layer]![at]![from + i]!;
    }
    return out;
  };
  const feedForward = (x: Float64Array, layer: number): Float64Array => {
    const gate = multiply(`blk.${layer}.ffn_gate.weight`, x);
    const up = multiply(`blk.${layer}.ffn_up.weight`, x);
    return gate.map((g, i) => {
      const active = model.activation === "silu" ? g / (1 + Math.exp(-g)) : Math.max(g, 0) ** 2;
      return active * up[i]!;
    });
  };
  return tokens.map((token, position) => {
    let x = Float64Array.from(
      tensor("token_embd.weight").subarray(token * d_model, (token + 1) * d_model),
    );
    for (let layer = 0; layer < model.n_layers; layer++) {
      const blk = `blk.${layer}.`;
      const normed = (name: string, y: Float64Array) => norm(y, tensor(blk + name), norm_eps);
      const a = attention(normed("attn_norm.weight", x), layer, position);
      const o = multiply(`${blk}attn_output.weight`, normed("attn_sub_norm.weight", a));
      x = x.map((v, i) => v + o[i]!);
      const f = feedForward(normed("ffn_norm.weight", x), layer);
      const down = multiply(`${blk}ffn_down.weight`, normed("ffn_sub_norm.weight", f));
      x = x.map((v, i) => v + down[i]!);
    }
    const last = norm(x, tensor("output_norm.weight"), norm_eps);
    return multiply(tensors.has("output.weight") ? "output.weight" : "token_embd.weight", last);
  });
}
