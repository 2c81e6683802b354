// What the tests of kernels share. A test is a program: compiled with the emulation it runs on any
// machine, by nvcc on a GPU. One line a failed check, a summary at the end, exit status 1 on failure.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "../kernels/matrix.hpp"

namespace magnet::gpu::test {

inline int passed = 0;
inline int failed = 0;

inline void check(bool holds, const std::string& what) {
  holds ? passed++ : failed++;
  if (!holds) std::printf("FAILED %s\n", what.c_str());
}

inline int finish(const char* name) {
  std::printf("%s: %d checks passed, %d failed\n", name, passed, failed);
  return failed == 0 ? 0 : 1;
}

using Reals = std::vector<double>;

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  double normal() { return normal_(engine_); }
  int64_t below(int64_t n) {
    return static_cast<int64_t>(engine_() % static_cast<unsigned long>(n));
  }
  /** Normal values that float32 (or bf16) holds exactly. */
  template <class T>
  Reals values(int64_t count, double scale = 1.0) {
    Reals out(static_cast<size_t>(count));
    for (double& x : out)
      x = static_cast<double>(as_float(from_float<T>(static_cast<float>(scale * normal()))));
    return out;
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
};

/** ||a - b|| / ||b||. */
inline double relative_l2(const Reals& a, const Reals& b) {
  double difference = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < b.size(); i++) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    size += b[i] * b[i];
  }
  return a.size() == b.size() ? std::sqrt(difference / (size > 0.0 ? size : 1.0)) : INFINITY;
}

inline void check_close(const Reals& a, const Reals& b, double tolerance, const std::string& what) {
  const double error = relative_l2(a, b);
  check(error <= tolerance,
        what + ": relative error " + std::to_string(error) + " > " + std::to_string(tolerance));
}

template <class T>
T element_of(double x) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(x);
  else
    return from_float<T>(static_cast<float>(x));
}
template <class T>
double real_of(T x) {
  if constexpr (std::is_integral_v<T> || std::is_same_v<T, double>)
    return static_cast<double>(x);
  else
    return static_cast<double>(as_float(x));
}

/** Device memory that was filled from the host. */
template <class T>
DeviceArray<T> upload(const Stream& stream, const std::vector<T>& values) {
  DeviceArray<T> array(values.size());
  copy_in(stream, array.data(), values.data(), values.size() * sizeof(T));
  stream.wait();
  return array;
}
template <class T>
DeviceArray<T> upload_reals(const Stream& stream, const Reals& values) {
  std::vector<T> elements(values.size());
  for (size_t i = 0; i < values.size(); i++) elements[i] = element_of<T>(values[i]);
  return upload(stream, elements);
}
template <class T>
std::vector<T> download(const Stream& stream, const T* device, uint64_t count) {
  std::vector<T> values(count);
  copy_out(stream, values.data(), device, count * sizeof(T));
  stream.wait();
  return values;
}
template <class T>
Reals download_reals(const Stream& stream, const T* device, uint64_t count) {
  Reals out;
  for (const T x : download(stream, device, count)) out.push_back(real_of(x));
  return out;
}

/** A padded matrix from values without padding, and back. */
template <class T>
DeviceMatrix<T> upload_matrix(const Stream& stream, int64_t rows, int64_t columns,
                              const Reals& values) {
  DeviceMatrix<T> matrix(stream, rows, columns);
  const Matrix<T> view = matrix.view();
  std::vector<T> elements(static_cast<size_t>(rows * view.stride), element_of<T>(0.0));
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++)
      elements[static_cast<size_t>(r * view.stride + c)] =
          element_of<T>(values[static_cast<size_t>(r * columns + c)]);
  copy_in(stream, view.data, elements.data(), elements.size() * sizeof(T));
  stream.wait();
  return matrix;
}
template <class T>
Reals download_matrix(const Stream& stream, const Matrix<T>& view) {
  using E = std::remove_const_t<T>;
  const std::vector<E> elements = download(stream, const_cast<const E*>(view.data),
                                           static_cast<uint64_t>(view.rows * view.stride));
  Reals out;
  for (int64_t r = 0; r < view.rows; r++)
    for (int64_t c = 0; c < view.columns; c++)
      out.push_back(real_of(elements[static_cast<size_t>(r * view.stride + c)]));
  return out;
}
/** Whether everything behind the columns is zero, as products need it. */
template <class T>
bool padding_is_zero(const Stream& stream, const Matrix<T>& view) {
  using E = std::remove_const_t<T>;
  const std::vector<E> elements = download(stream, const_cast<const E*>(view.data),
                                           static_cast<uint64_t>(view.rows * view.stride));
  for (int64_t r = 0; r < view.rows; r++)
    for (int64_t c = view.columns; c < view.stride; c++)
      if (real_of(elements[static_cast<size_t>(r * view.stride + c)]) != 0.0) return false;
  return true;
}

/** Runs `compute` under several orders of threads and blocks: a difference is a race. On a device, where
 * the order is the hardware's, several times. */
inline void check_same_in_all_orders(const std::function<Reals()>& compute,
                                     const std::string& what) {
  const auto same = [](const Reals& a, const Reals& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
  };
  setenv("MAGNET_EMULATION_ORDER", "forward", 1);
  const Reals first = compute();
  for (const char* order : {"reverse", "1", "2"}) {
    setenv("MAGNET_EMULATION_ORDER", order, 1);
    check(same(compute(), first), what + ": differs with the threads in order " + order);
  }
  setenv("MAGNET_EMULATION_ORDER", "forward", 1);
}

}  // namespace magnet::gpu::test
