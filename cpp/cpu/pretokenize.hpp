// The Llama-3 pre-tokenisation pattern, hand-written over code points (see magnet_tokenizer.h for
// the regular expression). Each call looks at a bounded number of passes over its own pre-token, so
// a text is split in linear time whatever it holds.
#pragma once
#include <cstddef>
#include <cstdint>

namespace magnet {

/** End of the pre-token that starts at `pos` < n. */
size_t next_pretoken(const uint8_t* text, size_t pos, size_t n);

}  // namespace magnet
