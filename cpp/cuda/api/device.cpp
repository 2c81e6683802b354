// mg_gpu_info: the driver and the GPUs as JSON, for the choice of a device and for people.
#include <cstring>
#include <string>

#include "../platform/runtime.hpp"

using namespace magnet;
using namespace magnet::gpu;

namespace {

/** As a JSON string; what is no printable ASCII is left out: these are names and messages. */
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c < ' ' || c > '~') continue;
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string device_json(int index) {
  DeviceInfo info;
  std::string error;
  try {
    info = device_info(index);
  } catch (const Error& e) {
    error = e.message;
  }
  const std::string capability =
      error.empty() ? std::to_string(info.major) + "." + std::to_string(info.minor) : "";
  return "{\"name\":" + quoted(info.name) + ",\"capability\":" + quoted(capability) +
         ",\"multiprocessors\":" + std::to_string(info.multiprocessors) +
         ",\"memory_bytes\":" + std::to_string(info.memory_bytes) +
         ",\"free_bytes\":" + std::to_string(info.free_bytes) + ",\"error\":" + quoted(error) + "}";
}

std::string info_json() {
  const DriverStatus status = driver_status();
  std::string devices;
  for (int i = 0; i < status.devices; i++) devices += (i == 0 ? "" : ",") + device_json(i);
  return "{\"driver_version\":" + std::to_string(status.driver_version) +
         ",\"runtime_version\":" + std::to_string(status.runtime_version) +
         ",\"why_none\":" + quoted(status.why_none) + ",\"devices\":[" + devices + "]}";
}

}  // namespace

extern "C" int32_t mg_gpu_info(char* out, uint64_t capacity) {
  return guard([&] {
    require(out != nullptr, MG_E_INVALID, "mg_gpu_info: out is null");
    const std::string text = info_json();
    require(text.size() < capacity, MG_E_INVALID, "mg_gpu_info: no room for the answer");
    std::memcpy(out, text.c_str(), text.size() + 1);
    return int32_t{MG_OK};
  });
}
