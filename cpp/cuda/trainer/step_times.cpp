// See step_times.hpp.
#include "step_times.hpp"

#include "../kernels/gemm_choice.hpp"

namespace magnet::gpu {

namespace {
uint64_t nanoseconds(double seconds) {
  return seconds <= 0.0 ? 0 : static_cast<uint64_t>(seconds * 1e9);
}
}  // namespace

void StepTimes::reset(bool by_part) {
  on_ = by_part;
  sums_ = {};
  entered_.clear();
}

void StepTimes::mark(const Stream& stream, Kernel kernel, Site site) {
  if (entered_.size() == events_.size()) events_.emplace_back();
  events_[entered_.size()].record(stream);
  entered_.emplace_back(kernel, site);
}

void StepTimes::collect() {
  if (entered_.size() > 1) events_[entered_.size() - 1].wait();
  for (size_t i = 0; i + 1 < entered_.size(); i++)
    sums_.add(entered_[i].first, entered_[i].second,
              nanoseconds(events_[i + 1].seconds_since(events_[i])));
  entered_.clear();
}

void StepTimes::add_step(double passes_s, double update_s) {
  sums_.add(Kernel::other, Site::none, nanoseconds(passes_s));
  sums_.add(Kernel::optimizer, Site::none, nanoseconds(update_s));
}

std::string StepTimes::json() const {
  std::string text = sums_.json();
  text.pop_back();
  return text + ",\"products\":" + measured_products() + "}";
}

}  // namespace magnet::gpu
