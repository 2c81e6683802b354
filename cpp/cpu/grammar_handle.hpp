// What the handles of vocabularies and grammars point to: what is behind them lives on in those that
// use it.
#pragma once
#include "grammar.hpp"

namespace magnet {

struct VocabularyHandle {
  std::shared_ptr<const Vocabulary> object;
};
struct GrammarHandle {
  std::shared_ptr<Grammar> object;
};

}  // namespace magnet
