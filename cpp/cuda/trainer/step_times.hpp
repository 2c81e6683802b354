// Where a step's time on the device goes, by the kernels and sites of the CPU's profile
// (cpp/cpu/profile.hpp): events between the parts, which add up to the step. Off unless asked for:
// while it is on nothing is captured, and the gaps between launches count for the part before them.
#pragma once
#include <deque>
#include <utility>
#include <vector>

#include "../../cpu/profile.hpp"
#include "../platform/runtime.hpp"

namespace magnet::gpu {

class StepTimes {
 public:
  bool is_on() const { return on_; }
  /** Forgets everything, and goes on by part or by whole steps. */
  void reset(bool by_part);
  /** A step begins: what was entered before is of no step. */
  void start() { entered_.clear(); }

  /** What follows in the stream is this, until the next call. */
  void enter(const Stream& stream, Kernel kernel, Site site) {
    if (on_) mark(stream, kernel, site);
  }
  /** Ends what was entered last; then or later `collect` counts it all, waiting for the stream. */
  void leave(const Stream& stream) { enter(stream, Kernel::other, Site::none); }
  void collect();
  /** Where it is off: a step of two parts. */
  void add_step(double passes_s, double update_s);
  void count_step() { sums_.steps++; }
  /** As StepProfile::json, with what the products' measurements found. */
  std::string json() const;

 private:
  void mark(const Stream& stream, Kernel kernel, Site site);

  bool on_ = false;
  StepProfile sums_;
  std::deque<Event> events_;  // used again in every step; they stay where they are
  std::vector<std::pair<Kernel, Site>> entered_;  // the i-th lasts from event i to i + 1
};

}  // namespace magnet::gpu
