/* Training section of the C ABI. Included by magnet.h inside extern "C"; do not include alone. */
enum {
  MG_OPTIMIZER_ADAMW = 0, /* every tensor */
  MG_OPTIMIZER_MUON = 1,  /* the matrices of the blocks by Muon; embedding and norms by AdamW */
};
typedef struct mg_optimizer { /* 48 bytes */
  uint32_t kind;              /*  0: MG_OPTIMIZER_* */
  float lr;                   /*  4: serves both: a step of Muon has about the RMS of AdamW's */
  float beta1;                /*  8 */
  float beta2;                /* 12 */
  float eps;                  /* 16 */
  float weight_decay;         /* 20: matrices only (embedding included), norms never */
  float clip;                 /* 24: global-norm limit; 0 = off */
  float momentum;             /* 28: of Muon (Nesterov) */
  uint64_t step;              /* 32: 1-based, for the bias correction */
  uint64_t reserved;          /* 40: 0 */
} mg_optimizer;

enum {
  MG_PRECISION_BACKEND = 0, /* CPU: float32; CUDA: bfloat16 operands of the products with gradients */
  MG_PRECISION_FLOAT32 = 1, /* on every backend; slow on CUDA, for audits and tests */
};
typedef struct mg_trainer_options { /* 32 bytes */
  uint32_t batch;                   /*  0: sequences of a micro-batch */
  uint32_t context;                 /*  4: tokens of a sequence */
  uint32_t threads;                 /*  8 */
  uint32_t recompute; /* 12: 1 = keep each block's input only and compute the rest again in
                             backward: the same bits, about a tenth more time, less memory */
  uint32_t optimizer; /* 16: MG_OPTIMIZER_* that mg_trainer_step will be given */
  uint32_t precision;               /* 20: MG_PRECISION_* */
  uint32_t device;                  /* 24: number of the GPU; 0 on the CPU */
  uint32_t reserved;                /* 28: 0 */
} mg_trainer_options;

typedef struct mg_step_result { /* 32 bytes */
  double loss;                  /*  0: mean cross-entropy, nats per token */
  double grad_norm;             /*  8: before clipping */
  uint64_t tokens;              /* 16: targets counted */
  uint64_t reserved;            /* 24 */
} mg_step_result;

typedef struct mg_orpo_result { /* 72 bytes */
  double loss;                  /*  0: nll + beta * odds_loss */
  double nll;                   /*  8: mean over the chosen responses' tokens, nats */
  double odds_loss;             /* 16: mean over the pairs of -log sigmoid(log odds ratio) */
  double log_odds;              /* 24: mean log odds ratio */
  double logp_chosen;           /* 32: mean over the pairs of the response's mean log-prob */
  double logp_rejected;         /* 40 */
  double grad_norm;             /* 48: before clipping */
  uint64_t wins;                /* 56: pairs whose chosen response has the higher mean log-prob */
  uint64_t tokens;              /* 64: labels counted, of both responses */
} mg_orpo_result;

typedef struct mg_stream_stats { /* 16 bytes: a residual stream over the positions of a batch */
  double rms;                    /*  0 */
  double largest;                /*  8: largest magnitude */
} mg_stream_stats;

typedef struct mg_tensor_stats { /* 32 bytes */
  double weight_rms;             /*  0 */
  double gradient_rms;           /*  8: of the last gradient, before clipping */
  double scale;                  /* 16: of a ternary tensor: mean |w|; else 0 */
  double zero_share;             /* 24: of a ternary tensor: its codes that are 0; else 0 */
} mg_tensor_stats;

/* Bytes that training commits: the arenas that the optimizer touches, activations, the workspace of
 * the optimizer and the logits of one chunk. (More is mapped, but never touched.) */
MG_API int32_t mg_trainer_bytes(const mg_model_config* config, const mg_trainer_options* options,
                                uint64_t* out_bytes);
typedef struct mg_trainer_memory { /* 48 bytes: the first four are the parts of mg_trainer_bytes */
  uint64_t arenas;                 /*  0: parameters, moments, gradient */
  uint64_t weights;                /*  8: what products take of the parameters */
  uint64_t activations;            /* 16: what forward keeps for backward */
  uint64_t workspace;              /* 24: all else: gradients of activations, logits, sums */
  uint64_t host_steps;             /* 32: of a GPU's host, page-locked: what goes to and fro in a step */
  uint64_t host_copies;            /* 40: the same: params, m and v, for checkpoints and snapshots */
} mg_trainer_memory;
MG_API int32_t mg_trainer_memory_parts(const mg_model_config* config,
                                       const mg_trainer_options* options, mg_trainer_memory* out);
