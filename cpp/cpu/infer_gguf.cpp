// Building an inference model from a GGUF file of arch `llama` or `bitnet`. Every shape is checked against
// the metadata; a tensor or key that this library would have to ignore is refused by name instead.
// Inside, rotary pairs are (j, j + hd/2): the interleaved rows of arch `llama` are put back.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "gguf.hpp"
#include "infer_model.hpp"
#include "model.hpp"
#include "quants.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

class Loader {
 public:
  Loader(const GgufFile& file, uint32_t threads) : file_(file), threads_(threads) {}
  std::shared_ptr<Model> load();

 private:
  void read_config();
  Layer read_layer(uint32_t index);
  const GgufTensor* find(const std::string& name, bool required);
  const GgufTensor& shaped(const std::string& name, uint64_t rows, uint64_t cols);
  std::vector<float> vector_of(const std::string& name, uint32_t n);
  float extra_scale(const std::string& name);
  DenseMatrix dense(const GgufTensor& t, uint32_t heads);
  TernaryMatrix ternary(const GgufTensor& t, uint32_t heads);
  bool make_ternary(const DenseMatrix& dense, TernaryMatrix& out) const;
  Linear linear(const std::string& name, uint32_t rows, uint32_t cols, uint32_t heads = 0);

  const GgufFile& file_;
  uint32_t threads_;
  std::string arch_;
  mg_model_config config_{};
  std::set<std::string, std::less<>> used_;
};

/** Row of an interleaved file tensor that holds row `r` of the half-split one; heads = 0: the same. */
uint32_t file_row(uint32_t r, uint32_t rows, uint32_t heads) {
  if (heads == 0) return r;
  const uint32_t head_dim = rows / heads;
  const uint32_t within = r % head_dim;
  return r - within + 2 * (within % (head_dim / 2)) + within / (head_dim / 2);
}

void Loader::read_config() {
  arch_ = file_.text_or("general.architecture", "");
  if (arch_ != "llama" && arch_ != "bitnet")
    fail(MG_E_UNSUPPORTED, "GGUF: architecture \"%.64s\" is not one of llama, bitnet", arch_.c_str());
  const auto key = [&](const char* name) { return arch_ + "." + name; };
  mg_model_config& c = config_;
  c.variant = arch_ == "bitnet" ? 1 : 0;
  c.d_model = file_.u32(key("embedding_length"));
  c.n_layers = file_.u32(key("block_count"));
  c.d_ff = file_.u32(key("feed_forward_length"));
  c.n_heads = file_.u32(key("attention.head_count"));
  c.n_kv_heads = file_.u32_or(key("attention.head_count_kv"), c.n_heads);
  c.context = std::min(file_.u32(key("context_length")), 1u << 17);
  require(c.n_heads > 0, MG_E_FORMAT, "GGUF: attention.head_count is 0");
  c.head_dim = file_.u32_or(key("attention.key_length"), c.d_model / c.n_heads);
  c.rope_theta = file_.f32_or(key("rope.freq_base"), 10000.0f);
  c.norm_eps = file_.f32_or(key("attention.layer_norm_rms_epsilon"), 1e-5f);
  const GgufTensor* embedding = find("token_embd.weight", true);
  require(embedding->rows < (1u << 31), MG_E_FORMAT, "GGUF: vocabulary beyond 2^31");
  c.vocab_size = static_cast<uint32_t>(embedding->rows);
  require(file_.u32_or(key("vocab_size"), c.vocab_size) == c.vocab_size, MG_E_FORMAT,
          "GGUF: vocab_size differs from the rows of token_embd.weight");
  require(file_.u32_or(key("attention.value_length"), c.head_dim) == c.head_dim &&
              file_.u32_or(key("rope.dimension_count"), c.head_dim) == c.head_dim,
          MG_E_UNSUPPORTED, "GGUF: value_length or rope.dimension_count differs from the head dimension");
  const std::string_view scaling = file_.text_or(key("rope.scaling.type"), "none");
  require(scaling == "none" || (scaling == "linear" && file_.f32_or(key("rope.scaling.factor"), 1.0f) == 1.0f),
          MG_E_UNSUPPORTED, "GGUF: scaled RoPE is not supported");
  require(file_.u32_or(key("expert_count"), 0) == 0, MG_E_UNSUPPORTED, "GGUF: experts are not supported");
  try {
    check_config(&c);
  } catch (const Error& e) {
    fail(MG_E_FORMAT, "GGUF: %s", e.message.c_str());
  }
}

