/* Inference section of the C ABI: model files (GGUF), ternary packing, inference models, sessions and
 * sampling. Included by magnet.h inside extern "C"; do not include alone. */

/* ---- packing of one tensor (cpp/cpu/quants*.cpp) ------------------------------------------------ */
enum {  /* ggml type ids, as they stand in GGUF files */
  MG_TYPE_F32 = 0,
  MG_TYPE_F16 = 1,
  MG_TYPE_Q4_0 = 2,    /* read only */
  MG_TYPE_Q8_0 = 8,    /* read only */
  MG_TYPE_Q4_K = 12,   /* read only */
  MG_TYPE_Q6_K = 14,
  MG_TYPE_BF16 = 30,   /* read only */
  MG_TYPE_TQ1_0 = 34,
  MG_TYPE_TQ2_0 = 35,
  MG_TYPE_I2_S = 36,   /* bitnet.cpp, x86 layout */
};
/* Bytes of a packed (rows, cols) tensor. MG_E_SHAPE where cols is no multiple of the type's block
 * (256 for TQ1_0, TQ2_0, Q4_K and Q6_K; 128 for I2_S; 32 for Q8_0 and Q4_0). */
MG_API int32_t mg_pack_size(uint32_t type, uint64_t rows, uint64_t cols, uint64_t* out_bytes);
/* Packs latent float32 weights (rows, cols) into `out` (bytes as mg_pack_size says).
 * ternary = 1: ternarises first, per tensor: s = 1/max(mean|w|, 1e-5), t = clamp(rint(w*s), -1, 1), and
 * stores t times the scale max(mean|w|, 1e-5) (rounded to f16 where the type keeps an f16 scale).
 * ternary = 0: only for F16, F32 and Q6_K (least squared error by search, on all CPUs). heads > 0: rows are regrouped for interleaved rotary pairs, for each
 * of `heads` heads: out row 2j = in row j, out row 2j+1 = in row j + hd/2. out_scale may be null. */
MG_API int32_t mg_pack_tensor(uint32_t type, uint32_t ternary, uint32_t heads, const float* weights,
                              uint64_t rows, uint64_t cols, uint8_t* out, uint64_t out_bytes,
                              float* out_scale);
/* The inverse, to float32 (rows, cols). I2_S and TQ types give t * scale. */
MG_API int32_t mg_unpack_tensor(uint32_t type, const uint8_t* packed, uint64_t packed_bytes, uint64_t rows,
                                uint64_t cols, float* out);

/* ---- GGUF files (cpp/cpu/gguf*.cpp) ------------------------------------------------------------- */
typedef struct mg_gguf_value {  /* 64 bytes; pointers are into a copy of the header, valid until the file
                                 * is freed */
  uint64_t key;           /*  0: address of the key, not NUL-terminated */
  uint64_t key_bytes;     /*  8 */
  uint64_t data;          /* 16: address of the value: a scalar, a string's bytes, or an array's items */
  uint64_t data_bytes;    /* 24 */
  uint64_t count;         /* 32: items of an array, else 1 */
  uint32_t type;          /* 40: GGUF value type */
  uint32_t element_type;  /* 44: of an array, else the type again */
  uint64_t reserved[2];   /* 48 */
} mg_gguf_value;
typedef struct mg_gguf_tensor {  /* 64 bytes */
  uint64_t name;          /*  0: address */
  uint64_t name_bytes;    /*  8 */
  uint64_t offset;        /* 16: in the file */
  uint64_t data_bytes;    /* 24 */
  uint64_t cols;          /* 32: ne0 */
  uint64_t rows;          /* 40: product of the other dimensions */
  uint32_t type;          /* 48: ggml type */
  uint32_t n_dims;        /* 52 */
  uint64_t reserved;      /* 56 */
} mg_gguf_tensor;
/* Maps a GGUF v3 file, copies its header and checks every length, offset, count, type, alignment and
 * overlap. MG_E_FORMAT names what is wrong and its limit; nothing of a refused file stays. A file that is
 * cut off later is MG_E_FORMAT for whoever then reads a tensor. path: UTF-8 bytes. */
