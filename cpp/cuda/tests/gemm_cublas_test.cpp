// That cuBLASLt is asked for the right products: in its place stand functions that keep what they
// are told and multiply plainly, column by column, on the host's memory. Only in the emulation.
#include "../kernels/gemm_choice.hpp"
#include "../kernels/gemm_cublas.hpp"

#include <memory>

#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

/** A description, a layout or a preference. */
struct Told {
  int32_t transpose_a = 0, transpose_b = 0, pointer_mode = 0, type = 0;
  uint64_t rows = 0, columns = 0;
  int64_t stride = 0;
};
std::vector<std::unique_ptr<Told>> kept;
int multiplied = 0;
bool has_algorithm = true;

Told* keep(void** out) {
  kept.push_back(std::make_unique<Told>());
  *out = kept.back().get();
  return kept.back().get();
}
Told& told(void* p) { return *static_cast<Told*>(p); }

int32_t create(void** handle) { return keep(handle), 0; }
int32_t describe(void** out, int32_t compute, int32_t scale) {
  keep(out);
  return compute == 68 && scale == 0 ? 0 : 7;
}
int32_t set_description(void* d, int32_t which, const void* value, size_t bytes) {
  int32_t x;
  if (bytes != sizeof(x)) return 7;
  std::memcpy(&x, value, sizeof(x));
  if (which == 2) told(d).pointer_mode = x;
  if (which == 3) told(d).transpose_a = x;
  if (which == 4) told(d).transpose_b = x;
  return 0;
}
int32_t lay_out(void** out, int32_t type, uint64_t rows, uint64_t columns, int64_t stride) {
  Told* const l = keep(out);
  l->type = type, l->rows = rows, l->columns = columns, l->stride = stride;
  return stride >= static_cast<int64_t>(rows) ? 0 : 7;
}
int32_t prefer(void** out) { return keep(out), 0; }
int32_t set_preference(void*, int32_t which, const void*, size_t bytes) {
  return bytes == (which == 1 ? sizeof(size_t) : sizeof(uint32_t)) ? 0 : 7;
}
int32_t destroy(void*) { return 0; }
int32_t choose(void*, void*, void*, void*, void*, void*, void*, int32_t, cublas::Heuristic* found,
               int32_t* count) {
  *found = {};
  *count = has_algorithm ? 1 : 0;
  return 0;
}

double at(const void* data, const Told& l, uint64_t row, uint64_t column) {
  const uint64_t i = column * static_cast<uint64_t>(l.stride) + row;
  if (l.type == 14) return real_of(static_cast<const bf16*>(data)[i]);
  return real_of(static_cast<const float*>(data)[i]);
}
int32_t multiply(void*, void* description, const void* alpha, const void* a, void* a_layout,
                 const void* b, void* b_layout, const void* beta, const void* c, void* c_layout,
                 void* d, void* d_layout, const cublas::Algorithm*, void*, size_t, void*) {
  const Told& op = told(description);
  const Told& la = told(a_layout);
  const Told& lb = told(b_layout);
  const Told& ld = told(d_layout);
  const uint64_t depth = op.transpose_a == 1 ? la.rows : la.columns;
  const uint64_t depth_b = op.transpose_b == 1 ? lb.columns : lb.rows;
  const uint64_t rows = op.transpose_a == 1 ? la.columns : la.rows;
  const uint64_t columns = op.transpose_b == 1 ? lb.rows : lb.columns;
  if (depth != depth_b || rows != ld.rows || columns != ld.columns || op.pointer_mode != 1)
    return 7;
  const float add = *static_cast<const float*>(beta);
  for (uint64_t i = 0; i < rows; i++)
    for (uint64_t j = 0; j < columns; j++) {
      double sum = 0.0;
      for (uint64_t k = 0; k < depth; k++)
        sum += (op.transpose_a == 1 ? at(a, la, k, i) : at(a, la, i, k)) *
               (op.transpose_b == 1 ? at(b, lb, j, k) : at(b, lb, k, j));
      sum *= static_cast<double>(*static_cast<const float*>(alpha));
      if (add != 0.0f) sum += static_cast<double>(add) * at(c, told(c_layout), i, j);
      const uint64_t place = j * static_cast<uint64_t>(ld.stride) + i;
      if (ld.type == 14)
        static_cast<bf16*>(d)[place] = to_bf16(static_cast<float>(sum));
      else
        static_cast<float*>(d)[place] = static_cast<float>(sum);
    }
  multiplied++;
  return 0;
}

