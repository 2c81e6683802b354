// See gemm_choice.hpp.
#include "gemm_choice.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "gemm_cublas.hpp"

namespace magnet::gpu {

namespace {

constexpr const char* PATHS[] = {"cublas", "wgmma", "mma"};
constexpr int COUNT = 3;
constexpr size_t SHOWN = 48;
constexpr int RUNS = 3;    // of a series
constexpr int SERIES = 2;  // the faster one counts
constexpr double FASTER = 0.98;

thread_local bool measures = false;

/** All that a time depends on, but for what is in memory. */
using Key = std::array<int64_t, 10>;
struct Choice {
  int path;
  double seconds[COUNT];  // 0: does not take it
};
std::mutex mutex;
std::map<Key, Choice>& choices() {
  static std::map<Key, Choice> all;
  return all;
}

template <class T>
Key key_of(const Operands<T>& x, const Output& out) {
  return {current_device(),
          sizeof(T),
          out.rows,
          out.columns,
          x.k,
          x.a_mn,
          x.b_mn,
          static_cast<int64_t>(out.element),
          out.addend != nullptr,
          out.parts_of_rows};
}

/** cuBLASLt has one scale for a product: parts of rows are products of their own. */
bool run_cublas(const Stream& stream, const Operands<bf16>& x, const Output& out) {
  if (!out.parts_of_rows) return gemm_cublas(stream, x, out);
  const int64_t ends[] = {0, std::min<int64_t>(out.second_part, out.rows),
                          std::min<int64_t>(out.third_part, out.rows), out.rows};
  for (int i = 0; i < 3; i++) {
    const int64_t first = ends[i];
    const int64_t rows = ends[i + 1] - first;
    if (rows <= 0) continue;
    Operands<bf16> part = x;
    part.a = x.a_mn ? Matrix<const bf16>{x.a.data + first, x.a.rows, rows, x.a.stride}
                    : x.a.part(first, rows);
    Output to = out;
    const int64_t bytes = out.element == Element::float32 ? 4 : 2;
    to.data = static_cast<unsigned char*>(out.data) + first * out.stride * bytes;
    to.rows = rows;
    to.scale = out.scale == nullptr ? nullptr : out.scale + i;
    set_parts(to, {}, false);
    if (out.addend != nullptr) to.addend = out.addend + first * out.addend_stride;
    if (gemm_cublas(stream, part, to)) continue;
    if (first == 0) return false;
    gemm_mma(stream, part, to);
  }
  return true;
}

template <class T>
bool run_path(int path, const Stream& stream, const Operands<T>& x, const Output& out) {
  if (path == 1) return gemm_wgmma(stream, x, out);
  if (path == 2) return gemm_mma(stream, x, out), true;
  // It has no scales by rows for int8.
  if constexpr (std::is_same_v<T, bf16>) return run_cublas(stream, x, out);
  return false;
}

/** Seconds of a run; 0 where the path does not take it. */
template <class T>
double time_of(int path, const Stream& stream, const Operands<T>& x, const Output& out) {
  if (!run_path(path, stream, x, out)) return 0.0;
  double best = INFINITY;
  for (int series = 0; series < SERIES; series++) {
    Event begin;
    Event end;
    begin.record(stream);
    for (int i = 0; i < RUNS; i++) run_path(path, stream, x, out);
    end.record(stream);
    end.wait();
    best = std::min(best, end.seconds_since(begin) / RUNS);
  }
  return std::max(best, 1e-9);
}

/** Where trials may write: where c is the caller's sum, memory of their own at the same alignment. */
struct Elsewhere {
  Output output;
  DeviceArray<unsigned char> memory;

  explicit Elsewhere(const Output& out) : output(out) {
    if (out.addend != out.data) return;
    constexpr uint64_t ALIGNMENT = 256;
    try {
      memory = DeviceArray<unsigned char>(
          static_cast<uint64_t>(out.rows * out.stride) * sizeof(float) + ALIGNMENT);
      output.data = memory.data() + reinterpret_cast<uintptr_t>(out.data) % ALIGNMENT;
    } catch (const Error& e) {
      if (e.code != MG_E_MEMORY) throw;
      // c += 0 * p then, though a library that sees the 0 may multiply nothing.
      output.scale = zero_and_one();
      set_parts(output, {}, false);
    }
  }
};

template <class T>
Choice measure(const Stream& stream, const Operands<T>& x, const Output& out) {
  const Elsewhere elsewhere(out);
  const Output& trial = elsewhere.output;
  Choice choice{-1, {}};
  for (int path = 0; path < COUNT; path++) {
    const double seconds = time_of(path, stream, x, trial);
    choice.seconds[path] = seconds;
    if (seconds == 0.0) continue;
    if (choice.path < 0 || seconds < choice.seconds[choice.path] * FASTER) choice.path = path;
  }
  return choice;
}

/** -1: nothing is known. */
template <class T>
int path_of(const Stream& stream, const Operands<T>& x, const Output& out) {
  const Key key = key_of(x, out);
  const std::lock_guard lock(mutex);
  const auto at = choices().find(key);
  if (at != choices().end()) return at->second.path;
  if (!measures) return -1;
  return choices().emplace(key, measure(stream, x, out)).first->second.path;
}

/** That MAGNET_GEMM names; COUNT: none. */
int wanted_path() {
  const char* const wanted = std::getenv("MAGNET_GEMM");
  int path = 0;
  while (path < COUNT && (wanted == nullptr || std::strcmp(wanted, PATHS[path]) != 0)) path++;
  return path;
}

}  // namespace

MeasuredProducts::MeasuredProducts() : outer_(measures) { measures = times_are_real(); }
MeasuredProducts::~MeasuredProducts() { measures = outer_; }

template <class T>
void run_tensor_cores(const Stream& stream, const Operands<T>& x, const Output& out) {
  const int wanted = wanted_path();
  const int path = wanted < COUNT ? wanted : path_of(stream, x, out);
  if (path >= 0) {
    // The library may refuse what it took at another alignment.
    if (!run_path(path, stream, x, out)) gemm_mma(stream, x, out);
    return;
  }
  for (int i = 0; i < COUNT; i++)
    if (run_path(i, stream, x, out)) return;
}
template void run_tensor_cores(const Stream&, const Operands<bf16>&, const Output&);
template void run_tensor_cores(const Stream&, const Operands<int8_t>&, const Output&);

std::string measured_products() {
  const std::lock_guard lock(mutex);
  std::string text = "[";
  size_t shown = 0;
  for (const auto& [key, choice] : choices()) {
    if (key[0] != current_device() || shown == SHOWN) continue;
    char line[192];
    std::snprintf(line, sizeof line,
                  "%s{\"m\":%lld,\"n\":%lld,\"k\":%lld,\"operands\":\"%s%s%s\","
                  "\"path\":\"%s\",\"us\":{",
                  shown++ == 0 ? "" : ",", static_cast<long long>(key[2]),
                  static_cast<long long>(key[3]), static_cast<long long>(key[4]),
                  key[1] == 1 ? "int8" : "bf16", key[5] != 0 ? ", a transposed" : "",
                  key[6] != 0 ? ", b plain" : "", PATHS[choice.path]);
    text += line;
    const char* comma = "";
    for (int path = 0; path < COUNT; path++) {
      if (choice.seconds[path] == 0.0) continue;
      std::snprintf(line, sizeof line, "%s\"%s\":%.1f", comma, PATHS[path],
                    choice.seconds[path] * 1e6);
      text += line;
      comma = ",";
    }
    text += "}}";
  }
  return text + "]";
}

}  // namespace magnet::gpu