MG_API int32_t mg_gguf_open(const uint8_t* path, uint64_t path_bytes, void** out_file);
/* The same from memory (copied). */
MG_API int32_t mg_gguf_parse(const uint8_t* bytes, uint64_t n, void** out_file);
MG_API int32_t mg_gguf_free(void* file);
MG_API int32_t mg_gguf_counts(void* file, uint64_t* out_values, uint64_t* out_tensors);
MG_API int32_t mg_gguf_value_at(void* file, uint64_t index, mg_gguf_value* out);
MG_API int32_t mg_gguf_tensor_at(void* file, uint64_t index, mg_gguf_tensor* out);
/* Copies a tensor's packed bytes; n must be its data_bytes. */
MG_API int32_t mg_gguf_tensor_read(void* file, uint64_t index, uint8_t* out, uint64_t n);

/* ---- inference models (cpp/cpu/infer*.cpp) ------------------------------------------------------ */
/* In libmagnet_cuda, which has this section but for mg_pack_*, mg_unpack_tensor and mg_bench_product:
 * `threads` is the index of the GPU; ternary models with one scale a matrix, embedding and head in fp16 or
 * the head in int8; caches of 16 bits and bitnet rounding alone (what else there is: MG_E_UNSUPPORTED); a
 * pool's memory is taken when it is made; a batch is cancelled only before it starts. */
/* From a latent parameter arena of n floats (copied and ternarised; the arena may go). threads: of every
 * call on the model and its sessions. */
MG_API int32_t mg_infer_from_params(const mg_model_config* config, const float* params, uint64_t n,
                                    uint32_t threads, void** out_model);
/* From an open GGUF file (which may be freed afterwards): arch llama or bitnet; tensors TQ1_0, TQ2_0 and
 * I2_S, and F32, F16, BF16, Q8_0, Q4_0, Q4_K and Q6_K, which embedding and head may have as well.
 * head: MG_HEAD_FILE, or rounded to int8 with a scale per row, or to int4 with one per 32 columns (bitnet
 * rounding only). */
enum { MG_HEAD_FILE = 0, MG_HEAD_INT8 = 1, MG_HEAD_INT4 = 2 };
MG_API int32_t mg_infer_from_gguf(void* file, uint32_t threads, uint32_t head, void** out_model);
/* Sessions keep what they need of it alive. */
MG_API int32_t mg_infer_free(void* model);
MG_API int32_t mg_infer_config(void* model, mg_model_config* out);
/* bytes_weights: bytes read for one decoded token (ternary codes, scales, norms and head). */
MG_API int32_t mg_infer_bytes(void* model, uint64_t* out_bytes_weights);
/* Seconds of one product of random weights (rows, cols) with n rows of activations, in each of `repeat`
 * rounds over 256 MiB of such matrices, and the bytes of one. kind: 0 ternary, 1 Q6_K, 2 int8, 3 int4. */
MG_API int32_t mg_bench_product(uint32_t kind, uint32_t rows, uint32_t cols, uint32_t n, uint32_t threads,
                                uint32_t repeat, double* out_seconds, uint64_t* out_bytes);

enum { MG_ROUNDING_BITNET = 0, MG_ROUNDING_LLAMACPP = 1 };
typedef struct mg_session_options {  /* 16 bytes */
  uint32_t context;   /*  0: most tokens kept; 0 = the model's context */
  uint32_t rounding;  /*  4: 0 = per-token int8 as in training; 1 = the bits of llama.cpp's
                         * AVX2 library, token by token, flash attention off */
  uint32_t kv_bits;   /*  8: 16 or 32 (32 only with rounding 0; what the trainer computes) */
  uint32_t reserved;  /* 12: 0 */
} mg_session_options;
/* A session is one sequence with its KV cache. Not to be used by two threads at once. */
MG_API int32_t mg_session_create(void* model, const mg_session_options* options, void** out_session);
MG_API int32_t mg_session_free(void* session);
/* Appends n tokens. out_logits: (n - first_logits, vocab) floats, of the positions from first_logits on;
 * null with first_logits = n. A row's bits do not depend on how tokens are cut into calls, on threads or
 * on the CPU path. Cancelled: the session keeps the tokens of the chunks that were complete. */