const GgufTensor* Loader::find(const std::string& name, bool required) {
  const GgufTensor* t = file_.tensor(name);
  if (t == nullptr && required) fail(MG_E_FORMAT, "GGUF: tensor %s is missing", name.c_str());
  if (t != nullptr) used_.insert(name);
  return t;
}

const GgufTensor& Loader::shaped(const std::string& name, uint64_t rows, uint64_t cols) {
  const GgufTensor& t = *find(name, true);
  if (t.rows != rows || t.cols != cols)
    fail(MG_E_FORMAT, "GGUF: tensor %s is %llu x %llu, not %llu x %llu", name.c_str(),
         static_cast<unsigned long long>(t.rows), static_cast<unsigned long long>(t.cols),
         static_cast<unsigned long long>(rows), static_cast<unsigned long long>(cols));
  return t;
}

void check_finite(const std::vector<float>& x, std::string_view name) {
  if (!std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); }))
    fail(MG_E_NUMERIC, "GGUF: tensor %.*s holds NaN or infinity", static_cast<int>(name.size()), name.data());
}

std::vector<float> Loader::vector_of(const std::string& name, uint32_t n) {
  const GgufTensor& t = shaped(name, 1, n);
  require(t.type == MG_TYPE_F32, MG_E_UNSUPPORTED, "GGUF: a norm vector that is not F32");
  std::vector<float> out(n);
  std::memcpy(out.data(), t.data, uint64_t{n} * 4);
  check_finite(out, name);
  return out;
}

/** The optional F32[1] factor beside a weight of arch bitnet. */
float Loader::extra_scale(const std::string& name) {
  if (find(name, false) == nullptr) return 1.0f;
  return vector_of(name, 1)[0];
}

DenseMatrix Loader::dense(const GgufTensor& t, uint32_t heads) {
  DenseMatrix m;
  m.rows = static_cast<uint32_t>(t.rows);
  m.cols = static_cast<uint32_t>(t.cols);
  m.is_q6k = t.type == MG_TYPE_Q6_K;
  const uint64_t row_bytes = t.data_bytes / t.rows;
  if (t.type == MG_TYPE_F16) m.half.resize(t.rows * t.cols);
  else m.single.resize(t.rows * t.cols);
  parallel_for(threads_, m.rows, [&](int64_t begin, int64_t end, uint32_t) {
    for (auto r = static_cast<uint32_t>(begin); r < static_cast<uint32_t>(end); r++) {
      const uint8_t* in = t.data + uint64_t{file_row(r, m.rows, heads)} * row_bytes;
      const uint64_t at = uint64_t{r} * m.cols;
      bool finite = true;
      if (t.type == MG_TYPE_F16) {
        std::memcpy(m.half.data() + at, in, row_bytes);
        finite = std::all_of(m.half.begin() + static_cast<int64_t>(at),
                             m.half.begin() + static_cast<int64_t>(at + m.cols),
                             [](uint16_t h) { return (h & 0x7c00u) != 0x7c00u; });
      } else {
        if (t.type == MG_TYPE_F32) std::memcpy(m.single.data() + at, in, row_bytes);
        else for (uint32_t b = 0; b < m.cols / 256; b++) unpack_q6k_block(in + 210 * b, m.single.data() + at + 256 * b);
        finite = std::all_of(m.single.begin() + static_cast<int64_t>(at),
                             m.single.begin() + static_cast<int64_t>(at + m.cols),
                             [](float v) { return std::isfinite(v); });
      }
      if (!finite)
        fail(MG_E_NUMERIC, "GGUF: tensor %.*s holds NaN or infinity", static_cast<int>(t.name.size()), t.name.data());
    }
  });
  return m;
}

