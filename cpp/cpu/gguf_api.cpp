// The bytes of a GGUF file, look-ups in a parsed one, and its exports (mg_gguf_*).
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "gguf.hpp"

namespace magnet {

static_assert(sizeof(mg_gguf_value) == 64 && sizeof(mg_gguf_tensor) == 64);

const GgufValue* GgufFile::value(std::string_view key) const {
  const auto at =
      std::find_if(values.begin(), values.end(), [&](const GgufValue& v) { return v.key == key; });
  return at == values.end() ? nullptr : &*at;
}

const GgufTensor* GgufFile::tensor(std::string_view name) const {
  const auto at = std::find_if(tensors.begin(), tensors.end(),
                               [&](const GgufTensor& t) { return t.name == name; });
  return at == tensors.end() ? nullptr : &*at;
}

namespace {
[[noreturn]] void wrong_type(std::string_view key, const char* wanted) {
  fail(MG_E_FORMAT, "GGUF: key %.*s is not %s", static_cast<int>(key.size()), key.data(), wanted);
}
}  // namespace

uint32_t GgufFile::u32(std::string_view key) const {
  const GgufValue* v = value(key);
  if (v == nullptr)
    fail(MG_E_FORMAT, "GGUF: key %.*s is missing", static_cast<int>(key.size()), key.data());
  if (v->type != GgufType::u32 && v->type != GgufType::i32) wrong_type(key, "a 32-bit integer");
  uint32_t number;
  std::memcpy(&number, v->data, 4);
  if (v->type == GgufType::i32 && number > 0x7fffffffu) wrong_type(key, "a positive integer");
  return number;
}

uint32_t GgufFile::u32_or(std::string_view key, uint32_t otherwise) const {
  return value(key) == nullptr ? otherwise : u32(key);
}

float GgufFile::f32_or(std::string_view key, float otherwise) const {
  const GgufValue* v = value(key);
  if (v == nullptr) return otherwise;
  if (v->type != GgufType::f32) wrong_type(key, "a float32");
  float number;
  std::memcpy(&number, v->data, 4);
  return number;
}

std::string_view GgufFile::text_or(std::string_view key, std::string_view otherwise) const {
  const GgufValue* v = value(key);
  if (v == nullptr) return otherwise;
  if (v->type != GgufType::string) wrong_type(key, "a string");
  return {reinterpret_cast<const char*>(v->data), v->data_bytes};
}

const GgufFile& gguf_of(void* handle) {
  require(handle != nullptr, MG_E_INVALID, "the GGUF handle is null");
  return *static_cast<const GgufFile*>(handle);
}

namespace {
/** Closes on every path out. */
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

void check_size(uint64_t size) {
  if (size > GgufLimits::file_bytes)
    fail(MG_E_FORMAT, "GGUF: a file of %llu bytes (limit 2^40)",
         static_cast<unsigned long long>(size));
}
}  // namespace

GgufBytes::GgufBytes(const std::string& path) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail(MG_E_INVALID, "%s: %s", path.c_str(), std::strerror(errno));
  struct stat info{};
  if (fstat(file.fd, &info) != 0) fail(MG_E_INVALID, "%s: %s", path.c_str(), std::strerror(errno));
  if (!S_ISREG(info.st_mode)) fail(MG_E_INVALID, "%s is not a file", path.c_str());
  size_ = static_cast<uint64_t>(info.st_size);
  check_size(size_);
  if (size_ > 0)
    map_ = std::make_unique<MappedFile>(file.fd, size_, MappedFile::Order::front_to_back);
  // Address space only: memory is what the header fills of it.
  memory_ = std::make_unique<Mapping>(std::min(size_, GgufLimits::header_bytes), "a GGUF header");
}

GgufBytes::GgufBytes(const uint8_t* bytes, uint64_t n) : size_(n), copied_(n) {
  check_size(n);
  memory_ = std::make_unique<Mapping>(n, "a GGUF file");
  if (n > 0) std::memcpy(memory_->as<uint8_t>(), bytes, n);
}

const uint8_t* GgufBytes::header(uint64_t end) {
  if (end > copied_) {
    require(end <= GgufLimits::header_bytes, MG_E_FORMAT, "GGUF: a header beyond 2^30 bytes");
    read(copied_, end - copied_, memory_->as<uint8_t>() + copied_);
    copied_ = end;
  }
  return memory_->as<uint8_t>();
}

