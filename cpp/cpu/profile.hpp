// Where a step's time goes: wall time on the calling thread, by kernel and by the matrix or norm it
// works on. A scope credits the time since the last switch to whoever ran until then, so the
// entries of a profile are disjoint and add up to the whole step. A switch costs about 25 ns, of
// which a step has a few hundred. Threads without a current profile (pool workers, single ops) pay
// one test.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace magnet {

/** What runs. Kernels open these scopes themselves, in their entry functions. */
enum class Kernel : uint8_t {
  other,  // everything between the scopes
  ternarise,
  zero_gradient,
  embed,
  norm_quantise,  // norm (where there is one) and int8 rows
  ternary_product,
  rope,
  attention_forward,
  swiglu_norm_quantise,
  norm_forward,
  gemm_forward,  // a float32 linear, or the logits of the head
  cross_entropy,
  gemm_dx,
  gemm_dw,
  swiglu_backward,
  norm_backward,
  attention_backward,
  embed_backward,
  gradient_norm,
  optimizer,
  count
};

/** What it runs on. The trainer opens these; a kernel that does several matrices in one pass has a
 * site of its own. */
enum class Site : uint8_t {
  none,
  q,
  k,
  v,
  qkv,
  o,
  gate,
  up,
  gate_up,
  down,
  head,
  attention_input,
  attention_output,
  ffn_input,
  ffn_hidden,
  count
};

/** Sums over the steps since the last reset. */
class StepProfile {
 public:
  static constexpr size_t KERNELS = static_cast<size_t>(Kernel::count);
  static constexpr size_t SITES = static_cast<size_t>(Site::count);
  struct Entry {
    uint64_t ns;
    uint64_t calls;
  };

  void enter(Kernel kernel, Site site) {
    switch_to(kernel, site);
    at(kernel, site).calls++;
  }
  /** Books the time since the last switch and goes on under another name. */
  void switch_to(Kernel kernel, Site site) {
    const auto now = std::chrono::steady_clock::now();
    at(kernel_, site_).ns += static_cast<uint64_t>((now - since_).count());
    since_ = now;
    kernel_ = kernel;
    site_ = site;
  }
  /** Time that was measured elsewhere: on a GPU. */
  void add(Kernel kernel, Site site, uint64_t ns) {
    at(kernel, site).ns += ns;
    at(kernel, site).calls++;
  }
  Kernel kernel() const { return kernel_; }
  Site site() const { return site_; }
  void reset() { *this = StepProfile(); }
  /** {"steps":N,"packing_ns":N,"entries":[{"kernel":"..","site":"..","ns":N,"calls":N},..]} */
  std::string json() const;

  uint64_t steps = 0;
  /** Part of the entries' time that went into packing operands, on the calling thread. */
  uint64_t packing_ns = 0;

 private:
  friend class ProfiledStep;
  Entry& at(Kernel kernel, Site site) {
    if (kernel == Kernel::other) site = Site::none;  // between kernels there is no site
    return entries_[static_cast<size_t>(kernel)][static_cast<size_t>(site)];
  }
  Entry entries_[KERNELS][SITES] = {};
  std::chrono::steady_clock::time_point since_{};
  Kernel kernel_ = Kernel::other;
  Site site_ = Site::none;
};

/** The profile that scopes on this thread book into; null outside of a step. */
extern thread_local StepProfile* current_profile;

/** One step: makes `profile` current and begins with Kernel::other. */
class ProfiledStep {
 public:
  explicit ProfiledStep(StepProfile& profile) : profile_(profile), outer_(current_profile) {
    profile_.since_ = std::chrono::steady_clock::now();
    profile_.kernel_ = Kernel::other;
    profile_.site_ = Site::none;
    profile_.steps++;
    current_profile = &profile_;
  }
  ~ProfiledStep() {
    profile_.switch_to(Kernel::other, Site::none);
    current_profile = outer_;
  }
  ProfiledStep(const ProfiledStep&) = delete;
  ProfiledStep& operator=(const ProfiledStep&) = delete;

 private:
  StepProfile& profile_;
  StepProfile* outer_;
};

/** Time of a scope goes to a kernel at the site in force. */
class KernelScope {
 public:
  explicit KernelScope(Kernel kernel) : profile_(current_profile) {
    if (profile_ == nullptr) return;
    outer_ = profile_->kernel();
    profile_->enter(kernel, profile_->site());
  }
  ~KernelScope() {
    if (profile_ != nullptr) profile_->switch_to(outer_, profile_->site());
  }
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;

 private:
  StepProfile* profile_;
  Kernel outer_ = Kernel::other;
};

/** Kernels inside of the scope work at this site. */
class SiteScope {
 public:
  explicit SiteScope(Site site) : profile_(current_profile) {
    if (profile_ == nullptr) return;
    outer_ = profile_->site();
    profile_->switch_to(profile_->kernel(), site);
  }
  ~SiteScope() {
    if (profile_ != nullptr) profile_->switch_to(profile_->kernel(), outer_);
  }
  SiteScope(const SiteScope&) = delete;
  SiteScope& operator=(const SiteScope&) = delete;

 private:
  StepProfile* profile_;
  Site outer_ = Site::none;
};

/** The same without an end: what follows works at `site`, until the next one is named. */
inline void working_on(Site site) {
  if (current_profile != nullptr) current_profile->switch_to(current_profile->kernel(), site);
}

/** Packing of operands inside of a kernel: counted beside its entry, not instead of it. */
class PackingScope {
 public:
  PackingScope() : profile_(current_profile) {
    if (profile_ != nullptr) since_ = std::chrono::steady_clock::now();
  }
  ~PackingScope() {
    if (profile_ == nullptr) return;
    const auto spent = std::chrono::steady_clock::now() - since_;
    profile_->packing_ns += static_cast<uint64_t>(spent.count());
  }
  PackingScope(const PackingScope&) = delete;
  PackingScope& operator=(const PackingScope&) = delete;

 private:
  StepProfile* profile_;
  std::chrono::steady_clock::time_point since_{};
};

}  // namespace magnet