/** One scale where all blocks agree (a block of zeros may have any), else one per block. */
void settle_scales(TernaryMatrix& m, std::vector<float>& scales, const std::vector<uint8_t>& zero) {
  float common = 0;
  bool uniform = true;
  for (size_t i = 0; i < scales.size(); i++) {
    if (zero[i] != 0) continue;
    if (common == 0) common = scales[i];
    uniform = uniform && scales[i] == common;
  }
  m.scale = common;
  if (!uniform) m.block_scales = std::move(scales);
}

TernaryMatrix Loader::ternary(const GgufTensor& t, uint32_t heads) {
  TernaryMatrix m = empty_ternary(static_cast<uint32_t>(t.rows), static_cast<uint32_t>(t.cols));
  m.is_tq = t.type != MG_TYPE_I2_S;
  const BlockLayout layout = block_layout(t.type);
  const uint32_t per_row = m.cols / layout.elements;
  std::vector<float> scales(m.is_tq ? uint64_t{m.rows} * per_row : 0);
  std::vector<uint8_t> zero(scales.size());
  parallel_for(threads_, m.rows, [&](int64_t begin, int64_t end, uint32_t) {
    std::vector<int8_t> trits(m.cols);
    for (auto r = static_cast<uint32_t>(begin); r < static_cast<uint32_t>(end); r++) {
      const uint8_t* in = t.data + uint64_t{file_row(r, m.rows, heads)} * per_row * layout.bytes;
      bool valid = true;
      for (uint32_t b = 0; b < per_row; b++, in += layout.bytes) {
        int8_t* out = trits.data() + uint64_t{b} * layout.elements;
        uint16_t half = 0;
        if (t.type == MG_TYPE_TQ2_0) valid = unpack_tq2_block(in, out, &half) && valid;
        else if (t.type == MG_TYPE_TQ1_0) valid = unpack_tq1_block(in, out, &half) && valid;
        else valid = unpack_i2s_block(in, out) && valid;
        if (!m.is_tq) continue;
        valid = valid && (half & 0x7c00u) != 0x7c00u;
        if (half << 1 == 0) std::fill(out, out + 256, int8_t{0});  // a scale of 0: zeros, whatever the codes
        const uint64_t at = uint64_t{r} * per_row + b;
        zero[at] = std::all_of(out, out + 256, [](int8_t v) { return v == 0; });
        scales[at] = from_half(half);
      }
      if (!valid)
        fail(MG_E_FORMAT, "GGUF: tensor %.*s, row %u: a code of 3 or a scale that is not finite",
             static_cast<int>(t.name.size()), t.name.data(), r);
      set_row_codes(m, r, trits.data());
    }
  });
  if (m.is_tq) {
    settle_scales(m, scales, zero);
  } else {
    std::memcpy(&m.scale, t.data + uint64_t{m.rows} * per_row * 32, 4);
    if (!std::isfinite(m.scale))
      fail(MG_E_NUMERIC, "GGUF: tensor %.*s has no finite scale", static_cast<int>(t.name.size()), t.name.data());
  }
  return m;
}

/** True, and fills `out`, where every value is 0 or plus or minus one number. */
bool Loader::make_ternary(const DenseMatrix& m, TernaryMatrix& out) const {
  const auto at = [&](uint64_t i) { return m.half.empty() ? m.single[i] : from_half(m.half[i]); };
  const uint64_t n = uint64_t{m.rows} * m.cols;
  float scale = 0;
  for (uint64_t i = 0; i < n; i++) {
    const float magnitude = std::fabs(at(i));
    if (magnitude == 0) continue;
    if (scale == 0) scale = magnitude;
    else if (magnitude != scale) return false;
  }
  out = empty_ternary(m.rows, m.cols);
  out.scale = scale;
  std::vector<int8_t> trits(m.cols);
  for (uint32_t r = 0; r < m.rows; r++) {
    for (uint32_t i = 0; i < m.cols; i++) {
      const float v = at(uint64_t{r} * m.cols + i);
      trits[i] = static_cast<int8_t>((v > 0) - (v < 0));
    }
    set_row_codes(out, r, trits.data());
  }
  return true;
}

