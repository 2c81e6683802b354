/* Sampling section of the C ABI: drawing tokens, samplers with state, and constraints on the text.
 * Included by magnet.h inside extern "C"; do not include alone. */

typedef struct mg_sampling {  /* 48 bytes */
  float temperature;         /*  0: 0 = greedy */
  float top_p;               /*  4: 1 = off */
  float min_p;               /*  8: 0 = off; share of the most likely token's probability */
  float repetition_penalty;  /* 12: 1 = off; logits of recent tokens are divided (positive) or multiplied */
  uint32_t top_k;            /* 16: 0 = off */
  uint32_t reserved;         /* 20: 0 */
  uint64_t seed;             /* 24 */
  uint64_t step;             /* 32: number of the sampled token in its sequence: (seed, step) fixes the draw */
  uint64_t reserved2;        /* 40: 0 */
} mg_sampling;

/* ---- samplers: a sequence's options, recent tokens and constraint (cpp/cpu/sampler.cpp) ------------ */
enum { MG_TOP_LOGPROBS = 20, MG_RECENT_TOKENS = 256 };
typedef struct mg_sampler_options {  /* 64 bytes */
  mg_sampling sampling;      /*  0: its step is where the sampler starts */
  float presence_penalty;    /* 48: taken off the logit of every token that was drawn; -2..2, 0 = off */
  float frequency_penalty;   /* 52: taken off for every time that it was drawn; -2..2, 0 = off */
  uint32_t top_logprobs;     /* 56: 0..MG_TOP_LOGPROBS */
  uint32_t token_budget;     /* 60: draws that there will be at most, the end token among them; 0 = not
                              * known. With a constraint: as soon as closing the text would else come
                              * too late, only tokens that keep the end within reach are allowed. A
                              * budget in which no text fits at all changes nothing. */
} mg_sampler_options;
/* bias: n_bias pairs, may be null; -Inf bans a token. grammar: null, or a constraint of which the sampler takes a fresh run; the
 * sampler keeps what it needs of it alive. Order: bias, repetition penalty, presence and frequency
 * penalty, constraint, temperature, top-k, top-p, min-p. Ties go to the lower id. */
MG_API int32_t mg_sampler_create(uint64_t vocab, const mg_sampler_options* options,
                                 const int32_t* bias_ids, const float* bias_values, uint64_t n_bias,
                                 void* grammar, void** out_sampler);
MG_API int32_t mg_sampler_free(void* sampler);
/* Tokens of the prompt, for the repetition penalty (the last MG_RECENT_TOKENS, drawn ones included, count);
 * they do not pass the constraint. */
MG_API int32_t mg_sampler_prompt(void* sampler, const int32_t* tokens, uint64_t n);
/* Draws the next token and accepts it. out_logprob: under the unmodified logits, as the alternatives in
 * out_top_ids and out_top_logprobs (MG_TOP_LOGPROBS each, most likely first, -1 and 0 beyond what was
 * asked for; both may be null). MG_E_NUMERIC where a logit is NaN or +Inf, or nothing can be drawn; a
 * failed draw leaves the sampler as it was. */
MG_API int32_t mg_sampler_draw(void* sampler, const float* logits, int32_t* out_token,
                               float* out_logprob, int32_t* out_top_ids, float* out_top_logprobs);

/* ---- constraints (cpp/cpu/vocabulary.cpp, grammar*.cpp) --------------------------------------------
 * A pushdown automaton over bytes, compiled by src/model/constraint/ from a JSON schema, and the bytes
 * of a vocabulary's tokens. A token is allowed where its bytes lead on to some complete text that the
 * vocabulary can write byte by byte; the end tokens only where the text is complete, and after the
 * first of them nothing else. */
/* bytes: of all tokens one after the other; ends: (vocab) where each ends; a token without bytes is
 * never allowed, except end_ids (at least one), whose bytes do not count. Shared by its grammars. */
MG_API int32_t mg_vocabulary_create(const uint8_t* bytes, uint64_t n_bytes, const uint32_t* ends,
                                    uint64_t vocab, const int32_t* end_ids, uint64_t n_end_ids,
                                    void** out_vocabulary);
MG_API int32_t mg_vocabulary_free(void* vocabulary);
/* program: as src/model/constraint/program.ts lays it out; MG_E_FORMAT where it breaks its layout,
 * MG_E_UNSUPPORTED where it has no text. Keeps the vocabulary alive. Masks are cached in it: samplers of
 * one constraint should share one grammar. */
MG_API int32_t mg_grammar_create(void* vocabulary, const uint8_t* program, uint64_t n_bytes,
                                 void** out_grammar);
MG_API int32_t mg_grammar_free(void* grammar);
/* For tests: what may follow a text. out_complete: 1 where it may end there. out_cost: bytes of the
 * shortest completion. out_mask: (vocab + 7) / 8 bytes, a bit for each token that is allowed with
 * draws_left draws to come (0: not known); may be null. MG_E_FORMAT where nothing can follow. */
MG_API int32_t mg_grammar_inspect(void* grammar, const uint8_t* text, uint64_t n_bytes,
                                  uint32_t draws_left, uint32_t* out_complete, uint32_t* out_cost,
                                  uint8_t* out_mask);