/* A trainer owns params, m, v and grad arenas (each n = mg_model_param_count floats) and
 * activations for batch x context tokens. */
MG_API int32_t mg_trainer_create(const mg_model_config* config, const mg_trainer_options* options,
                                 void** out_trainer);
MG_API int32_t mg_trainer_free(void* trainer);
/* Pointers into the trainer, valid until it is freed: which = 0 params, 1 m, 2 v, 3 grad; from 4
 * on see "a round of training together". Muon keeps its momentum in m and leaves v of its matrices
 * untouched (zero). */
MG_API int32_t mg_trainer_arena(void* trainer, uint32_t which, float** out);
/* Where the arenas are on a device, the pointers above are to copies in the host's memory: pull before
 * reading, push after writing. On the CPU both do nothing. */
MG_API int32_t mg_trainer_pull(void* trainer, uint32_t which);
MG_API int32_t mg_trainer_push(void* trainer, uint32_t which);
/* Begins to bring params, m and v, as they are now, into the host's copies beside the calls that follow:
 * only an update waits, on the device, until it may overwrite them. mg_trainer_snapshot_wait: until they
 * have arrived, from any thread, also while another call of this trainer runs. Neither pull nor push
 * before that. On the CPU both do nothing: the arenas themselves have to be read before the next step. */
MG_API int32_t mg_trainer_snapshot(void* trainer);
MG_API int32_t mg_trainer_snapshot_wait(void* trainer);
/* tokens: (accumulate, batch, context + 1) int32; -100 = a target that is not counted (as an input
 * it reads as token 0, so padding belongs at the end). The loss is the mean over the counted
 * targets of all micro-batches. One optimizer step: zero the gradient, forward and backward over
 * `accumulate` micro-batches, clip, update. NaN or Inf in loss or gradient norm: MG_E_NUMERIC and
 * the parameters stay as they were. */
MG_API int32_t mg_trainer_step(void* trainer, const int32_t* tokens, uint32_t accumulate,
                               const mg_optimizer* optimizer, const int32_t* cancel,
                               mg_step_result* out);
/* Wall time of the steps since the last reset by kernel and site, as JSON of at most 16 KiB; names in
 * cpp/cpu/profile.cpp. The entries are disjoint and add up to the steps. On a GPU: time of the device;
 * "other" and "optimizer" alone, unless it was reset by reset = 2, which has the steps that follow run
 * part by part, without graphs; and "products", the paths that were measured for matrix products. */
MG_API int32_t mg_trainer_profile(void* trainer, uint32_t reset, char* out, uint64_t capacity);
/* Forward and backward only, into the grad arena (zeroed first); for tests and audits. */
MG_API int32_t mg_trainer_gradient(void* trainer, const int32_t* tokens, const int32_t* cancel,
                                   mg_step_result* out);
/* Forward only: sum of negative log-likelihoods (nats) over the counted targets. tokens: (rows,
 * context+1), rows <= batch. */
MG_API int32_t mg_trainer_eval(void* trainer, const int32_t* tokens, uint32_t rows,
                               const int32_t* cancel, double* out_nll_sum, uint64_t* out_count);
/* As mg_trainer_eval, every target by itself: out_losses (rows, context), 0 where it is not counted.
 * out_streams: null, or (n_layers + 1): the residual stream at the entry of each block and behind the
 * last, padding included. */
MG_API int32_t mg_trainer_token_losses(void* trainer, const int32_t* tokens, uint32_t rows,
                                       const int32_t* cancel, float* out_losses,
                                       mg_stream_stats* out_streams);
/* One entry for each tensor, in canonical order (mg_model_tensor_count). */
MG_API int32_t mg_trainer_tensor_stats(void* trainer, mg_tensor_stats* out);
/* Logits of every position of one sequence, (n_tokens, vocab) float32; n_tokens <= context. */
MG_API int32_t mg_trainer_logits(void* trainer, const int32_t* tokens, uint32_t n_tokens,
                                 float* out);
