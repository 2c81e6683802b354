// The runtime on a device; cudart is linked in statically, the driver is found when the first call is
// made.
#include <cuda_runtime.h>

#include <mutex>
#include <unordered_map>

#include "hopper.hpp"
#include "runtime.hpp"

namespace magnet::gpu {

namespace {
void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  const int32_t code = error == cudaErrorMemoryAllocation ? MG_E_MEMORY : MG_E_INTERNAL;
  fail(code, "%s: %s (CUDA error %d)", call, cudaGetErrorString(error), static_cast<int>(error));
}
cudaStream_t of(const Stream& stream) { return static_cast<cudaStream_t>(stream.native()); }
cudaEvent_t of(const Event& event) { return static_cast<cudaEvent_t>(event.native()); }

std::string reason(cudaError_t error, int driver_version) {
  switch (error) {
    case cudaErrorInsufficientDriver:
      return driver_version == 0 ? "no NVIDIA driver is installed"
                                 : "the NVIDIA driver is older than this build needs";
    case cudaErrorNoDevice:
      return "the NVIDIA driver sees no GPU";
    default:
      return std::string("the NVIDIA driver does not start: ") + cudaGetErrorString(error);
  }
}
}  // namespace

DriverStatus driver_status() noexcept {
  DriverStatus status;
  cudaRuntimeGetVersion(&status.runtime_version);
  cudaDriverGetVersion(&status.driver_version);
  const cudaError_t error = cudaGetDeviceCount(&status.devices);
  if (error != cudaSuccess) {
    status.devices = 0;
    status.why_none = reason(error, status.driver_version);
    cudaGetLastError();  // the failure is told; it must not be the next call's
  }
  return status;
}

DeviceInfo device_info(int index) {
  use_device(index);
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, index), "cudaGetDeviceProperties");
  size_t free = 0;
  size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return {p.name, p.major, p.minor, p.multiProcessorCount, total, free,
          static_cast<uint64_t>(p.l2CacheSize), p.sharedMemPerBlockOptin};
}

void use_device(int index) {
  const DriverStatus status = driver_status();
  if (status.devices == 0) fail(MG_E_UNSUPPORTED, "%s", status.why_none.c_str());
  if (index < 0 || index >= status.devices)
    fail(MG_E_INVALID, "device %d of %d", index, status.devices);
  check(cudaSetDevice(index), "cudaSetDevice");
}

namespace {
__device__ const float CONSTANTS[2] = {0.0f, 1.0f};

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}
}  // namespace

bool times_are_real() { return true; }
int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  return device;
}
const float* zero_and_one() {
  void* p = nullptr;
  check(cudaGetSymbolAddress(&p, CONSTANTS), "cudaGetSymbolAddress");
  return static_cast<const float*>(p);
}

const Capability& capability() {
  constexpr int DEVICES = 64;
  static std::mutex mutex;
  static Capability known[DEVICES];
  const int device = current_device();
  require(device < DEVICES, MG_E_UNSUPPORTED, "more than 64 GPUs");
  const std::lock_guard lock(mutex);
  Capability& c = known[device];
  if (c.major == 0) {
    c.multiprocessors = attribute(cudaDevAttrMultiProcessorCount, device);
    c.shared_bytes =
        static_cast<uint64_t>(attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, device));
    c.minor = attribute(cudaDevAttrComputeCapabilityMinor, device);
    c.major = attribute(cudaDevAttrComputeCapabilityMajor, device);
  }
  return c;
}

Stream::Stream() : native_(nullptr) {
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  native_ = stream;
}
Stream::~Stream() {
  for (const auto& [p, bytes] : workspaces_) free_device(p);
  cudaStreamDestroy(of(*this));
}
void Stream::wait() const { check(cudaStreamSynchronize(of(*this)), "cudaStreamSynchronize"); }
void Stream::wait_for(const Event& event) {
  check(cudaStreamWaitEvent(of(*this), of(event), 0), "cudaStreamWaitEvent");
}

Event::Event() : native_(nullptr) {
  cudaEvent_t event;
  check(cudaEventCreate(&event), "cudaEventCreate");
  native_ = event;
}
Event::~Event() { cudaEventDestroy(of(*this)); }
void Event::record(const Stream& stream) {
  check(cudaEventRecord(of(*this), of(stream)), "cudaEventRecord");
}
void Event::wait() const { check(cudaEventSynchronize(of(*this)), "cudaEventSynchronize"); }
double Event::seconds_since(const Event& earlier) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, of(earlier), of(*this)), "cudaEventElapsedTime");
  return milliseconds / 1e3;
}

