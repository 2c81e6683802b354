// Exports of magnet_tokenizer.h: checks of the arguments, then the classes.
#include "pretokenize.hpp"
#include "tokenizer.hpp"
#include "tokenizer_train.hpp"

struct mg_bpe_trainer {
  magnet::BpeTrainer inner;
};

namespace {
using namespace magnet;

void require_text(const uint8_t* text, uint64_t bytes, uint64_t bytes_max) {
  require(text != nullptr || bytes == 0, MG_E_INVALID, "text is null");
  if (bytes > bytes_max)
    fail(MG_E_INVALID, "a text of %llu bytes, more than %llu; split it",
         static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(bytes_max));
}
void require_pointer(const void* p, const char* message) {
  require(p != nullptr, MG_E_INVALID, message);
}
void copy_pairs(const std::vector<uint64_t>& pairs, uint32_t* out) {
  for (size_t i = 0; i < pairs.size(); i++) {
    out[2 * i] = left_of(pairs[i]);
    out[2 * i + 1] = right_of(pairs[i]);
  }
}
}  // namespace

extern "C" {

int32_t mg_pretokenize(const uint8_t* text, uint64_t bytes, uint32_t* ends, uint64_t capacity,
                       uint64_t* out_count) {
  return guard([&] {
    require_text(text, bytes, MG_ENCODE_BYTES_MAX);
    require_pointer(out_count, "out_count is null");
    uint64_t count = 0;
    for (size_t pos = 0; pos < bytes;) {
      pos = next_pretoken(text, pos, bytes);
      require(count < capacity && ends != nullptr, MG_E_INVALID, "more pre-tokens than fit");
      ends[count++] = static_cast<uint32_t>(pos);
    }
    *out_count = count;
    return MG_OK;
  });
}

int32_t mg_tokenizer_create(const uint8_t* token_bytes, uint64_t token_bytes_length,
                            const uint32_t* offsets, uint32_t vocab_size, const uint32_t* merges,
                            uint32_t merge_count, const uint32_t* special_ids,
                            uint32_t special_count, uint32_t ignore_merges, mg_tokenizer** out) {
  return guard([&] {
    require_pointer(out, "out is null");
    require(token_bytes != nullptr && offsets != nullptr, MG_E_INVALID, "the vocabulary is null");
    require(merges != nullptr || merge_count == 0, MG_E_INVALID, "merges is null");
    require(special_ids != nullptr || special_count == 0, MG_E_INVALID, "special_ids is null");
    *out = new mg_tokenizer({token_bytes, token_bytes_length, offsets, vocab_size, merges,
                             merge_count, special_ids, special_count, ignore_merges != 0});
    return MG_OK;
  });
}

int32_t mg_tokenizer_free(mg_tokenizer* tokenizer) {
  return guard([&] {
    delete tokenizer;
    return MG_OK;
  });
}

int32_t mg_tokenizer_encode(mg_tokenizer* tokenizer, const uint8_t* text, uint64_t bytes,
                            uint32_t parse_special, int32_t* ids, uint64_t capacity,
                            uint64_t* out_count, const int32_t* cancel) {
  return guard([&] {
    require_pointer(tokenizer, "the tokenizer is null");
    require_text(text, bytes, MG_ENCODE_BYTES_MAX);
    require_pointer(out_count, "out_count is null");
    require(ids != nullptr || capacity == 0, MG_E_INVALID, "ids is null");
    IdSink sink{ids, capacity};
    tokenizer->inner.encode(text, bytes, parse_special != 0, sink, cancel);
    *out_count = sink.count;
    return MG_OK;
  });
}

int32_t mg_tokenizer_decode(const mg_tokenizer* tokenizer, const int32_t* ids, uint64_t count,
                            uint32_t skip_special, uint8_t* out, uint64_t capacity,
                            uint64_t* out_bytes) {
  return guard([&] {
    require_pointer(tokenizer, "the tokenizer is null");
    require(ids != nullptr || count == 0, MG_E_INVALID, "ids is null");
    require_pointer(out_bytes, "out_bytes is null");
    *out_bytes = tokenizer->inner.decode(ids, count, skip_special != 0, out, capacity);
    return MG_OK;
  });
}

int32_t mg_bpe_trainer_create(mg_bpe_trainer** out) {
  return guard([&] {
    require_pointer(out, "out is null");
    *out = new mg_bpe_trainer;
    return MG_OK;
  });
}

int32_t mg_bpe_trainer_free(mg_bpe_trainer* trainer) {
  return guard([&] {
    delete trainer;
    return MG_OK;
  });
}

int32_t mg_bpe_trainer_feed(mg_bpe_trainer* trainer, const uint8_t* text, uint64_t bytes,
                            uint32_t by_line, const int32_t* cancel) {
  return guard([&] {
    require_pointer(trainer, "the trainer is null");
    require_text(text, bytes, MG_FEED_BYTES_MAX);
    trainer->inner.feed(text, bytes, by_line != 0, cancel);
    return MG_OK;
  });
}

int32_t mg_bpe_trainer_run(mg_bpe_trainer* trainer, uint32_t token_limit, uint64_t min_count,
                       uint32_t* out_tokens, uint32_t* out_merges, const int32_t* cancel) {
  return guard([&] {
    require_pointer(trainer, "the trainer is null");
    require(out_tokens != nullptr && out_merges != nullptr, MG_E_INVALID, "a result is null");
    require(token_limit >= 256 && token_limit <= MG_VOCAB_MAX, MG_E_INVALID,
            "the limit of tokens is 256 to 1048576");
    require(min_count < 1ull << 62, MG_E_INVALID, "min_count is too large");
    trainer->inner.run(token_limit, min_count, cancel);
    *out_tokens = static_cast<uint32_t>(trainer->inner.made.size());
    *out_merges = static_cast<uint32_t>(trainer->inner.merges.size());
    return MG_OK;
  });
}

int32_t mg_bpe_trainer_result(const mg_bpe_trainer* trainer, uint32_t* made, uint32_t* merges) {
  return guard([&] {
    require_pointer(trainer, "the trainer is null");
    require(made != nullptr || trainer->inner.made.empty(), MG_E_INVALID, "made is null");
    require(merges != nullptr || trainer->inner.merges.empty(), MG_E_INVALID, "merges is null");
    copy_pairs(trainer->inner.made, made);
    copy_pairs(trainer->inner.merges, merges);
    return MG_OK;
  });
}

}  // extern "C"
