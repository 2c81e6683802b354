// BPE trainer: counts the pre-tokens of texts, then joins the most frequent pair again and again.
#pragma once
#include <vector>

#include "common.hpp"
#include "tokenizer_tables.hpp"

namespace magnet {

class BpeTrainer {
 public:
  void feed(const uint8_t* text, uint64_t n, bool by_line, const int32_t* cancel);
  void run(uint32_t token_limit, uint64_t min_count, const int32_t* cancel);

  /** The pair that first made token 256 + i. */
  std::vector<uint64_t> made;
  /** All merges by rank. */
  std::vector<uint64_t> merges;

 private:
  void count(Bytes word);
  struct Word {
    uint64_t offset;  // into letters_
    uint32_t length;
    uint64_t count;
  };
  Bytes key(uint32_t word) const {
    return {letters_.data() + words_[word].offset, words_[word].length};
  }
  std::vector<char> letters_;
  std::vector<Word> words_;
  BytesTable index_;
};

}  // namespace magnet
