// Reports of the watch (emulation_watch.hpp): each pair of places once, with the lines of the source, which
// addr2line finds in the program.
#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "emulation_watch_parts.hpp"

namespace magnet::emulation::watch {

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

struct Found {
  std::string text;
  uint32_t place, other;
};
struct Reports {
  std::map<std::string, size_t> seen;  // kinds and places
  std::vector<Found> found;
};
/** Lives until the very end, when they are printed. */
Reports& reports() {
  static Reports* const all = new Reports;
  return *all;
}

uintptr_t program_base() {
  static const uintptr_t base = [] {
    uintptr_t first = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
          *static_cast<uintptr_t*>(out) = info->dlpi_addr;
          return 1;  // the program is the first
        },
        &first);
    return first;
  }();
  return base;
}

/** "norm.cu:55 (norm_rows)", and what it was inlined into. */
std::string line_of(uint32_t place) {
  if (place == 0) return "an unknown place";
  char program[4096];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
  if (length <= 0) return "?";
  program[length] = '\0';
  char command[4400];
  // A return address is behind the call: one less is in it.
  std::snprintf(command, sizeof(command), "addr2line -s -i -e '%s' 0x%x 2>&1", program, place - 1);
  FILE* const lines = popen(command, "r");
  if (lines == nullptr) return "?";
  std::string all;
  char line[512];
  while (std::fgets(line, sizeof(line), lines) != nullptr) {
    std::string text(line);
    text = text.substr(0, text.find_first_of(" \n"));
    all += (all.empty() ? "" : " < ") + text;
  }
  pclose(lines);
  return all;
}

std::string resolved(const Found& found) {
  std::string text = found.text;
  const auto replace = [&](const char* name, uint32_t place) {
    const size_t at = text.find(name);
    if (at != std::string::npos) text.replace(at, 2, line_of(place));
  };
  replace("%1", found.place);
  replace("%2", found.other);
  return text;
}

constexpr int STATUS = 66;

/** At the end of the process. */
struct AtExit {
  AtExit() { reports(); }
  ~AtExit() {
    const size_t left = reports().found.size();
    if (left == 0) return;
    std::fflush(nullptr);
    for (const std::string& text : take_reports()) std::fprintf(stderr, "WATCH: %s\n", text.c_str());
    std::fprintf(stderr, "WATCH: %zu defects\n", left);
    std::fflush(nullptr);
    _exit(STATUS);
  }
};
const AtExit at_exit;

}  // namespace

uint32_t place_of(const void* instruction) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(instruction) - program_base());
}

void tell(const char* text, uint32_t place, uint32_t other) {
  tell(std::string(text), place, other);
}
void tell(const std::string& text, uint32_t place, uint32_t other) {
  const Lock lock(watching());
  // The kind is what stands before the first colon.
  const std::string kind = text.substr(0, text.find(':'));
  const std::string key = kind + std::to_string(place) + "," + std::to_string(other);
  if (reports().seen[key]++ > 0) return;
  const std::string name = running.operation == 0 ? "" : operation(running.operation).name;
  reports().found.push_back({text + (name.empty() ? "" : " [" + name + "]"), place, other});
  // For programs that are ended before they could tell.
  if (std::getenv("MAGNET_WATCH_AT_ONCE") == nullptr) return;
  const Paused paused;
  std::fprintf(stderr, "WATCH now: %s\n", resolved(reports().found.back()).c_str());
}
void report(const std::string& what, const void* place) { tell(what + " at %1", place_of(place), 0); }

std::string who(const Access& access) {
  const bool here = access.task == running.task;
  if (here && running.in_thread) return agents().name(access.agent);
  const Operation& by = operation_of(access.task);
  if (here) return by.name;
  return (by.stream == 0 ? "" : "the earlier ") + std::string(by.name) +
         (operation_index(access.task) == running.operation ? " in another block" : "");
}

std::vector<std::string> take_reports() {
  const Lock lock(watching());
  std::vector<std::string> texts;
  for (const Found& found : reports().found) texts.push_back(resolved(found));
  reports().found.clear();
  reports().seen.clear();
  return texts;
}

}  // namespace magnet::emulation::watch
