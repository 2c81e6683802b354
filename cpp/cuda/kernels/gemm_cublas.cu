// See gemm_cublas.hpp. A plan (descriptions and the algorithm that the library's heuristics
// choose) is made once for a shape and kept: the same shape runs the same algorithm. Rows of ours
// are columns of theirs: c^T (n, m) = b^T a^T.
#include <dlfcn.h>

#include <array>
#include <map>
#include <mutex>

#include "gemm_cublas.hpp"

namespace magnet::gpu {

namespace cublas {

namespace {

constexpr uint64_t WORKSPACE = uint64_t{32} << 20;
const Functions* replacement = nullptr;

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

/** The library stays open: its threads and the driver refer to it. */
const Functions* open_library() {
  static Functions f;
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) continue;
    const bool all =
        find(library, "cublasLtCreate", f.Create) &&
        find(library, "cublasLtMatmulDescCreate", f.MatmulDescCreate) &&
        find(library, "cublasLtMatmulDescSetAttribute", f.MatmulDescSetAttribute) &&
        find(library, "cublasLtMatrixLayoutCreate", f.MatrixLayoutCreate) &&
        find(library, "cublasLtMatmulPreferenceCreate", f.MatmulPreferenceCreate) &&
        find(library, "cublasLtMatmulPreferenceSetAttribute", f.MatmulPreferenceSetAttribute) &&
        find(library, "cublasLtMatmulPreferenceDestroy", f.MatmulPreferenceDestroy) &&
        find(library, "cublasLtMatmulAlgoGetHeuristic", f.MatmulAlgoGetHeuristic) &&
        find(library, "cublasLtMatmul", f.Matmul);
    if (all) return &f;
    dlclose(library);
  }
  return nullptr;
}

void check(int32_t status, const char* call) {
  if (status != 0) fail(MG_E_INTERNAL, "cublasLt%s: status %d", call, status);
}

/** The largest power of two, up to 256, that divides address and stride in bytes. */
uint32_t alignment(const void* data, int64_t stride_bytes) {
  const uint64_t bits =
      reinterpret_cast<uintptr_t>(data) | static_cast<uint64_t>(stride_bytes) | 256;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

/** What a plan depends on. */
struct Shape {
  int64_t m, n, k, a_stride, b_stride, c_stride, addend_stride;
  bool a_mn, b_mn, narrow;
  uint32_t a_alignment, b_alignment, c_alignment, d_alignment;
  using Key = std::array<int64_t, 14>;
  Key key() const {
    return {m,    n,    k,      a_stride,    b_stride,    c_stride,    addend_stride,
            a_mn, b_mn, narrow, a_alignment, b_alignment, c_alignment, d_alignment};
  }
};

struct Plan {
  void* description = nullptr;
  void* a = nullptr;  // theirs: our b
  void* b = nullptr;
  void* c = nullptr;
  void* d = nullptr;
  Heuristic chosen{};
  bool usable = false;
};

void* layout(const Functions& f, int32_t type, int64_t rows, int64_t columns, int64_t stride) {
  void* made = nullptr;
  check(f.MatrixLayoutCreate(&made, type, static_cast<uint64_t>(rows),
                             static_cast<uint64_t>(columns), stride),
        "MatrixLayoutCreate");
  return made;
}

void* preference_for(const Functions& f, const Shape& s) {
  void* preference = nullptr;
  check(f.MatmulPreferenceCreate(&preference), "MatmulPreferenceCreate");
  const auto set = [&](Preference which, auto value) {
    check(f.MatmulPreferenceSetAttribute(preference, which, &value, sizeof(value)),
          "MatmulPreferenceSetAttribute");
  };
  set(WORKSPACE_BYTES, static_cast<size_t>(WORKSPACE));
  set(REDUCTION_SCHEMES, REDUCE_IN_FLOAT);
  set(ALIGNMENT_A, s.b_alignment);
  set(ALIGNMENT_B, s.a_alignment);
  set(ALIGNMENT_C, s.c_alignment);
  set(ALIGNMENT_D, s.d_alignment);
  return preference;
}

Plan make_plan(const Functions& f, void* handle, const Shape& s) {
  Plan p;
  check(f.MatmulDescCreate(&p.description, COMPUTE_32F, REAL_32F), "MatmulDescCreate");
  const auto set = [&](Description which, int32_t value) {
    check(f.MatmulDescSetAttribute(p.description, which, &value, sizeof(value)),
          "MatmulDescSetAttribute");
  };
  set(POINTER_MODE, ON_DEVICE);
  // Column by column, b as (k, n) of ours is their (n, k): as it is wanted.
  set(TRANSPOSE_A, s.b_mn ? NORMAL : TRANSPOSE);
  set(TRANSPOSE_B, s.a_mn ? TRANSPOSE : NORMAL);
  const int32_t type = s.narrow ? REAL_16BF : REAL_32F;
  p.a = layout(f, REAL_16BF, s.b_mn ? s.n : s.k, s.b_mn ? s.k : s.n, s.b_stride);
  p.b = layout(f, REAL_16BF, s.a_mn ? s.m : s.k, s.a_mn ? s.k : s.m, s.a_stride);
  p.c = layout(f, type, s.n, s.m, s.addend_stride);
  p.d = layout(f, type, s.n, s.m, s.c_stride);
  void* const preference = preference_for(f, s);
  int32_t count = 0;
  const int32_t status = f.MatmulAlgoGetHeuristic(handle, p.description, p.a, p.b, p.c, p.d,
                                                  preference, 1, &p.chosen, &count);
  f.MatmulPreferenceDestroy(preference);
  p.usable = status == 0 && count > 0 && p.chosen.status == 0;
  return p;
}

/** Handle and plans of a device. */
struct Device {
  void* handle = nullptr;
  std::map<Shape::Key, Plan> plans;
};

}  // namespace

const Functions* functions() {
  if (replacement != nullptr) return replacement;
  static const Functions* const found = open_library();
  return found;
}
void use_functions(const Functions* f) { replacement = f; }

}  // namespace cublas

