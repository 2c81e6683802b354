// A constraint on the text of a sequence, shared by all that follow it, and one sequence's place in it.
#pragma once
#include <memory>
#include <mutex>

#include "grammar_automaton.hpp"

namespace magnet {

class Grammar : public LiveHandle {
 public:
  Grammar(std::shared_ptr<const Vocabulary> vocabulary, const uint8_t* program, uint64_t n);
  const Vocabulary& vocabulary() const { return *vocabulary_; }

 private:
  friend class GrammarRun;
  std::shared_ptr<const Vocabulary> vocabulary_;
  GrammarProgram program_;
  std::mutex mutex_;  // held by a run for as long as it looks at automaton_
  std::shared_ptr<GrammarAutomaton> automaton_;
};

/** Small and copyable. */
class GrammarRun {
 public:
  explicit GrammarRun(std::shared_ptr<Grammar> grammar);

  /**
   * Tokens that may come next where `draws_left` draws remain (0: not known). A text that can be
   * completed within them stays so; where it cannot any more, they are not looked at.
   */
  std::shared_ptr<const TokenMask> mask(uint32_t draws_left);
  /** Goes on by an allowed token; false, and nothing happens, for another. */
  bool accept(int32_t token);
  /** The same by bytes that need not be a token. */
  bool accept_bytes(const uint8_t* bytes, uint64_t n);
  /** Whether the text may end here. */
  bool complete();
  /** Bytes of the shortest completion. */
  uint32_t cost();

 private:
  /** To be called with the lock held, before the automaton is used. */
  GrammarAutomaton& automaton();

  std::shared_ptr<Grammar> grammar_;
  std::shared_ptr<GrammarAutomaton> automaton_;
  int32_t spot_;
  bool ended_ = false;
};

}  // namespace magnet
