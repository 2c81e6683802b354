// What a Tokenizer was made of, handed out again: its arrays, and the two large parts of its
// tokenizer.json in the canonical form that a tokenizer's hash is taken of.
#include <algorithm>
#include <cstring>

#include "byte_alphabet.hpp"
#include "tokenizer.hpp"

namespace magnet {
namespace {

/** Appends a token's name as JSON has it between quotes: two characters of the alphabet are escaped.
 */
void append_escaped(Bytes bytes, std::string& out) {
  for (const char& c : bytes) {
    if (c == '"' || c == '\\') out.push_back('\\');
    append_characters({&c, 1}, out);
  }
}

/** The first 8 bytes of a token's name in the order of names, and the token. */
struct SortKey {
  uint64_t prefix;
  uint32_t id;
};

uint64_t prefix_of(Bytes bytes) {
  uint64_t prefix = 0;
  for (size_t i = 0; i < 8; i++) {
    const uint64_t place =
        i < bytes.size() ? BYTE_ALPHABET.order[static_cast<uint8_t>(bytes[i])] : 0;
    prefix = prefix << 8 | place;
  }
  return prefix;
}

/** Names compare as their characters do, and those as their bytes' places. */
bool is_before(Bytes a, Bytes b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return BYTE_ALPHABET.order[static_cast<uint8_t>(x)] <
           BYTE_ALPHABET.order[static_cast<uint8_t>(y)];
  });
}

}  // namespace

std::vector<uint64_t> Tokenizer::merges_by_rank() const {
  std::vector<uint64_t> pairs(merges_.size());
  merges_.each([&](uint64_t pair, const Merge& merge) { pairs[merge.rank] = pair; });
  return pairs;
}

std::vector<uint32_t> Tokenizer::special_ids() const {
  std::vector<uint32_t> ids;
  for (uint32_t id = 0; id < is_special_.size(); id++)
    if (is_special_[id]) ids.push_back(id);
  return ids;
}

std::string Tokenizer::vocabulary_json() const {
  std::vector<SortKey> keys;
  for (uint32_t id = 0; id < is_special_.size(); id++)
    if (!is_special_[id]) keys.push_back({prefix_of(token(id)), id});
  std::sort(keys.begin(), keys.end(), [this](const SortKey& a, const SortKey& b) {
    return a.prefix != b.prefix ? a.prefix < b.prefix : is_before(token(a.id), token(b.id));
  });
  std::string out = "{";
  out.reserve(3 * bytes_.size() + 12 * keys.size());
  for (const SortKey& key : keys) {
    out += out.size() == 1 ? "\"" : ",\"";
    append_escaped(token(key.id), out);
    out += "\":";
    out += std::to_string(key.id);
  }
  out += "}";
  return out;
}

std::string Tokenizer::merges_json() const {
  // Each name is made once: a token takes part in two merges on average.
  std::string names;
  std::vector<uint32_t> starts;
  for (uint32_t id = 0; id < is_special_.size(); id++) {
    starts.push_back(static_cast<uint32_t>(names.size()));
    if (!is_special_[id]) append_escaped(token(id), names);
  }
  starts.push_back(static_cast<uint32_t>(names.size()));
  const auto name = [&](uint32_t id) {
    return Bytes(names).substr(starts[id], starts[id + 1] - starts[id]);
  };
  std::string out = "[";
  out.reserve(24 * merges_.size());
  for (const uint64_t pair : merges_by_rank()) {
    out += out.size() == 1 ? "\"" : ",\"";
    out += name(left_of(pair));
    out += " ";
    out += name(right_of(pair));
    out += "\"";
  }
  out += "]";
  return out;
}

}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_tokenizer_sizes(const mg_tokenizer* tokenizer, uint64_t* out_sizes) {
  return guard([&] {
    require(tokenizer != nullptr && out_sizes != nullptr, MG_E_INVALID,
            "mg_tokenizer_sizes: null argument");
    const Tokenizer& t = tokenizer->inner;
    out_sizes[0] = t.size();
    out_sizes[1] = t.bytes().size();
    out_sizes[2] = t.merge_count();
    out_sizes[3] = t.special_ids().size();
    return int32_t{MG_OK};
  });
}

int32_t mg_tokenizer_vocabulary(const mg_tokenizer* tokenizer, uint8_t* token_bytes,
                                uint32_t* offsets, uint32_t* merges, uint32_t* special_ids) {
  return guard([&] {
    require(tokenizer != nullptr, MG_E_INVALID, "mg_tokenizer_vocabulary: null argument");
    const Tokenizer& t = tokenizer->inner;
    if (token_bytes != nullptr) std::copy(t.bytes().begin(), t.bytes().end(), token_bytes);
    if (offsets != nullptr) std::copy(t.offsets().begin(), t.offsets().end(), offsets);
    if (special_ids != nullptr) {
      const std::vector<uint32_t> ids = t.special_ids();
      std::copy(ids.begin(), ids.end(), special_ids);
    }
    if (merges == nullptr) return int32_t{MG_OK};
    for (const uint64_t pair : t.merges_by_rank()) {
      *merges++ = left_of(pair);
      *merges++ = right_of(pair);
    }
    return int32_t{MG_OK};
  });
}

int32_t mg_tokenizer_json(const mg_tokenizer* tokenizer, uint32_t part, uint8_t* out,
                          uint64_t capacity, uint64_t* out_bytes) {
  return guard([&] {
    require(tokenizer != nullptr && out_bytes != nullptr && part <= 1, MG_E_INVALID,
            "mg_tokenizer_json: bad argument");
    const Tokenizer& t = tokenizer->inner;
    const std::string text = part == 0 ? t.vocabulary_json() : t.merges_json();
    *out_bytes = text.size();
    if (out != nullptr && text.size() <= capacity) std::copy(text.begin(), text.end(), out);
    return int32_t{MG_OK};
  });
}
}