uint64_t cublas_workspace() { return cublas::functions() == nullptr ? 0 : cublas::WORKSPACE; }

bool gemm_cublas(const Stream& stream, const Operands<bf16>& x, const Output& out) {
  using namespace cublas;
  const Functions* const f = functions();
  // The zeros behind the columns of an operand are ours to write.
  if (f == nullptr || out.written != out.columns || out.row_scale != nullptr) return false;
  if (out.element == Element::fp16) return false;  // of bf16 operands it makes none
  const bool narrow = out.element == Element::bf16;
  if (narrow && out.addend != nullptr) return false;
  static std::mutex mutex;
  static std::map<int, Device> devices;
  const int64_t c_bytes = narrow ? 2 : 4;
  const int64_t addend_stride = out.addend == nullptr ? out.stride : out.addend_stride;
  const void* const addend = out.addend == nullptr ? out.data : out.addend;
  const Shape shape{out.rows,
                    out.columns,
                    x.k,
                    x.a.stride,
                    x.b.stride,
                    out.stride,
                    addend_stride,
                    x.a_mn,
                    x.b_mn,
                    narrow,
                    alignment(x.a.data, x.a.stride * 2),
                    alignment(x.b.data, x.b.stride * 2),
                    alignment(addend, addend_stride * c_bytes),
                    alignment(out.data, out.stride * c_bytes)};
  const Plan* plan = nullptr;
  void* handle = nullptr;
  {
    const std::lock_guard lock(mutex);
    Device& device = devices[current_device()];
    if (device.handle == nullptr) check(f->Create(&device.handle), "Create");
    handle = device.handle;
    const auto [at, fresh] = device.plans.try_emplace(shape.key());
    if (fresh) at->second = make_plan(*f, handle, shape);
    plan = &at->second;  // entries of a map stay where they are
  }
  if (!plan->usable) return false;
  const float* const constants = zero_and_one();
  const float* const alpha = out.scale == nullptr ? constants + 1 : out.scale;
  const float* const beta = constants + (out.addend == nullptr ? 0 : 1);
  check(f->Matmul(handle, plan->description, alpha, x.b.data, plan->a, x.a.data, plan->b, beta,
                  addend, plan->c, out.data, plan->d, &plan->chosen.algorithm,
                  stream.workspace(WORKSPACE), WORKSPACE, stream.native()),
        "Matmul");
  return true;
}

}  // namespace magnet::gpu
