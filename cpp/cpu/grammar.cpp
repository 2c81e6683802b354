#include "grammar.hpp"

#include <algorithm>

namespace magnet {

Grammar::Grammar(std::shared_ptr<const Vocabulary> vocabulary, const uint8_t* program, uint64_t n)
    : vocabulary_(std::move(vocabulary)),
      program_(program, n, *vocabulary_),
      automaton_(std::make_shared<GrammarAutomaton>(vocabulary_, program_)) {}

GrammarRun::GrammarRun(std::shared_ptr<Grammar> grammar)
    : grammar_(std::move(grammar)), spot_(0) {
  const std::lock_guard<std::mutex> lock(grammar_->mutex_);
  automaton_ = grammar_->automaton_;
  spot_ = automaton_->start();
}

GrammarAutomaton& GrammarRun::automaton() {
  std::shared_ptr<GrammarAutomaton>& shared = grammar_->automaton_;
  if (shared->is_full())
    shared = std::make_shared<GrammarAutomaton>(grammar_->vocabulary_, grammar_->program_);
  shared->begin_draw();
  if (automaton_ != shared) {
    spot_ = shared->adopt(*automaton_, spot_);
    automaton_ = shared;  // the last run that moves on frees the old one
  }
  return *automaton_;
}

std::shared_ptr<const TokenMask> GrammarRun::mask(uint32_t draws_left) {
  if (ended_) {  // nothing but another end token
    auto ends = std::make_shared<TokenMask>();
    ends->bits.assign((grammar_->vocabulary_->size() + 63) / 64, 0);
    for (const int32_t id : grammar_->vocabulary_->end_ids())
      ends->bits[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
    ends->allowed = static_cast<uint32_t>(grammar_->vocabulary_->end_ids().size());
    return ends;
  }
  const std::lock_guard<std::mutex> lock(grammar_->mutex_);
  GrammarAutomaton& here = automaton();
  // A completion of n bytes takes at most n draws (each of its bytes is a token), one for the end
  // token, and this draw comes before both.
  const int64_t bytes_left = static_cast<int64_t>(draws_left) - 2;
  if (draws_left == 0 || here.cost(spot_) > bytes_left + 1) return here.mask(spot_);
  if (bytes_left < 0) return here.mask_within(spot_, bytes_left);
  std::shared_ptr<const TokenMask> all = here.mask(spot_);
  return all->cost_after <= bytes_left ? all : here.mask_within(spot_, bytes_left);
}

bool GrammarRun::accept(int32_t token) {
  const std::lock_guard<std::mutex> lock(grammar_->mutex_);
  GrammarAutomaton& here = automaton();
  if (grammar_->vocabulary_->is_end(token)) {
    if (!ended_ && !here.complete(spot_)) return false;
    return ended_ = true;
  }
  const int32_t next = ended_ ? GrammarAutomaton::DEAD : here.next_token(spot_, token);
  if (next == GrammarAutomaton::DEAD) return false;
  spot_ = next;
  return true;
}

bool GrammarRun::accept_bytes(const uint8_t* bytes, uint64_t n) {
  const std::lock_guard<std::mutex> lock(grammar_->mutex_);
  GrammarAutomaton& here = automaton();
  int32_t spot = ended_ ? GrammarAutomaton::DEAD : spot_;
  for (uint64_t i = 0; i < n && spot != GrammarAutomaton::DEAD; i++)
    spot = here.next(spot, bytes[i]);
  if (spot == GrammarAutomaton::DEAD) return false;
  spot_ = spot;
  return true;
}

bool GrammarRun::complete() {
  const std::lock_guard<std::mutex> lock(grammar_->mutex_);
  return ended_ || automaton().complete(spot_);
}

uint32_t GrammarRun::cost() {
  const std::lock_guard<std::mutex> lock(grammar_->mutex_);
  return ended_ ? 0 : automaton().cost(spot_);
}

}  // namespace magnet
