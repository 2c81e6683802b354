// The tokenizer inside a GGUF file, made straight from the arrays of its header: no string of the
// vocabulary passes through the caller. Every one of them comes from a stranger and is checked here
// or by Tokenizer. What the names of tokens stand for: byte_alphabet.hpp.
#include <algorithm>
#include <cstring>

#include "byte_alphabet.hpp"
#include "gguf.hpp"
#include "tokenizer.hpp"

namespace magnet {
namespace {

constexpr const char* TOKENS = "tokenizer.ggml.tokens";
constexpr const char* TYPES = "tokenizer.ggml.token_type";
constexpr const char* MERGES = "tokenizer.ggml.merges";
constexpr int32_t NORMAL = 1;

/** Strings of an array whose lengths the parser has checked. */
class Strings {
 public:
  explicit Strings(const GgufValue& value) : at_(value.data) {}
  Bytes next() {
    uint64_t bytes;
    std::memcpy(&bytes, at_, 8);
    const Bytes text(reinterpret_cast<const char*>(at_ + 8), bytes);
    at_ += 8 + bytes;
    return text;
  }

 private:
  const uint8_t* at_;
};

const GgufValue& string_array(const GgufFile& file, const char* key, uint64_t limit) {
  const GgufValue* v = file.value(key);
  if (v == nullptr || v->type != GgufType::array || v->element_type != GgufType::string)
    fail(MG_E_FORMAT, "GGUF: %s is not an array of strings", key);
  if (v->count > limit)
    fail(MG_E_FORMAT, "GGUF: %s has %llu items (limit %llu)", key,
         static_cast<unsigned long long>(v->count), static_cast<unsigned long long>(limit));
  return *v;
}

class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file) {}

  std::unique_ptr<mg_tokenizer> read() {
    require_text("tokenizer.ggml.model", "gpt2");
    check_pre_tokenizer();
    read_tokens();
    read_merges();
    Vocabulary v{};
    v.bytes = reinterpret_cast<const uint8_t*>(bytes_.data());
    v.bytes_length = bytes_.size();
    v.offsets = offsets_.data();
    v.size = static_cast<uint32_t>(offsets_.size() - 1);
    v.merges = merges_.data();
    v.merge_count = static_cast<uint32_t>(merges_.size() / 2);
    v.specials = specials_.data();
    v.special_count = static_cast<uint32_t>(specials_.size());
    v.ignore_merges = true;  // what llama-bpe stands for
    return std::make_unique<mg_tokenizer>(v);
  }

 private:
  void require_text(const char* key, const char* wanted) {
    const std::string_view found = file_.text_or(key, "missing");
    if (found != wanted)
      fail(MG_E_FORMAT, "GGUF: %s is %.*s, not %s", key,
           static_cast<int>(std::min<size_t>(found.size(), 64)), found.data(), wanted);
  }

  /** Names of Llama-3's pattern in llama.cpp. BitNet-2B-4T's files, of two architectures that nothing
   * else has, state none although they have Llama-3's vocabulary. */
  void check_pre_tokenizer() {
    const std::string_view arch = file_.text_or("general.architecture", "");
    const bool unstated = file_.value("tokenizer.ggml.pre") == nullptr;
    if (unstated && (arch == "bitnet-b1.58" || arch == "bitnet-25")) return;
    const std::string_view name = file_.text_or("tokenizer.ggml.pre", "missing");
    if (name == "llama3" || name == "llama-v3") return;
    require_text("tokenizer.ggml.pre", "llama-bpe");
  }

  /** Fills `normal_` where the file states types. */
  void read_types(uint64_t count) {
    const GgufValue* v = file_.value(TYPES);
    normal_.assign(count, 1);
    if (v == nullptr) return;
    if (v->type != GgufType::array || v->count != count ||
        (v->element_type != GgufType::i32 && v->element_type != GgufType::u32))
      fail(MG_E_FORMAT, "GGUF: %s is not an array of a 32-bit integer for each token", TYPES);
    for (uint64_t i = 0; i < count; i++) {
      int32_t type;
      std::memcpy(&type, v->data + 4 * i, 4);
      normal_[i] = type == NORMAL;
    }
  }

  void read_tokens() {
    const GgufValue& v = string_array(file_, TOKENS, MG_VOCAB_MAX);
    read_types(v.count);
    bytes_.resize(v.data_bytes);  // bytes are no more than their characters have
    names_.reserve(v.count);
    offsets_.assign(1, 0);
    Strings strings(v);
    uint64_t end = 0;
    for (uint32_t id = 0; id < v.count; id++) {
      const Bytes name = strings.next();
      names_.push_back(name);
      int64_t n = static_cast<int64_t>(name.size());
      if (normal_[id]) {
        n = bytes_of_characters(name, bytes_.data() + end);
      } else {
        std::copy(name.begin(), name.end(), bytes_.begin() + static_cast<int64_t>(end));
        specials_.push_back(id);
      }
      if (n < 0)
        fail(MG_E_FORMAT, "GGUF: token %u is not written in the byte alphabet", id);
      end += static_cast<uint64_t>(n);
      require(end <= 0xffffffffu, MG_E_FORMAT, "GGUF: tokens of more than 2^32 bytes");
      offsets_.push_back(static_cast<uint32_t>(end));
    }
    bytes_.resize(end);
  }

  void read_merges() {
    const GgufValue& v = string_array(file_, MERGES, MG_MERGES_MAX);
    const auto name_of = [this](uint32_t id) { return names_[id]; };
    BytesTable ids(names_.size());
    // Of equal names the first counts: whether that may be is for Tokenizer to say.
    for (uint32_t id = 0; id < names_.size(); id++) {
      const uint64_t hash = ids.hash(names_[id]);
      if (ids.find_hashed(names_[id], hash, name_of) == NONE) ids.insert(hash, id, name_of);
    }
    merges_.reserve(2 * v.count);
    Strings strings(v);
    for (uint64_t rank = 0; rank < v.count; rank++) {
      const Bytes merge = strings.next();
      const size_t space = merge.find(' ');
      const uint32_t left = space == Bytes::npos ? NONE : ids.find(merge.substr(0, space), name_of);
      const uint32_t right = left == NONE ? NONE : ids.find(merge.substr(space + 1), name_of);
      if (right == NONE)
        fail(MG_E_FORMAT, "GGUF: merge %llu does not join two tokens",
             static_cast<unsigned long long>(rank));
      merges_.push_back(left);
      merges_.push_back(right);
    }
  }

  const GgufFile& file_;
  std::vector<Bytes> names_;
  std::vector<uint8_t> normal_;
  std::vector<char> bytes_;
  std::vector<uint32_t> offsets_, merges_, specials_;
};

}  // namespace
}  // namespace magnet

using namespace magnet;

int32_t mg_tokenizer_from_gguf(void* file, mg_tokenizer** out) {
  return guard([&] {
    require(out != nullptr, MG_E_INVALID, "mg_tokenizer_from_gguf: null argument");
    *out = Reader(gguf_of(file)).read().release();
    return int32_t{MG_OK};
  });
}