/* One step of ORPO (odds-ratio preference optimization) on preference pairs; formulas in
 * tests/golden/bitnet/README.md. tokens, labels: (accumulate, pairs, 2, width) int32, the chosen
 * sequence before the rejected one, width <= context + 1 and 2 * pairs <= batch. A label equals the
 * token at its place where that counts (a response) and is -100 elsewhere (prompt, padding, which
 * belongs at the end); every sequence needs one. The means are over all micro-batches. optimizer null:
 * only the gradient. MG_E_NUMERIC as mg_trainer_step. */
MG_API int32_t mg_trainer_orpo(void* trainer, const int32_t* tokens, const int32_t* labels,
                               uint32_t pairs, uint32_t width, uint32_t accumulate, float beta,
                               const mg_optimizer* optimizer, const int32_t* cancel,
                               mg_orpo_result* out);
/* Sum of the log-probs (nats) of the labels of each sequence, and their number. tokens, labels:
 * (sequences, width) as for mg_trainer_orpo, sequences <= batch. */
MG_API int32_t mg_trainer_logps(void* trainer, const int32_t* tokens, const int32_t* labels,
                                uint32_t sequences, uint32_t width, const int32_t* cancel,
                                double* out_sums, uint64_t* out_counts);
/* ---- a round of training together (paper 10) ----------------------------------------------------
 * Pseudo-gradients and the outer step on the trainer's own arrays, wherever those are: arithmetic and
 * bytes are those of magnet_codec.h, the same bits on every device. Four more arenas for
 * mg_trainer_arena, pull and push:
 *   4 base: the parameters that the round started from   5 outer momentum
 *   6 residual of the error feedback                     7 weighted sum of pseudo-gradients
 * Each is made (of zeros, 4 n bytes) when it is first used and stays until it is released; the copy in
 * the host's memory, on a device, when it is first asked for. mg_trainer_bytes counts none of them.
 *   a state arrives:  base and outer momentum written and pushed
 *   it is trained:    copy base to params; steps; mg_trainer_delta_compress
 *   it is merged:     mg_trainer_outer_add for each contribution, in order; mg_trainer_outer_step; then
 *                     base and outer momentum are the next state, to pull or to go on from
 * MG_E_CANCELLED, MG_E_NUMERIC, MG_E_FORMAT: nothing was changed. */
/* to = from, without a way through the host. */
MG_API int32_t mg_trainer_copy(void* trainer, uint32_t from, uint32_t to);
/* Frees an arena, 4..7, and its copy: the next use finds zeros. Pointers to it end. */
MG_API int32_t mg_trainer_release(void* trainer, uint32_t which);
/* mg_delta_compress of base - params; feedback 1: with the residual, 0: without one. A device takes
 * out_bytes of its memory meanwhile, the CPU 4 n. */
MG_API int32_t mg_trainer_delta_compress(void* trainer, uint32_t kind, uint32_t feedback,
                                         uint8_t* out, uint64_t out_bytes, const int32_t* cancel);
/* MG_E_FORMAT unless mg_delta_compress can have written the bytes for n elements. */
MG_API int32_t mg_trainer_delta_check(void* trainer, const uint8_t* bytes, uint64_t length,
                                      const int32_t* cancel);
/* sum = fma(weight, decompressed, sum). To begin a sum anew, release it before. A device takes `length`
 * of its memory meanwhile, the CPU 4 n. */
MG_API int32_t mg_trainer_outer_add(void* trainer, const uint8_t* bytes, uint64_t length,
                                    float weight, const int32_t* cancel);
/* mg_outer_step on base and outer momentum with the sum, which is released: nothing but these two is
 * changed. MG_E_INVALID where nothing was added. */
MG_API int32_t mg_trainer_outer_step(void* trainer, float lr, float mu, const int32_t* cancel);

/* Learning rate at a 1-based step. kind: 0 constant, 1 WSD (warmup 1%, stable, linear decay over
 * the last 15% to 0), 2 cosine with 1% warmup, 3 BitNet's two stages (warmup 1%; peak * (1 - step /
 * total) in the first half, two thirds of that in the second). Computed here so that every host gets
 * the same bits. */
MG_API int32_t mg_schedule(uint32_t kind, uint64_t step, uint64_t total_steps, float peak,
                           float* out_lr);
/* Weight decay at a 1-based step. kind: 0 constant, 1 two stages: 0 in the second half. */
MG_API int32_t mg_decay_schedule(uint32_t kind, uint64_t step, uint64_t total_steps,
                                 float weight_decay, float* out_decay);

