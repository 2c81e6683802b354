// Valid GGUF files for the fuzz driver; see fuzz_gguf_files.hpp.
#include "fuzz_gguf_files.hpp"

#include <bit>
#include <cstring>

#include "../include/magnet.h"

namespace fuzz {
namespace {

template <class T>
void append(Bytes& out, T value) {
  out.resize(out.size() + sizeof(T));
  std::memcpy(out.data() + out.size() - sizeof(T), &value, sizeof(T));
}
void append_raw(Bytes& out, const std::string& text) {
  out.insert(out.end(), text.begin(), text.end());
}
void append_text(Bytes& out, const std::string& text) {
  append<uint64_t>(out, text.size());
  append_raw(out, text);
}
uint64_t padded(uint64_t n, uint64_t alignment) {
  return alignment == 0 ? n : (n + alignment - 1) / alignment * alignment;
}

}  // namespace

Bytes File::bytes() const {
  Bytes out;
  append_raw(out, "GGUF");
  append(out, version);
  append<uint64_t>(out, stated_tensors.value_or(tensors.size()));
  append<uint64_t>(out, stated_entries.value_or(entries.size()));
  for (const Entry& e : entries) {
    append<uint64_t>(out, e.stated_key_bytes.value_or(e.key.size()));
    append_raw(out, e.key);
    append(out, e.type);
    out.insert(out.end(), e.value.begin(), e.value.end());
  }
  uint64_t offset = 0;
  for (const TensorPart& t : tensors) {
    append<uint64_t>(out, t.stated_name_bytes.value_or(t.name.size()));
    append_raw(out, t.name);
    append<uint32_t>(out, t.stated_dims.value_or(static_cast<uint32_t>(t.dims.size())));
    for (const uint64_t extent : t.dims) append(out, extent);
    append(out, t.type);
    append<uint64_t>(out, t.stated_offset.value_or(offset));
    offset += padded(t.data.size(), alignment);
  }
  out.resize(padded(out.size(), alignment));
  for (const TensorPart& t : tensors) {
    const size_t at = out.size();
    out.resize(at + padded(t.data.size(), alignment));
    if (!t.data.empty()) std::memcpy(out.data() + at, t.data.data(), t.data.size());
  }
  out.resize(out.size() + extra_bytes);
  return out;
}

Entry u32_entry(const std::string& key, uint32_t value) {
  Entry e{key, 4, {}, {}};
  append(e.value, value);
  return e;
}
Entry f32_entry(const std::string& key, float value) {
  Entry e{key, 6, {}, {}};
  append(e.value, value);
  return e;
}
Entry text_entry(const std::string& key, const std::string& value) {
  Entry e{key, 8, {}, {}};
  append_text(e.value, value);
  return e;
}
Entry texts_entry(const std::string& key, const std::vector<std::string>& values) {
  Entry e{key, 9, {}, {}};
  append<uint32_t>(e.value, 8);
  append<uint64_t>(e.value, values.size());
  for (const std::string& value : values) append_text(e.value, value);
  return e;
}
Entry i32s_entry(const std::string& key, const std::vector<int32_t>& values) {
  Entry e{key, 9, {}, {}};
  append<uint32_t>(e.value, 5);
  append<uint64_t>(e.value, values.size());
  for (const int32_t value : values) append(e.value, value);
  return e;
}

namespace {

struct Blocks {
  uint32_t elements, bytes;
  int scale, other_scale;  // places of f16 scales, -1: none
};
Blocks blocks_of(uint32_t type) {
  switch (type) {
    case MG_TYPE_F32: return {1, 4, -1, -1};
    case MG_TYPE_Q8_0: return {32, 34, 0, -1};
    case MG_TYPE_Q4_0: return {32, 18, 0, -1};
    case MG_TYPE_Q4_K: return {256, 144, 0, 2};
    case MG_TYPE_Q6_K: return {256, 210, 208, -1};
    case MG_TYPE_TQ1_0: return {256, 54, 52, -1};
    case MG_TYPE_TQ2_0: return {256, 66, 64, -1};
    case MG_TYPE_I2_S: return {128, 32, -1, -1};
    default: return {1, 2, -1, -1};
  }
}

void put_half(Bytes& data, uint64_t at, uint16_t bits) { std::memcpy(&data[at], &bits, 2); }

Bytes float_data(Random& random, uint32_t type, uint64_t n) {
  const uint64_t size = type == MG_TYPE_F32 ? 4 : 2;
  Bytes out(n * size);
  const bool ternary = random.one_in(2);
  const uint64_t first = random.bits();
  for (uint64_t i = 0; i < n; i++) {
    const auto draw = static_cast<int>((first + i * 0x9e3779b1u) >> 7 & 0x7ff);
    float value = static_cast<float>(draw - 1000) / 8192.0f;
    if (ternary) value = static_cast<float>(draw % 3 - 1) * 0.125f;
    auto bits = std::bit_cast<uint32_t>(value);
    if (type == MG_TYPE_BF16) bits >>= 16;
    if (type == MG_TYPE_F16 && value != 0)  // between 2^-13 and 1
      bits = (bits >> 16 & 0x8000u) | ((bits & 0x7fffffffu) - 0x38000000u) >> 13;
    std::memcpy(out.data() + size * i, &bits, size);
  }
  return out;
}

}  // namespace

Bytes valid_data(Random& random, uint32_t type, uint64_t rows, uint64_t cols) {
  const Blocks b = blocks_of(type);
  if (b.elements == 1) return float_data(random, type, rows * cols);
  const uint64_t blocks = rows * cols / b.elements;
  Bytes out(blocks * b.bytes);
  const uint64_t first = random.bits();
  for (size_t i = 0; i < out.size(); i++) out[i] = static_cast<uint8_t>((first + i * 0x9e37) >> 5);
  if (type == MG_TYPE_TQ2_0 || type == MG_TYPE_I2_S)  // no code of 3
    for (uint8_t& byte : out) byte = static_cast<uint8_t>(byte & ~((byte & 0x55) << 1));
  for (uint64_t i = 0; i < blocks; i++) {
    if (b.scale >= 0) put_half(out, i * b.bytes + static_cast<uint32_t>(b.scale), 0x1800);
    if (b.other_scale >= 0) put_half(out, i * b.bytes + static_cast<uint32_t>(b.other_scale), 0x18);
  }
  if (type == MG_TYPE_I2_S) {
    append(out, 0.125f);
    out.resize(blocks * b.bytes + 32);
  }
  return out;
}

namespace {

/** The character of GPT-2's alphabet for a byte, as UTF-8. */
std::string character(unsigned byte) {
  unsigned code = byte;
  if (!((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174))
    code = 0x100 + (byte <= 32 ? byte : byte <= 160 ? byte - 127 + 33 : 67);
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
}

void add_tokenizer(File& file) {
  std::vector<std::string> tokens;
  for (unsigned byte = 0; byte < 256; byte++) tokens.push_back(character(byte));
  const std::vector<std::string> merges{"a b", "ab c", "\xc4\xa0 t", "e r"};
  for (const std::string& merge : merges) {
    const size_t space = merge.find(' ');
    tokens.push_back(merge.substr(0, space) + merge.substr(space + 1));
  }
  tokens.insert(tokens.end(), {"<|begin_of_text|>", "<|end_of_text|>", "[PAD1]"});
  std::vector<int32_t> types(tokens.size(), 1);
  types[260] = types[261] = 3;
  types[262] = 5;
  file.entries.push_back(text_entry("tokenizer.ggml.model", "gpt2"));
  file.entries.push_back(text_entry("tokenizer.ggml.pre", "llama-bpe"));
  file.entries.push_back(texts_entry("tokenizer.ggml.tokens", tokens));
  file.entries.push_back(i32s_entry("tokenizer.ggml.token_type", types));
  file.entries.push_back(texts_entry("tokenizer.ggml.merges", merges));
  file.entries.push_back(u32_entry("tokenizer.ggml.bos_token_id", 260));
}
constexpr uint32_t VOCABULARY = 263;

/** A type that rows of so many columns can have. */
uint32_t some_type(Random& random, uint64_t cols, bool with_ternary) {
  std::vector<uint32_t> types{MG_TYPE_F32, MG_TYPE_F16, MG_TYPE_BF16, MG_TYPE_Q8_0, MG_TYPE_Q4_0};
  if (cols % 256 == 0) types.insert(types.end(), {MG_TYPE_Q4_K, MG_TYPE_Q6_K});
  if (with_ternary && cols % 128 == 0)
    types.insert(types.end(), {MG_TYPE_I2_S, MG_TYPE_I2_S, MG_TYPE_I2_S});
  if (with_ternary && cols % 256 == 0)
    types.insert(types.end(), {MG_TYPE_TQ1_0, MG_TYPE_TQ2_0, MG_TYPE_TQ1_0, MG_TYPE_TQ2_0});
  return random.of(types);
}

struct Shape {
  std::string arch;
  uint32_t width, ff, heads, kv_heads, head_dim, layers;
};

void add_matrix(File& file, Random& random, const std::string& name, uint64_t rows, uint64_t cols,
                bool with_ternary = true) {
  const uint32_t type = some_type(random, cols, with_ternary);
  file.tensors.push_back(
      {name, {cols, rows}, type, valid_data(random, type, rows, cols), {}, {}, {}});
}
void add_vector(File& file, Random& random, const std::string& name, uint64_t n) {
  const uint32_t type = random.one_in(4) ? MG_TYPE_F16 : MG_TYPE_F32;
  file.tensors.push_back({name, {n}, type, valid_data(random, type, 1, n), {}, {}, {}});
}

void add_layer(File& file, Random& random, const Shape& s, uint32_t index) {
  const std::string blk = "blk." + std::to_string(index) + ".";
  const uint64_t q = uint64_t{s.heads} * s.head_dim;
  const uint64_t kv = uint64_t{s.kv_heads} * s.head_dim;
  add_vector(file, random, blk + "attn_norm.weight", s.width);
  add_vector(file, random, blk + "ffn_norm.weight", s.width);
  if (s.arch != "llama") {
    add_vector(file, random, blk + "attn_sub_norm.weight", q);
    add_vector(file, random, blk + "ffn_sub_norm.weight", s.ff);
  }
  add_matrix(file, random, blk + "attn_q.weight", q, s.width);
  if (s.arch != "llama" && file.tensors.back().type >= MG_TYPE_TQ1_0 && random.one_in(2))
    add_vector(file, random, blk + "attn_q.scale", 1);  // only ternary weights have one
  add_matrix(file, random, blk + "attn_k.weight", kv, s.width);
  add_matrix(file, random, blk + "attn_v.weight", kv, s.width);
  add_matrix(file, random, blk + "attn_output.weight", s.width, q);
  add_matrix(file, random, blk + "ffn_gate.weight", s.ff, s.width);
  add_matrix(file, random, blk + "ffn_up.weight", s.ff, s.width);
  add_matrix(file, random, blk + "ffn_down.weight", s.width, s.ff);
}

}  // namespace

File valid_file(Random& random) {
  Shape s;
  s.arch = random.of<std::string>({"llama", "bitnet", "bitnet-b1.58", "bitnet-25"});
  s.width = random.of<uint32_t>({32, 64, 128, 256});
  s.ff = random.of<uint32_t>({32, 128, 256});
  s.head_dim = random.of<uint32_t>({8, 16, 32});
  s.heads = s.width / s.head_dim;
  s.kv_heads = random.one_in(2) ? s.heads : 1;
  s.layers = 1 + static_cast<uint32_t>(random.below(2));
  File file;
  file.alignment = random.of<uint64_t>({32, 32, 32, 8, 4096});
  const auto key = [&](const char* name) { return s.arch + "." + name; };
  file.entries = {text_entry("general.architecture", s.arch),
                  u32_entry(key("context_length"), 64),
                  u32_entry(key("embedding_length"), s.width),
                  u32_entry(key("block_count"), s.layers),
                  u32_entry(key("feed_forward_length"), s.ff),
                  u32_entry(key("attention.head_count"), s.heads),
                  u32_entry(key("attention.head_count_kv"), s.kv_heads),
                  u32_entry(key("rope.dimension_count"), s.head_dim),
                  f32_entry(key("rope.freq_base"), 500000.0f),
                  f32_entry(key("attention.layer_norm_rms_epsilon"), 1e-5f)};
  if (file.alignment != 32)
    file.entries.push_back(
        u32_entry("general.alignment", static_cast<uint32_t>(file.alignment)));
  add_tokenizer(file);
  add_matrix(file, random, "token_embd.weight", VOCABULARY, s.width, false);
  add_vector(file, random, "output_norm.weight", s.width);
  if (s.arch != "bitnet" && random.one_in(2))
    add_matrix(file, random, "output.weight", VOCABULARY, s.width, false);
  for (uint32_t i = 0; i < s.layers; i++) add_layer(file, random, s, i);
  return file;
}

}  // namespace fuzz
