// Building an inference model from a GGUF file of arch `llama`, `bitnet` (sub-norms) or
// `bitnet-b1.58`, in older files `bitnet-25` (the same with ReLU^2, bitnet.cpp only). Every shape is
// checked against the metadata; a tensor or key that this library would have to ignore is refused by
// name instead. Inside, rotary pairs are (j, j + hd/2): the interleaved rows of arch `llama` are put
// back.
#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "gguf.hpp"
#include "infer_gguf.hpp"
#include "model.hpp"
#include "quants.hpp"

namespace magnet {
namespace {

class Loader {
 public:
  Loader(const GgufFile& file, uint32_t threads, uint32_t head)
      : file_(file), threads_(threads), head_(head) {}
  std::shared_ptr<Model> load();

 private:
  void read_config();
  Layer read_layer(uint32_t index);
  const GgufTensor* find(const std::string& name, bool required);
  const GgufTensor& shaped(const std::string& name, uint64_t rows, uint64_t cols);
  std::vector<float> vector_of(const std::string& name, uint32_t n);
  float extra_scale(const std::string& name);
  Linear linear(const std::string& name, uint32_t rows, uint32_t cols, uint32_t heads = 0);
  DenseMatrix vocabulary_matrix(const char* name, bool is_head, Model& model);

  const GgufFile& file_;
  uint32_t threads_;
  uint32_t head_;
  std::string arch_;
  bool relu_squared_ = false;
  std::optional<WeightMemory> memory_;
  mg_model_config config_{};
  std::set<std::string, std::less<>> used_;
};

void Loader::read_config() {
  arch_ = file_.text_or("general.architecture", "");
  relu_squared_ = arch_ == "bitnet-b1.58" || arch_ == "bitnet-25";
  if (arch_ != "llama" && arch_ != "bitnet" && !relu_squared_)
    fail(MG_E_UNSUPPORTED,
         "GGUF: architecture \"%.64s\" is not one of llama, bitnet, bitnet-b1.58, bitnet-25",
         arch_.c_str());
  const auto key = [&](const char* name) { return arch_ + "." + name; };
  mg_model_config& c = config_;
  c.variant = arch_ == "llama" ? 0 : 1;
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
          MG_E_UNSUPPORTED,
          "GGUF: value_length or rope.dimension_count differs from the head dimension");
  const std::string_view scaling = file_.text_or(key("rope.scaling.type"), "none");
  require(scaling == "none" ||
              (scaling == "linear" && file_.f32_or(key("rope.scaling.factor"), 1.0f) == 1.0f),
          MG_E_UNSUPPORTED, "GGUF: scaled RoPE is not supported");
  require(file_.u32_or(key("expert_count"), 0) == 0, MG_E_UNSUPPORTED,
          "GGUF: experts are not supported");
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

std::vector<float> Loader::vector_of(const std::string& name, uint32_t n) {
  const GgufTensor& t = shaped(name, 1, n);
  if (t.type != MG_TYPE_F32 && t.type != MG_TYPE_F16 && t.type != MG_TYPE_BF16)
    fail(MG_E_UNSUPPORTED, "GGUF: tensor %s is %s; vectors are F32, F16 or BF16", name.c_str(),
         type_name(t.type));
  DenseMatrix row = empty_dense(t.type, 1, n);
  file_.bytes.read(t.offset, t.data_bytes, row.data);
  if (!dense_rows_finite(row, 0, 1))
    fail(MG_E_NUMERIC, "GGUF: tensor %s holds NaN or infinity", name.c_str());
  std::vector<float> out(n);
  dense_row(row, 0, out.data());
  return out;
}

/** The optional F32[1] factor beside a weight of arch bitnet. */
float Loader::extra_scale(const std::string& name) {
  if (find(name, false) == nullptr) return 1.0f;
  return vector_of(name, 1)[0];
}

Linear Loader::linear(const std::string& name, uint32_t rows, uint32_t cols, uint32_t heads) {
  const GgufTensor& t = shaped(name + ".weight", rows, cols);
  Linear out;
  if (is_ternary_type(t.type)) {
    out.ternary = gguf_ternary(file_, t, heads, threads_, *memory_);
  } else {
    out.dense = gguf_dense(file_, t, heads, threads_, *memory_);
    PackedTernary packed;
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

/** Embedding or head. The head is packed: as its file has it where that is Q6_K (then the panels are
 * all that is kept), or rounded. */
DenseMatrix Loader::vocabulary_matrix(const char* name, bool is_head, Model& model) {
  const GgufTensor& t = shaped(name, config_.vocab_size, config_.d_model);
  if (!is_dense_type(t.type))
    fail(MG_E_UNSUPPORTED, "GGUF: tensor %s is %s, which embedding and head cannot be", name,
         type_name(t.type));
  if (is_head && head_ == MG_HEAD_FILE && t.type == MG_TYPE_Q6_K) {
    model.packed_head = gguf_head(file_, t, threads_, *memory_);
    return dense_view(t.type, config_.vocab_size, config_.d_model);
  }
  DenseMatrix matrix = gguf_dense(file_, t, 0, threads_, *memory_);
  if (is_head && head_ != MG_HEAD_FILE) {
    const HeadFormat format = head_ == MG_HEAD_INT8 ? HeadFormat::int8 : HeadFormat::int4;
    model.packed_head = round_head(matrix, format, threads_);
  }
  return matrix;
}

std::shared_ptr<Model> Loader::load() {
  read_config();
  uint64_t bytes = 0;
  for (const GgufTensor& t : file_.tensors) bytes += gguf_weight_bytes(t);
  memory_.emplace(bytes);
  auto model = std::make_shared<Model>();
  model->config = config_;
  model->threads = threads_;
  model->from_gguf = true;
  if (relu_squared_) model->activation = Activation::relu_squared;
  // llama.cpp's arch bitnet does not read a head of its own.
  const bool is_tied = arch_ == "bitnet" || find("output.weight", false) == nullptr;
  model->embedding = vocabulary_matrix("token_embd.weight", is_tied, *model);
  if (!is_tied) model->head = vocabulary_matrix("output.weight", true, *model);
  model->norm = vector_of("output_norm.weight", config_.d_model);
  for (uint32_t i = 0; i < config_.n_layers; i++) model->layers.push_back(read_layer(i));
  // Nothing in the file says so: a model is a plain one if its first weight is not ternary.
  model->config.quantization = model->layers[0].q.ternary.rows == 0 ? 1 : 0;
  for (const GgufTensor& t : file_.tensors)
    if (!used_.contains(t.name))
      fail(MG_E_UNSUPPORTED, "GGUF: tensor %.*s is not one that arch %s is known to have",
           static_cast<int>(t.name.size()), t.name.data(), arch_.c_str());
  finish_model(*model);
  return model;
}

}  // namespace

std::shared_ptr<Model> model_from_gguf(const GgufFile& file, uint32_t threads, uint32_t head) {
  return Loader(file, threads, head).load();
}

}  // namespace magnet