/* ---- single operations (cpp/cpu/ops.cpp) --------------------------------------------------------
 * The kernels of training one by one, row-major float32; formulas in tests/golden/bitnet/README.md.
 * Outputs are overwritten, except those marked "added to". */
/* c (m, n) = or (accumulate) += A B; a is (m, k), transposed (k, m); b is (k, n), transposed (n,
 * k). */
MG_API int32_t mg_op_gemm(uint32_t threads, uint32_t m, uint32_t n, uint32_t k, const float* a,
                          uint32_t a_transposed, const float* b, uint32_t b_transposed,
                          uint32_t accumulate, float* c);
MG_API int32_t mg_op_rmsnorm(uint32_t threads, const float* x, const float* w, uint32_t rows,
                             uint32_t n, float eps, float* out);
/* dw (n) is added to. */
MG_API int32_t mg_op_rmsnorm_backward(uint32_t threads, const float* x, const float* w,
                                      const float* dy, uint32_t rows, uint32_t n, float eps,
                                      float* dx, float* dw);
/* x (rows, heads * head_dim) in place; row i is at position i % context. */
MG_API int32_t mg_op_rope(uint32_t threads, float* x, uint32_t rows, uint32_t context,
                          uint32_t heads, uint32_t head_dim, float theta, uint32_t backward);
MG_API int32_t mg_op_swiglu(const float* gate, const float* up, uint64_t n, float* h);
MG_API int32_t mg_op_swiglu_backward(const float* gate, const float* up, const float* dh,
                                     uint64_t n, float* dgate, float* dup);
/* q, o (sequences, context, heads, head_dim); k, v (sequences, context, kv_heads, head_dim);
 * causal. */
MG_API int32_t mg_op_gqa(uint32_t threads, const float* q, const float* k, const float* v,
                         uint32_t sequences, uint32_t context, uint32_t heads, uint32_t kv_heads,
                         uint32_t head_dim, float* o);
MG_API int32_t mg_op_gqa_backward(uint32_t threads, const float* q, const float* k, const float* v,
                                  const float* d_o, uint32_t sequences, uint32_t context,
                                  uint32_t heads, uint32_t kv_heads, uint32_t head_dim, float* dq,
                                  float* dk, float* dv);
/* y (rows, n) = x (rows, k) w^T (n, k), both quantised; the codes and reciprocal scales are
 * returned. */
MG_API int32_t mg_op_bitlinear(uint32_t threads, const float* x, const float* w, uint32_t rows,
                               uint32_t n, uint32_t k, float* y, int8_t* w_ternary,
                               float* w_inverse, int8_t* x_int8, float* x_inverse);
/* dw is added to. */
MG_API int32_t mg_op_bitlinear_backward(uint32_t threads, const float* x, const float* w,
                                        const float* dy, uint32_t rows, uint32_t n, uint32_t k,
                                        float* dx, float* dw);
/* Mean over the rows whose target is not -100. */
MG_API int32_t mg_op_cross_entropy(const float* logits, const int32_t* targets, uint32_t rows,
                                   uint32_t vocab, double* out_loss, float* dlogits);
MG_API int32_t mg_op_embed(const float* embedding, const int32_t* ids, uint32_t rows,
                           uint32_t width, uint32_t vocab, float* x);
/* dembedding (vocab, width) is added to. */
MG_API int32_t mg_op_embed_backward(const float* dx, const int32_t* ids, uint32_t rows,
                                    uint32_t width, uint32_t vocab, float* dembedding);
/* One Muon step on a matrix (rows, cols), clip included; see cpp/cpu/muon.hpp. */
MG_API int32_t mg_op_muon(uint32_t threads, const mg_optimizer* optimizer, const float* g, float* p,
                          float* m, uint32_t rows, uint32_t cols);
/* One AdamW step on n elements of one matrix, clip included. */
MG_API int32_t mg_op_adamw(uint32_t threads, const mg_optimizer* optimizer, const float* g,
                           float* p, float* m, float* v, uint64_t n);
/* The odds-ratio part of ORPO over pairs of mean log-probs (nats, <= 0): log odds ratio, its loss
 * -log sigmoid(log_odds), and the derivatives of that loss by both log-probs, each (pairs). */
MG_API int32_t mg_op_odds_ratio(const double* logp_chosen, const double* logp_rejected,
                                uint32_t pairs, double* log_odds, double* loss, double* d_chosen,
                                double* d_rejected);