void* allocate_uncounted(uint64_t bytes) {
  void* p = nullptr;
  const cudaError_t error = cudaMalloc(&p, bytes);
  if (error == cudaErrorMemoryAllocation) {
    size_t free = 0;
    size_t total = 0;
    cudaGetLastError();
    cudaMemGetInfo(&free, &total);
    fail(MG_E_MEMORY, "no room for %.2f GB on the GPU: %.2f of %.2f GB are free",
         static_cast<double>(bytes) / 1e9, static_cast<double>(free) / 1e9,
         static_cast<double>(total) / 1e9);
  }
  check(error, "cudaMalloc");
  return p;
}
void* allocate_device_uncaptured(uint64_t bytes) {
  // Capturing threads may not call cudaMalloc; memory that is no part of the graph is meant here.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  check(cudaThreadExchangeStreamCaptureMode(&mode), "capture mode");
  void* p = nullptr;
  try {
    p = allocate_device(bytes);
  } catch (...) {
    cudaThreadExchangeStreamCaptureMode(&mode);
    throw;
  }
  check(cudaThreadExchangeStreamCaptureMode(&mode), "capture mode");
  return p;
}
void free_uncounted(void* p) noexcept { cudaFree(p); }
void* allocate_pinned_uncounted(uint64_t bytes) {
  void* p = nullptr;
  const cudaError_t error = cudaMallocHost(&p, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    fail(MG_E_MEMORY, "no room for %.2f GB of page-locked memory on the host",
         static_cast<double>(bytes) / 1e9);
  }
  check(error, "cudaMallocHost");
  return p;
}
void free_pinned_uncounted(void* p) noexcept { cudaFreeHost(p); }

void copy_in(const Stream& stream, void* device, const void* host, uint64_t bytes) {
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, of(stream)), "copy to GPU");
}
void copy_out(const Stream& stream, void* host, const void* device, uint64_t bytes) {
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, of(stream)), "copy from GPU");
}
void copy_on_device(const Stream& stream, void* to, const void* from, uint64_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, of(stream)), "copy on GPU");
}
void fill_bytes(const Stream& stream, void* device, int byte, uint64_t bytes) {
  check(cudaMemsetAsync(device, byte, bytes, of(stream)), "cudaMemset");
}

void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

void allow_shared(const void* kernel, uint64_t bytes) {
  static std::mutex mutex;
  // By device and kernel: the attribute belongs to both.
  static std::unordered_map<const void*, uint64_t> allowed[16];
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const std::lock_guard lock(mutex);
  uint64_t& most = allowed[device % 16][kernel];
  if (most >= bytes) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes)),
        "shared memory of a kernel");
  most = bytes;
}

namespace {
/** The driver's function, found at run time: the library does not link with the driver. */
decltype(&cuTensorMapEncodeTiled) encoder() {
  static const auto found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                           cudaEnableDefault, &result),
          "cuTensorMapEncodeTiled");
    require(result == cudaDriverEntryPointSuccess && function != nullptr, MG_E_UNSUPPORTED,
            "the NVIDIA driver has no cuTensorMapEncodeTiled");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  return found;
}
}  // namespace

TensorMap make_tensor_map(const void* data, int element_bytes, int64_t columns, int64_t rows,
                          int64_t stride, int box_rows) {
  TensorMap map;
  const auto bytes = static_cast<cuuint64_t>(element_bytes);
  const cuuint64_t size[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t row_bytes[1] = {static_cast<cuuint64_t>(stride) * bytes};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(128 / element_bytes),
                             static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t every[2] = {1, 1};
  const CUtensorMapDataType type =
      element_bytes == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const CUresult result =
      encoder()(&map, type, 2, const_cast<void*>(data), size, row_bytes, box, every,
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    fail(MG_E_INTERNAL, "cuTensorMapEncodeTiled of (%lld, %lld): CUDA error %d",
         static_cast<long long>(rows), static_cast<long long>(columns), static_cast<int>(result));
  return map;
}

Graph::Graph(const Stream& stream, const std::function<void()>& work) {
  // Relaxed: the first launch of a kernel loads it, and libraries allocate for their first use.
  check(cudaStreamBeginCapture(of(stream), cudaStreamCaptureModeRelaxed), "graph capture");
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(of(stream), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(of(stream), &graph), "graph capture");
  cudaGraphExec_t executable;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "cudaGraphInstantiate");
  native_ = executable;
}
Graph::~Graph() { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(native_)); }
void Graph::start(const Stream& stream) const {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(native_), of(stream)), "cudaGraphLaunch");
}

}  // namespace magnet::gpu
