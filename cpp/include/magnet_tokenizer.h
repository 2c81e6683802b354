/* tokenizer section of the C ABI. Included by magnet.h inside extern "C"; do not include alone.
 *
 * Byte-level BPE with the Llama-3 pre-tokenisation pattern (\s is White_Space; the first part folds
 * ASCII letters only):
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 *   \s*[\r\n]+|\s+(?!\S)|\s+
 * Text is bytes. Each byte that is not part of well-formed UTF-8 counts as one symbol that is
 * neither letter, number nor space, so every input encodes, and decoding gives the same bytes back.
 *
 * A vocabulary is `token_bytes`, the concatenated bytes of all tokens, with `offsets` of
 * vocab_size + 1 entries; token i is [offsets[i], offsets[i+1]). Pairs are uint32 left, right. */
#define MG_VOCAB_MAX (1u << 20)
#define MG_MERGES_MAX (1u << 21)
#define MG_TOKEN_BYTES_MAX 4096u       /* one token; longer ones are refused */
#define MG_SPECIALS_MAX 65536u
#define MG_SPECIAL_BYTES_MAX 256u      /* one special token */
#define MG_TRAINED_BYTES_MAX 1024u     /* one token that training makes */
/* One text of encode and pretokenize: a single word of this size takes 30 bytes of memory a byte. */
#define MG_ENCODE_BYTES_MAX (1u << 26)
#define MG_FEED_BYTES_MAX (1u << 30)   /* one text of the trainer */

typedef struct mg_tokenizer mg_tokenizer;
typedef struct mg_bpe_trainer mg_bpe_trainer;

/* Exclusive end positions of the pre-tokens of a text. ends: capacity entries; `bytes` suffice. */
MG_API int32_t mg_pretokenize(const uint8_t* text, uint64_t bytes, uint32_t* ends,
                              uint64_t capacity, uint64_t* out_count);

/* Checks a vocabulary and makes an encoder of it. MG_E_FORMAT: one of the 256 byte tokens is
 * missing, a token is empty, too long or occurs twice, a merge names an unknown id or a special
 * token, joins to bytes that are no token, or occurs twice. special_ids: tokens that no merge makes
 * and that encode only when asked. ignore_merges: a pre-token that is itself a token becomes it
 * whatever the merges say. */
MG_API int32_t mg_tokenizer_create(const uint8_t* token_bytes, uint64_t token_bytes_length,
                                   const uint32_t* offsets, uint32_t vocab_size,
                                   const uint32_t* merges, uint32_t merge_count,
                                   const uint32_t* special_ids, uint32_t special_count,
                                   uint32_t ignore_merges, mg_tokenizer** out);
/* The same from the tokenizer.* values of an open GGUF file (magnet_infer.h): tokens whose type is not
 * "normal" are special, ignore_merges is 1. MG_E_FORMAT also for another model than gpt2, another
 * pre-tokenizer than llama-bpe, and tokens not written in GPT-2's byte alphabet. The file may go. */
MG_API int32_t mg_tokenizer_from_gguf(void* file, mg_tokenizer** out);
MG_API int32_t mg_tokenizer_free(mg_tokenizer* tokenizer);

/* out_sizes: four of them: tokens, bytes of all tokens, merges, special tokens. */
MG_API int32_t mg_tokenizer_sizes(const mg_tokenizer* tokenizer, uint64_t* out_sizes);
/* Copies what the tokenizer was made of, as mg_tokenizer_create takes it; a null array is left out.
 * special_ids: in ascending order. */
MG_API int32_t mg_tokenizer_vocabulary(const mg_tokenizer* tokenizer, uint8_t* token_bytes,
                                       uint32_t* offsets, uint32_t* merges, uint32_t* special_ids);
/* Canonical JSON (sorted keys, no spaces) of a part of its tokenizer.json: 0 = model.vocab, 1 =
 * model.merges. Where out_bytes comes to more than the capacity, `out` stays as it is. */
MG_API int32_t mg_tokenizer_json(const mg_tokenizer* tokenizer, uint32_t part, uint8_t* out,
                                 uint64_t capacity, uint64_t* out_bytes);

/* ids: capacity entries; `bytes` always suffice, fewer give MG_E_INVALID when they run out.
 * parse_special: 1 = the text of a special token becomes that token (leftmost, longest); 0 = plain
 * text. Callable from several threads at once. */
MG_API int32_t mg_tokenizer_encode(mg_tokenizer* tokenizer, const uint8_t* text, uint64_t bytes,
                                   uint32_t parse_special, int32_t* ids, uint64_t capacity,
                                   uint64_t* out_count, const int32_t* cancel);
/* out may be null to learn out_bytes. skip_special: 1 leaves special tokens out. */
MG_API int32_t mg_tokenizer_decode(const mg_tokenizer* tokenizer, const int32_t* ids,
                                   uint64_t count, uint32_t skip_special, uint8_t* out,
                                   uint64_t capacity, uint64_t* out_bytes);

/* Trainer: feed texts (no pre-token spans two), run, read the result. One call at a time.
 * Initial tokens 0..255 are the bytes in the order of their characters in GPT-2's byte alphabet.
 * Each step joins the most frequent pair, among equals the one of smallest (left, right), exactly
 * as the reference trainer. */
MG_API int32_t mg_bpe_trainer_create(mg_bpe_trainer** out);
MG_API int32_t mg_bpe_trainer_free(mg_bpe_trainer* trainer);
/* by_line: 1 = each line with its newline is a text of its own, as the reference trainer reads
 * files; 0 = the whole is one. */
MG_API int32_t mg_bpe_trainer_feed(mg_bpe_trainer* trainer, const uint8_t* text, uint64_t bytes,
                                   uint32_t by_line, const int32_t* cancel);
/* Trains until there are token_limit tokens (256..MG_VOCAB_MAX) or no pair is left. min_count:
 * pairs that occur less often are not joined (0 and 1 are the same), nor are pairs that would give
 * more than MG_TRAINED_BYTES_MAX bytes. out_tokens: tokens made beyond
 * the 256; out_merges: merges, at least as many (two pairs may join to the same bytes). May be
 * called again with another limit. */
MG_API int32_t mg_bpe_trainer_run(mg_bpe_trainer* trainer, uint32_t token_limit,
                                  uint64_t min_count, uint32_t* out_tokens, uint32_t* out_merges,
                                  const int32_t* cancel);
/* made: 2 * out_tokens ids, the pair that first made token 256 + i.
 * merges: 2 * out_merges ids, by rank. */
MG_API int32_t mg_bpe_trainer_result(const mg_bpe_trainer* trainer, uint32_t* made,
                                     uint32_t* merges);
