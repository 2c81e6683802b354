/**
 * The loss of a model whose linear layers are plain (`quant` "none"), in float64 and without any of
 * the library's arithmetic: the oracle of the float32 twin. Its gradient is taken by central
 * differences, which in float64 are good to about 1e-8.
 */
import { type ModelConfig, tensorInfos } from "../../src/model/config.ts";

/** Tensors by name, views of one float64 arena. */
type Weights = Map<string, Float64Array>;

const rmsnorm = (x: Float64Array, w: Float64Array, eps: number) => {
  const mean = x.reduce((s, v) => s + v * v, 0) / x.length;
  return x.map((v, i) => (v / Math.sqrt(mean + eps)) * w[i]!);
};

/** w (rows, x.length) x */
const times = (w: Float64Array, x: Float64Array) =>
  Float64Array.from({ length: w.length / x.length }, (_, r) => {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += w[r * x.length + i]! * x[i]!;
    return sum;
  });

const add = (a: Float64Array, b: Float64Array) => a.map((v, i) => v + b[i]!);

function rope(x: Float64Array, position: number, { head_dim, rope_theta }: ModelConfig) {
  const half = head_dim / 2;
  const out = x.slice();
  for (let head = 0; head < x.length; head += head_dim)
    for (let j = 0; j < half; j++) {
      const angle = position * rope_theta ** (-j / half);
      const a = x[head + j]!;
      const b = x[head + j + half]!;
      out[head + j] = a * Math.cos(angle) - b * Math.sin(angle);
      out[head + j + half] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  return out;
}

/** Causal attention of the last position of `keys`. */
function attend(q: Float64Array, keys: Float64Array[], values: Float64Array[], c: ModelConfig) {
  const out = new Float64Array(q.length);
  for (let head = 0; head < c.n_heads; head++) {
    const from = Math.floor(head / (c.n_heads / c.n_kv_heads)) * c.head_dim;
    const at = head * c.head_dim;
    const scores = keys.map((k) => {
      let dot = 0;
      for (let i = 0; i < c.head_dim; i++) dot += q[at + i]! * k[from + i]!;
      return dot / Math.sqrt(c.head_dim);
    });
    const most = Math.max(...scores);
    const total = scores.reduce((s, v) => s + Math.exp(v - most), 0);
    for (const [t, v] of values.entries())
      for (let i = 0; i < c.head_dim; i++)
        out[at + i]! += (Math.exp(scores[t]! - most) / total) * v[from + i]!;
  }
  return out;
}

/** The residual stream of one sequence after block `layer`. */
function block(c: ModelConfig, w: Weights, layer: number, xs: Float64Array[]): Float64Array[] {
  const of = (name: string) => w.get(`model.layers.${layer}.${name}.weight`)!;
  const subNorm = (x: Float64Array, name: string) =>
    c.variant === "bitnet" ? rmsnorm(x, of(name), c.norm_eps) : x;
  const normed = xs.map((x) => rmsnorm(x, of("input_layernorm"), c.norm_eps));
  const keys = normed.map((n, t) => rope(times(of("self_attn.k_proj"), n), t, c));
  const values = normed.map((n) => times(of("self_attn.v_proj"), n));
  return xs.map((x, t) => {
    const q = rope(times(of("self_attn.q_proj"), normed[t]!), t, c);
    const o = attend(q, keys.slice(0, t + 1), values.slice(0, t + 1), c);
    const mid = add(x, times(of("self_attn.o_proj"), subNorm(o, "self_attn.attn_sub_norm")));
    const n = rmsnorm(mid, of("post_attention_layernorm"), c.norm_eps);
    const up = times(of("mlp.up_proj"), n);
    const h = times(of("mlp.gate_proj"), n).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
    return add(mid, times(of("mlp.down_proj"), subNorm(h, "mlp.ffn_sub_norm")));
  });
}

/** Mean cross-entropy of sequences of `context` + 1 tokens; a target below 0 is not counted. */
export function plainLoss(
  config: ModelConfig,
  arena: Float64Array,
  tokens: Int32Array,
  context: number,
): number {
  const weights: Weights = new Map(
    tensorInfos(config).map((t) => [t.name, arena.subarray(t.offset, t.offset + t.rows * t.cols)]),
  );
  const embedding = weights.get("model.embed_tokens.weight")!;
  const d = config.d_model;
  let sum = 0;
  let counted = 0;
  for (let s = 0; s < tokens.length; s += context + 1) {
    const ids = tokens.subarray(s, s + context + 1);
    let xs: Float64Array[] = Array.from(ids.subarray(0, context), (id) =>
      embedding.slice(Math.max(0, id) * d, (Math.max(0, id) + 1) * d),
    );
    for (let layer = 0; layer < config.n_layers; layer++) xs = block(config, weights, layer, xs);
    for (const [t, x] of xs.entries()) {
      const target = ids[t + 1]!;
      if (target < 0) continue;
      const hidden = rmsnorm(x, weights.get("model.norm.weight")!, config.norm_eps);
      const logits = times(embedding, hidden);
      const most = logits.reduce((a, b) => Math.max(a, b));
      const total = logits.reduce((a, l) => a + Math.exp(l - most), 0);
      sum += Math.log(total) + most - logits[target]!;
      counted++;
    }
  }
  return sum / counted;
}
