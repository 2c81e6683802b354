// Exports of constraints.
#include <cstring>

#include "grammar_handle.hpp"

using namespace magnet;

extern "C" {

int32_t mg_vocabulary_create(const uint8_t* bytes, uint64_t n_bytes, const uint32_t* ends,
                             uint64_t vocab, const int32_t* end_ids, uint64_t n_end_ids,
                             void** out_vocabulary) {
  return guard([&] {
    require(bytes != nullptr && ends != nullptr && end_ids != nullptr && out_vocabulary != nullptr,
            MG_E_INVALID, "mg_vocabulary_create: null argument");
    require(vocab > 0 && vocab < (1u << 31) && n_bytes < (uint64_t{1} << 32) && n_end_ids > 0,
            MG_E_INVALID, "mg_vocabulary_create: a count is out of range");
    *out_vocabulary = new VocabularyHandle{
        std::make_shared<Vocabulary>(bytes, n_bytes, ends, vocab, end_ids, n_end_ids)};
    return int32_t{MG_OK};
  });
}

int32_t mg_vocabulary_free(void* vocabulary) {
  delete static_cast<VocabularyHandle*>(vocabulary);
  return MG_OK;
}

int32_t mg_grammar_create(void* vocabulary, const uint8_t* program, uint64_t n_bytes,
                          void** out_grammar) {
  return guard([&] {
    require(vocabulary != nullptr && program != nullptr && out_grammar != nullptr, MG_E_INVALID,
            "mg_grammar_create: null argument");
    const auto& shared = static_cast<VocabularyHandle*>(vocabulary)->object;
    *out_grammar = new GrammarHandle{std::make_shared<Grammar>(shared, program, n_bytes)};
    return int32_t{MG_OK};
  });
}

int32_t mg_grammar_free(void* grammar) {
  delete static_cast<GrammarHandle*>(grammar);
  return MG_OK;
}

int32_t mg_grammar_inspect(void* grammar, const uint8_t* text, uint64_t n_bytes,
                           uint32_t draws_left, uint32_t* out_complete, uint32_t* out_cost,
                           uint8_t* out_mask) {
  return guard([&] {
    require(grammar != nullptr && (text != nullptr || n_bytes == 0) && out_complete != nullptr &&
                out_cost != nullptr,
            MG_E_INVALID, "mg_grammar_inspect: null argument");
    GrammarRun run(static_cast<GrammarHandle*>(grammar)->object);
    require(run.accept_bytes(text, n_bytes), MG_E_FORMAT, "the text breaks the constraint");
    *out_complete = run.complete() ? 1 : 0;
    *out_cost = run.cost();
    if (out_mask != nullptr) {
      const auto mask = run.mask(draws_left);
      const uint32_t vocab = static_cast<GrammarHandle*>(grammar)->object->vocabulary().size();
      std::memcpy(out_mask, mask->bits.data(), (vocab + 7) / 8);  // little-endian words
    }
    return int32_t{MG_OK};
  });
}

}  // extern "C"
