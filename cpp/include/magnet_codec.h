/* codec section of the C ABI. Included by magnet.h inside extern "C"; do not include alone.
 *
 * ---- Reed-Solomon over GF(2^8), polynomial 0x11D, generator 2, systematic -----------------------
 * A code has K data shards and M parity shards: K >= 1, M >= 1, K + M <= 256. Shards 0..K-1 are the
 * data, shard K+m is parity m: the sum over j of P[m][j] * data[j]. Two matrices and no others:
 *   0 paper:  P[m][j] = (m+1)^j, where M <= 2 or K <= 3 (elsewhere it is not MDS);
 *   1 cauchy: P[m][j] = 1 / ((K+m) xor j), everywhere else.
 * Shard buffers are handed over as tables of addresses (u64 each); all have `length` bytes, need no
 * alignment and must not overlap. Calls are stateless: a stripe at a time gives the same bytes as all
 * at once, and so does every thread count and CPU path. */
enum { MG_RS_PAPER = 0, MG_RS_CAUCHY = 1 };
/* State of one shard in mg_rs_reconstruct. */
enum { MG_RS_IGNORE = 0, MG_RS_PRESENT = 1, MG_RS_WANTED = 2 };

/* The matrix id of (K, M) and, where out is not null, its M x K parity rows. */
MG_API int32_t mg_rs_matrix(uint32_t data_shards, uint32_t parity_shards, uint32_t* out_id,
                            uint8_t* out);
/* data: K addresses, parity: M addresses. */
MG_API int32_t mg_rs_encode(uint32_t data_shards, uint32_t parity_shards, const uint64_t* data,
                            const uint64_t* parity, uint64_t length, uint32_t threads,
                            const int32_t* cancel);
/* shards: K+M addresses (those to ignore may be 0); states: K+M bytes MG_RS_*. Fills every wanted
 * shard from the first K present ones; fewer than K present: MG_E_INVALID. */
MG_API int32_t mg_rs_reconstruct(uint32_t data_shards, uint32_t parity_shards,
                                 const uint64_t* shards, const uint8_t* states, uint64_t length,
                                 uint32_t threads, const int32_t* cancel);

/* ---- pseudo-gradients and the outer step --------------------------------------------------------
 * Every call is elementwise, or blockwise in fixed blocks, so results never depend on threads or CPU
 * path. A call that would produce NaN or Inf returns MG_E_NUMERIC and changes nothing. */

/* out = theta_prev - theta. out may be either input. */
MG_API int32_t mg_delta_make(const float* theta_prev, const float* theta, float* out, uint64_t n,
                             uint32_t threads, const int32_t* cancel);
/* sum = fma(weight, delta, sum). The order of calls is the order of the summation. */
MG_API int32_t mg_delta_accumulate(float* sum, const float* delta, float weight, uint64_t n,
                                   uint32_t threads, const int32_t* cancel);
/* Nesterov: m = fma(mu, m, delta); theta = fma(-lr, fma(mu, m, delta), theta). In place. */
MG_API int32_t mg_outer_step(float* theta, float* momentum, const float* delta, float lr, float mu,
                             uint64_t n, uint32_t threads, const int32_t* cancel);

/* How far two arrays are apart: out[0], out[1] = sums of the squares of a and b, out[2] = of a - b, in
 * float64, the same bits for every thread count. NaN or Inf in either: MG_E_NUMERIC. */
MG_API int32_t mg_delta_compare(const float* a, const float* b, uint64_t n, uint32_t threads,
                                const int32_t* cancel, double* out);

/* Compressed pseudo-gradient, little-endian:
 *   0: u32 magic 0x3144474D ("MGD1")   4: u32 kind (MG_DELTA_*)   8: u64 n   16: u32 block   20: u32 0
 *   24: fp32: n x f32 | fp16: n x binary16 | int8, int4: f32 scale per block of MG_DELTA_BLOCK
 *       elements, then n x int8 in -127..127, or two elements a byte, the even one in the low nibble,
 *       as two's complement in -7..7 (a nibble left over is 0).
 * value = q * scale, scale = absmax / 127 or / 7, q = x / scale rounded half to even. block is
 * MG_DELTA_BLOCK for int8 and int4, else 0. */
enum { MG_DELTA_FP32 = 0, MG_DELTA_FP16 = 1, MG_DELTA_INT8 = 2, MG_DELTA_INT4 = 3 };
#define MG_DELTA_BLOCK 128
#define MG_DELTA_HEADER_BYTES 24

/* Length of the compressed form; 1 <= n <= 2^40. */
MG_API int32_t mg_delta_bytes(uint32_t kind, uint64_t n, uint64_t* out_bytes);
/* Compresses x = delta + residual and leaves x - decompressed in residual (error feedback; null:
 * neither). A magnitude above 65504 (fp16) or 2^120 (int8, int4) is MG_E_NUMERIC. out_bytes must be
 * exactly mg_delta_bytes. */
MG_API int32_t mg_delta_compress(uint32_t kind, const float* delta, float* residual, uint64_t n,
                                 uint8_t* out, uint64_t out_bytes, uint32_t threads,
                                 const int32_t* cancel);
/* Strict: bytes that mg_delta_compress cannot have written for n elements are MG_E_FORMAT, and out is
 * left as it was. NaN, Inf, negative or huge scales included. out_kind may be null. */
MG_API int32_t mg_delta_decompress(const uint8_t* bytes, uint64_t length, float* out, uint64_t n,
                                   uint32_t* out_kind, uint32_t threads, const int32_t* cancel);
