// What llama.h calls things, by generation: bitnet.cpp carries a llama.cpp of 2024, others one of
// today. Each function asks the header that it is compiled with; the branch not taken is never
// instantiated. Names are looked up through their arguments, which are types of llama.h.
#pragma once

#include <concepts>
#include <cstdint>

#include "llama.h"

namespace magnet_bitnet {

template <class Params>
auto load_model(const char* path, Params params) {
  if constexpr (requires { llama_model_load_from_file(path, params); })
    return llama_model_load_from_file(path, params);
  else
    return llama_load_model_from_file(path, params);
}

template <class Model>
void free_model(Model* model) {
  if constexpr (requires { llama_model_free(model); })
    llama_model_free(model);
  else
    llama_free_model(model);
}

template <class Model, class Params>
auto make_context(Model* model, Params params) {
  if constexpr (requires { llama_init_from_model(model, params); })
    return llama_init_from_model(model, params);
  else
    return llama_new_context_with_model(model, params);
}

template <class Model>
int32_t vocab_size(const Model* model) {
  if constexpr (requires { llama_vocab_n_tokens(llama_model_get_vocab(model)); })
    return llama_vocab_n_tokens(llama_model_get_vocab(model));
  else
    return llama_n_vocab(model);
}

template <class Model>
int32_t context_of(const Model* model) {
  if constexpr (requires { llama_model_n_ctx_train(model); })
    return llama_model_n_ctx_train(model);
  else
    return llama_n_ctx_train(model);
}

template <class Model>
int32_t width_of(const Model* model) {
  if constexpr (requires { llama_model_n_embd(model); })
    return llama_model_n_embd(model);
  else
    return llama_n_embd(model);
}

/** Forgets positions `from` and on of a sequence; false where only a whole one can be forgotten. */
template <class Context>
bool forget(Context* context, int32_t sequence, int32_t from) {
  if constexpr (requires { llama_memory_seq_rm(llama_get_memory(context), sequence, from, -1); })
    return llama_memory_seq_rm(llama_get_memory(context), sequence, from, -1);
  else if constexpr (requires { llama_kv_self_seq_rm(context, sequence, from, -1); })
    return llama_kv_self_seq_rm(context, sequence, from, -1);
  else
    return llama_kv_cache_seq_rm(context, sequence, from, -1);
}

/** `automatic`: as the library thinks best, where it has an opinion; else off. */
template <class Params>
void set_flash_attention(Params& params, bool automatic) {
  if constexpr (requires { params.flash_attn_type; })
    // Where the field is, -1 is "auto" and 0 "disabled"; the names are unknown to older headers.
    params.flash_attn_type = static_cast<decltype(params.flash_attn_type)>(automatic ? -1 : 0);
  else if constexpr (requires { params.flash_attn = false; })
    params.flash_attn = false;
}

/** One pool of cells for all sequences, as the engine's blocks are; of old there is no other. */
template <class Params>
void share_cells(Params& params) {
  if constexpr (requires { params.kv_unified = true; }) params.kv_unified = true;
}

}  // namespace magnet_bitnet
