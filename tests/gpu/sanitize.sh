#!/usr/bin/env bash
# What compute-sanitizer looks for, without a GPU: the programs of cpp/cuda/tests in the emulation of a
# device, built and run in two ways.
#   watched     races, memory out of place, values that nobody wrote, misaligned accesses
#               (cpp/cuda/platform/emulation_watch.hpp), with the threads in two orders
#   sanitized   g++'s sanitizers of addresses and undefined behaviour, host code included, and
#               memory that is filled with two patterns before its use
# usage: tests/gpu/sanitize.sh [PROGRAM ...]     all of them where none is named; hours on few cores
set -u
cd "$(dirname "$0")/../.."
bun="${BUN:-$(command -v bun || echo node_modules/@oven/bun-linux-x64/bin/bun)}"
failed=0

for target in watched emulated-sanitized; do
  "$bun" build.ts --target "$target" || exit 1
done
if [ $# -gt 0 ]; then
  programs="$*"
else
  programs="$(cd cpp/cuda/tests && ls -- *_test.cpp | sed 's/\.cpp$//')"
fi

# The settings, then the program; its last line, and what was found.
run() {
  local output status started=$SECONDS
  output="$(env "$@" 2>&1)"
  status=$?
  printf '%-9s %4d s  %s\n' "$([ $status -eq 0 ] && echo ok || echo "FAILED")" \
    $((SECONDS - started)) "$*"
  [ $status -eq 0 ] && return
  printf '%s\n' "$output" | grep -v ': [0-9]* checks passed, 0 failed' | head -40 | sed 's/^/    /'
  failed=$((failed + 1))
}

for program in $programs; do
  for order in forward 3; do
    run MAGNET_EMULATION_ORDER=$order "build/watched/$program"
  done
  for pattern in 255 63; do
    # Fibers have stacks of their own, which the sanitizer's checks of stacks do not know.
    run ASAN_OPTIONS=detect_stack_use_after_return=0 MAGNET_EMULATION_POISON=$pattern \
      "build/emulated-sanitized/$program"
  done
done
[ $failed -eq 0 ] && echo "all clean" || { echo "$failed runs failed"; exit 1; }
