// Settings of a learner by name: each learner has one list of them, with the value where none is
// given and the range that is allowed.
#pragma once
#include <cmath>
#include <span>
#include <string_view>
#include <vector>

#include "../cpu/common.hpp"

namespace magnet::learn {

struct SettingRule {
  const char* name;
  double initial;
  double min;
  double max;
  bool integer;
  const char* summary;
};
using SettingRules = std::span<const SettingRule>;

class Settings {
 public:
  explicit Settings(SettingRules rules) : rules_(rules) {
    for (const SettingRule& rule : rules) values_.push_back(rule.initial);
  }
  /** Throws MG_E_INVALID for an unknown name or a value out of range. */
  void set(std::string_view name, double value) {
    const SettingRule& rule = rules_[find(name)];
    const bool fits = value >= rule.min && value <= rule.max;
    if (!fits || (rule.integer && value != std::floor(value)))
      fail(MG_E_INVALID, "%s is %g, but must be %s in %g..%g", rule.name, value,
           rule.integer ? "a whole number" : "a number", rule.min, rule.max);
    values_[find(name)] = value;
  }
  double get(std::string_view name) const { return values_[find(name)]; }
  uint32_t count(std::string_view name) const { return static_cast<uint32_t>(get(name)); }

 private:
  size_t find(std::string_view name) const {
    for (size_t i = 0; i < rules_.size(); i++)
      if (name == rules_[i].name) return i;
    std::string known;
    for (const SettingRule& rule : rules_)
      known += std::string(known.empty() ? "" : ", ") + rule.name;
    fail(MG_E_INVALID, "no setting is called %.*s; there are %s", static_cast<int>(name.size()),
         name.data(), known.c_str());
  }
  SettingRules rules_;
  std::vector<double> values_;
};

}  // namespace magnet::learn