Linear Loader::linear(const std::string& name, uint32_t rows, uint32_t cols, uint32_t heads) {
  const GgufTensor& t = shaped(name + ".weight", rows, cols);
  Linear out;
  if (t.type == MG_TYPE_TQ1_0 || t.type == MG_TYPE_TQ2_0 || t.type == MG_TYPE_I2_S) {
    out.ternary = ternary(t, heads);
  } else {
    out.dense = dense(t, heads);
    TernaryMatrix packed;
    if (make_ternary(out.dense, packed)) out.ternary = std::move(packed);
  }
  const float factor = config_.variant == 1 ? extra_scale(name + ".scale") : 1.0f;
  if (factor != 1.0f) {
    if (out.ternary.rows == 0 || !out.dense.empty())
      fail(MG_E_UNSUPPORTED, "GGUF: %s.scale beside a float weight", name.c_str());
    out.ternary.scale *= factor;
    for (float& s : out.ternary.block_scales) s *= factor;
  }
  return out;
}

Layer Loader::read_layer(uint32_t index) {
  const mg_model_config& c = config_;
  const std::string blk = "blk." + std::to_string(index) + ".";
  const uint32_t q_rows = c.n_heads * c.head_dim;
  const uint32_t kv_rows = c.n_kv_heads * c.head_dim;
  const bool interleaved = c.variant == 0;
  Layer l;
  l.attn_norm = vector_of(blk + "attn_norm.weight", c.d_model);
  l.ffn_norm = vector_of(blk + "ffn_norm.weight", c.d_model);
  if (c.variant == 1) {
    l.attn_sub_norm = vector_of(blk + "attn_sub_norm.weight", q_rows);
    l.ffn_sub_norm = vector_of(blk + "ffn_sub_norm.weight", c.d_ff);
  }
  l.q = linear(blk + "attn_q", q_rows, c.d_model, interleaved ? c.n_heads : 0);
  l.k = linear(blk + "attn_k", kv_rows, c.d_model, interleaved ? c.n_kv_heads : 0);
  l.v = linear(blk + "attn_v", kv_rows, c.d_model);
  l.o = linear(blk + "attn_output", c.d_model, q_rows);
  l.gate = linear(blk + "ffn_gate", c.d_ff, c.d_model);
  l.up = linear(blk + "ffn_up", c.d_ff, c.d_model);
  l.down = linear(blk + "ffn_down", c.d_model, c.d_ff);
  return l;
}

std::shared_ptr<Model> Loader::load() {
  read_config();
  auto model = std::make_shared<Model>();
  model->config = config_;
  model->threads = threads_;
  model->from_gguf = true;
  const auto float_matrix = [&](const char* name) {
    const GgufTensor& t = shaped(name, config_.vocab_size, config_.d_model);
    require(t.type == MG_TYPE_F16 || t.type == MG_TYPE_F32 || t.type == MG_TYPE_Q6_K, MG_E_UNSUPPORTED,
            "GGUF: embedding and head must be F16, F32 or Q6_K");
    return dense(t, 0);
  };
  model->embedding = float_matrix("token_embd.weight");
  if (config_.variant == 0 && file_.tensor("output.weight") != nullptr) {
    used_.insert("output.weight");
    model->head = float_matrix("output.weight");
  }
  model->norm = vector_of("output_norm.weight", config_.d_model);
  for (uint32_t i = 0; i < config_.n_layers; i++) model->layers.push_back(read_layer(i));
  for (const GgufTensor& t : file_.tensors)
    if (!used_.contains(t.name))
      fail(MG_E_UNSUPPORTED, "GGUF: tensor %.*s is not one that arch %s is known to have",
           static_cast<int>(t.name.size()), t.name.data(), arch_.c_str());
  finish_model(*model);
  return model;
}

}  // namespace

std::shared_ptr<Model> model_from_gguf(const GgufFile& file, uint32_t threads) {
  return Loader(file, threads).load();
}

}  // namespace magnet