MG_API int32_t mg_session_eval(void* session, const int32_t* tokens, uint64_t n, uint64_t first_logits,
                               float* out_logits, const int32_t* cancel);
/* One token for each of n distinct sessions of one model and rounding; out_logits (n, vocab). Cancelled:
 * no session moves on. */
MG_API int32_t mg_session_decode(void* const* sessions, const int32_t* tokens, uint64_t n,
                                 float* out_logits, const int32_t* cancel);
MG_API int32_t mg_session_length(void* session, uint64_t* out_tokens);
/* Forgets all but the first n tokens (prefix reuse). */
MG_API int32_t mg_session_truncate(void* session, uint64_t n);

/* ---- batches over a pool of cached keys and values (cpp/cpu/infer_kv.*, infer_batch.cpp) ----------
 * The pool is a fixed number of blocks of MG_KV_BLOCK positions (all layers of a position stand in one
 * block). Which sequence owns which blocks, and which are shared, is the caller's business: a call names
 * them by a table. A block that several sequences share is only read, because a row writes nothing but
 * its own position. Pages of a block cost memory from their first use on. */
enum { MG_KV_BLOCK = 16 };
/* kv_bits: 16, or 32 (what the trainer computes). */
MG_API int32_t mg_kv_create(void* model, uint32_t blocks, uint32_t kv_bits, void** out_pool);
MG_API int32_t mg_kv_free(void* pool);
/* Bytes of one block. */
MG_API int32_t mg_kv_block_bytes(void* pool, uint64_t* out_bytes);
/* Gives the pages of blocks that hold nothing any more back to the system. */
MG_API int32_t mg_kv_release(void* pool, const uint32_t* blocks, uint64_t n);

enum { MG_OUTPUT_NONE = 0, MG_OUTPUT_LOGITS = 1, MG_OUTPUT_HIDDEN = 2 };
typedef struct mg_batch_row {  /* 16 bytes; rows of one sequence stand together, by position */
  int32_t  token;     /*  0 */
  uint32_t position;  /*  4: in its sequence; all before it are cached or in this batch */
  uint32_t sequence;  /*  8: index into the tables */
  uint32_t output;    /* 12: MG_OUTPUT_*: the row's logits (vocab floats), the normed last hidden state
                       *     (d_model floats), or nothing */
} mg_batch_row;
/* Runs 1..MG_BATCH_ROWS rows. tables: block numbers of sequence s at [starts[s], starts[s + 1]), in
 * order of position; starts: n_sequences + 1. out_logits: (rows with LOGITS, vocab), out_hidden: (rows
 * with HIDDEN, d_model), in order of the rows; null where there are none. A row's bits depend on its own
 * sequence alone: not on the batch, the cut into calls, threads or the CPU path. rounding: MG_ROUNDING_*.
 * Cancelled: nothing that later calls read is half written, the rows may be run again. */
enum { MG_BATCH_ROWS = 512 };
MG_API int32_t mg_batch_eval(void* model, void* pool, uint32_t rounding, const mg_batch_row* rows,
                             uint64_t n_rows, const uint32_t* tables, const uint32_t* starts,
                             uint64_t n_sequences, float* out_logits, float* out_hidden,
                             const int32_t* cancel);
/* The same, and draws a token for every row with LOGITS (n_outputs of them, in order) by its sampler
 * (magnet_sample.h), each of which then accepts it. Logits stay inside. Results as of mg_sampler_draw:
 * out_tokens (n_outputs), out_logprobs (n_outputs), out_top_ids and out_top_logprobs (n_outputs,
 * MG_TOP_LOGPROBS; -1 beyond what the sampler was asked for). */
MG_API int32_t mg_batch_step(void* model, void* pool, uint32_t rounding, const mg_batch_row* rows,
                             uint64_t n_rows, const uint32_t* tables, const uint32_t* starts,
                             uint64_t n_sequences, void* const* samplers, uint64_t n_outputs,
                             int32_t* out_tokens, float* out_logprobs, int32_t* out_top_ids,
                             float* out_top_logprobs, float* out_hidden, const int32_t* cancel);
/* Handles of models, pools, samplers, vocabularies and grammars that are alive in this process. */
MG_API int32_t mg_live_handles(uint64_t* out_count);
