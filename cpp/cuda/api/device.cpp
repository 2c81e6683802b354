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
  std::string capability;
  if (error.empty()) capability = std::to_string(info.major) + '.' + std::to_string(info.minor);
  std::string out = "{\"name\":";
  out.append(quoted(info.name)).append(",\"capability\":").append(quoted(capability));
  out.append(",\"multiprocessors\":").append(std::to_string(info.multiprocessors));
  out.append(",\"memory_bytes\":").append(std::to_string(info.memory_bytes));
  out.append(",\"free_bytes\":").append(std::to_string(info.free_bytes));
  return out.append(",\"error\":").append(quoted(error)).append("}");
}

std::string info_json() {
  const DriverStatus status = driver_status();
  std::string out = "{\"driver_version\":";
  out.append(std::to_string(status.driver_version));
  out.append(",\"runtime_version\":").append(std::to_string(status.runtime_version));
  out.append(",\"why_none\":").append(quoted(status.why_none)).append(",\"devices\":[");
  for (int i = 0; i < status.devices; i++) out.append(i == 0 ? "" : ",").append(device_json(i));
  return out.append("]}");
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