/** Once through these functions and once through own kernels. */
template <class C>
void test_product(bool a_mn, bool b_mn, bool accumulate, int64_t M = 33) {
  const Stream stream;
  Random random(7);
  constexpr int64_t N = 48, K = 70;
  const auto a =
      upload_matrix<bf16>(stream, a_mn ? K : M, a_mn ? M : K, random.values<bf16>(M * K));
  const auto b =
      upload_matrix<bf16>(stream, b_mn ? K : N, b_mn ? N : K, random.values<bf16>(N * K));
  const auto scale = upload<float>(stream, {0.75f});
  const Reals before = random.values<C>(M * N);
  const auto run = [&](const char* path) {
    setenv("MAGNET_GEMM", path, 1);
    const auto c = upload_matrix<C>(stream, M, N, before);
    gemm<bf16, C>(stream, a.view(), a_mn ? Layout::transposed : Layout::plain, b.view(),
                  b_mn ? Layout::plain : Layout::transposed, {scale.data(), accumulate}, c.view());
    return download_matrix(stream, c.view());
  };
  const int so_far = multiplied;
  const Reals theirs = run("cublas");
  check(multiplied == so_far + (has_algorithm ? 1 : 0), "products asked for");
  check_close(theirs, run("mma"), sizeof(C) == 4 ? 1e-6 : 4e-3, "cublas against mma");
}

/** Where products may be measured, all paths run and one of them stays; what is added to is added to
 * once. Parts of rows are products of their own. */
void test_choice(bool in_parts, int64_t M) {
  const Stream stream;
  Random random(11);
  constexpr int64_t N = 40, K = 50;
  const Parts parts = in_parts ? Parts{16, 48} : Parts{};
  const auto a = upload_matrix<bf16>(stream, K, M, random.values<bf16>(M * K));
  const auto b = upload_matrix<bf16>(stream, K, N, random.values<bf16>(N * K));
  const auto scales = upload<float>(stream, {0.75f, 0.5f, 2.0f});
  const Reals before = random.values<float>(M * N);
  const auto run = [&](const char* path) {
    setenv("MAGNET_GEMM", path, 1);
    const auto c = upload_matrix<float>(stream, M, N, before);
    gemm<bf16, float>(stream, a.view(), Layout::transposed, b.view(), Layout::plain,
                      {scales.data(), true, parts}, c.view());
    return download_matrix(stream, c.view());
  };
  const Reals wanted = run("mma");
  check_close(run("cublas"), wanted, 1e-6, "parts of rows by cublas");
  const std::string unknown = measured_products();
  setenv("MAGNET_EMULATION_MEASURE", "1", 1);
  const int so_far = multiplied;
  {
    const MeasuredProducts scope;
    check_close(run(""), wanted, 1e-6, "while it is measured");
  }
  check(multiplied > so_far + 3, "cublas was not among the measured");
  const std::string known = measured_products();
  check(known.size() > unknown.size() && known.find("\"m\":" + std::to_string(M)) < known.size(),
        "measured products: " + known);
  check_close(run(""), wanted, 1e-6, "by the measured choice");
  check(measured_products() == known, "a known product is not measured again");
  unsetenv("MAGNET_EMULATION_MEASURE");
}

}  // namespace

int main() {
  const cublas::Functions fake{create,         describe, set_description, lay_out, prefer,
                               set_preference, destroy,  choose,          multiply};
  cublas::use_functions(&fake);
  for (const bool a_mn : {false, true})
    for (const bool b_mn : {false, true}) {
      test_product<float>(a_mn, b_mn, a_mn != b_mn);
      test_product<bf16>(a_mn, b_mn, false);
    }
  test_choice(false, 33);
  test_choice(true, 70);
  has_algorithm = false;  // of another shape: a plan stays as it was made
  test_product<float>(false, true, false, 34);
  return finish("gemm_cublas");
}
