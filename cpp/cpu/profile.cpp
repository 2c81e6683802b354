// Names of the profile's entries, and its JSON form.
#include "profile.hpp"

namespace magnet {

thread_local StepProfile* current_profile = nullptr;

namespace {

constexpr const char* KERNEL_NAMES[] = {
    "other",        "ternarise",         "zero_gradient",        "embed",
    "norm_quantise", "ternary_product",  "rope",                 "attention_forward",
    "swiglu_norm_quantise", "norm_forward", "gemm_forward",      "cross_entropy",
    "gemm_dx",      "gemm_dw",           "swiglu_backward",      "norm_backward",
    "attention_backward", "embed_backward", "gradient_norm",     "optimizer",
};
constexpr const char* SITE_NAMES[] = {
    "",     "q",    "k",       "v",    "qkv",  "o",
    "gate", "up",   "gate_up", "down", "head", "attention_input",
    "attention_output", "ffn_input", "ffn_hidden",
};
static_assert(std::size(KERNEL_NAMES) == StepProfile::KERNELS);
static_assert(std::size(SITE_NAMES) == StepProfile::SITES);

}  // namespace

std::string StepProfile::json() const {
  std::string text = "{\"steps\":" + std::to_string(steps) +
                     ",\"packing_ns\":" + std::to_string(packing_ns) + ",\"entries\":[";
  bool first = true;
  for (size_t k = 0; k < KERNELS; k++)
    for (size_t s = 0; s < SITES; s++) {
      const Entry& e = entries_[k][s];
      if (e.ns == 0) continue;
      if (!first) text += ',';
      first = false;
      text += std::string("{\"kernel\":\"") + KERNEL_NAMES[k] + "\",\"site\":\"" + SITE_NAMES[s] +
              "\",\"ns\":" + std::to_string(e.ns) + ",\"calls\":" + std::to_string(e.calls) + "}";
    }
  return text + "]}";
}

}  // namespace magnet