void GgufBytes::read(uint64_t offset, uint64_t n, uint8_t* out) const {
  require(offset <= size_ && n <= size_ - offset, MG_E_INTERNAL, "GGUF: a read beyond the file");
  if (map_ == nullptr)
    std::memcpy(out, memory_->as<uint8_t>() + offset, n);
  else if (!map_->read(offset, n, out))
    fail(MG_E_FORMAT, "GGUF: the file was cut off while it was read");
}

void GgufBytes::give_back(uint64_t offset, uint64_t n) const {
  if (map_ != nullptr) map_->give_back(offset, n);
}

}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_gguf_open(const uint8_t* path, uint64_t path_bytes, void** out_file) {
  return guard([&] {
    require(path != nullptr && out_file != nullptr && path_bytes < 4096, MG_E_INVALID,
            "mg_gguf_open: null argument or a path of 4096 bytes or more");
    const std::string name(reinterpret_cast<const char*>(path), path_bytes);
    *out_file = parse_gguf(GgufBytes(name)).release();
    return int32_t{MG_OK};
  });
}

int32_t mg_gguf_parse(const uint8_t* bytes, uint64_t n, void** out_file) {
  return guard([&] {
    require((bytes != nullptr || n == 0) && out_file != nullptr, MG_E_INVALID,
            "mg_gguf_parse: null argument");
    *out_file = parse_gguf(GgufBytes(bytes, n)).release();
    return int32_t{MG_OK};
  });
}

int32_t mg_gguf_free(void* file) {
  return guard([&] {
    delete static_cast<GgufFile*>(file);
    return int32_t{MG_OK};
  });
}

int32_t mg_gguf_counts(void* file, uint64_t* out_values, uint64_t* out_tensors) {
  return guard([&] {
    const GgufFile& gguf = gguf_of(file);
    require(out_values != nullptr && out_tensors != nullptr, MG_E_INVALID,
            "mg_gguf_counts: null argument");
    *out_values = gguf.values.size();
    *out_tensors = gguf.tensors.size();
    return int32_t{MG_OK};
  });
}

int32_t mg_gguf_value_at(void* file, uint64_t index, mg_gguf_value* out) {
  return guard([&] {
    const GgufFile& gguf = gguf_of(file);
    require(out != nullptr && index < gguf.values.size(), MG_E_INVALID,
            "mg_gguf_value_at: bad argument");
    const GgufValue& v = gguf.values[index];
    *out = {};
    out->key = reinterpret_cast<uint64_t>(v.key.data());
    out->key_bytes = v.key.size();
    out->data = reinterpret_cast<uint64_t>(v.data);
    out->data_bytes = v.data_bytes;
    out->count = v.count;
    out->type = static_cast<uint32_t>(v.type);
    out->element_type = static_cast<uint32_t>(v.element_type);
    return int32_t{MG_OK};
  });
}

int32_t mg_gguf_tensor_at(void* file, uint64_t index, mg_gguf_tensor* out) {
  return guard([&] {
    const GgufFile& gguf = gguf_of(file);
    require(out != nullptr && index < gguf.tensors.size(), MG_E_INVALID,
            "mg_gguf_tensor_at: bad argument");
    const GgufTensor& t = gguf.tensors[index];
    *out = {};
    out->name = reinterpret_cast<uint64_t>(t.name.data());
    out->name_bytes = t.name.size();
    out->offset = t.offset;
    out->data_bytes = t.data_bytes;
    out->cols = t.cols;
    out->rows = t.rows;
    out->type = t.type;
    out->n_dims = t.n_dims;
    return int32_t{MG_OK};
  });
}

int32_t mg_gguf_tensor_read(void* file, uint64_t index, uint8_t* out, uint64_t n) {
  return guard([&] {
    const GgufFile& gguf = gguf_of(file);
    require(out != nullptr && index < gguf.tensors.size(), MG_E_INVALID,
            "mg_gguf_tensor_read: bad argument");
    const GgufTensor& t = gguf.tensors[index];
    require(n == t.data_bytes, MG_E_INVALID, "mg_gguf_tensor_read: another size than the tensor's");
    gguf.bytes.read(t.offset, n, out);
    return int32_t{MG_OK};
  });
}
}
