// What the shim of bitnet.cpp uses of llama.h, under the names of 2024, which bitnet.cpp carries:
// models loaded "from file", contexts "with model", a cache of keys and values instead of a memory.
// Only compiled against (bitnet-cpp.test.ts).
#pragma once
#include "ggml.h"

extern "C" {
struct llama_model;
struct llama_context;
typedef int32_t llama_pos;
typedef int32_t llama_token;
typedef int32_t llama_seq_id;
enum llama_pooling_type { LLAMA_POOLING_TYPE_NONE = 0 };

struct llama_model_params {
  int32_t n_gpu_layers;
};
struct llama_context_params {
  uint32_t n_ctx, n_batch, n_ubatch, n_seq_max;
  int32_t n_threads, n_threads_batch;
  llama_pooling_type pooling_type;
  bool flash_attn;
};
typedef struct llama_batch {
  int32_t n_tokens;
  llama_token* token;
  float* embd;
  llama_pos* pos;
  int32_t* n_seq_id;
  llama_seq_id** seq_id;
  int8_t* logits;
} llama_batch;

void llama_log_set(ggml_log_callback log, void* data);
void llama_backend_init(void);
llama_model_params llama_model_default_params(void);
llama_context_params llama_context_default_params(void);
llama_model* llama_load_model_from_file(const char* path, llama_model_params params);
void llama_free_model(llama_model* model);
llama_context* llama_new_context_with_model(llama_model* model, llama_context_params params);
void llama_free(llama_context* context);
int32_t llama_n_vocab(const llama_model* model);
int32_t llama_n_ctx_train(const llama_model* model);
int32_t llama_n_embd(const llama_model* model);
void llama_attach_threadpool(llama_context* context, ggml_threadpool* pool, ggml_threadpool* batch);
void llama_detach_threadpool(llama_context* context);
void llama_set_abort_callback(llama_context* context, ggml_abort_callback abort, void* data);
void llama_set_embeddings(llama_context* context, bool embeddings);
bool llama_kv_cache_seq_rm(llama_context* context, llama_seq_id sequence, llama_pos from,
                           llama_pos to);
llama_batch llama_batch_init(int32_t n_tokens, int32_t embd, int32_t n_seq_max);
void llama_batch_free(llama_batch batch);
int32_t llama_decode(llama_context* context, llama_batch batch);
float* llama_get_logits_ith(llama_context* context, int32_t i);
float* llama_get_embeddings_ith(llama_context* context, int32_t i);
}
