#!/bin/sh
# Trains the benchmark shapes in PyTorch and in magnet, in turns in one go, from the same initial
# weights on the same tokens, and prints both with their ratios and the goals. Installs PyTorch and
# OpenBLAS through apt where that is permitted. Arguments go to compare-train.ts (--help lists them).
set -eu
cd "$(dirname "$0")/../.."
say() { printf '%s\n' "train.sh: $*" >&2; }

# Debian's own python3: python3-torch belongs to it.
python="${PYTHON:-/usr/bin/python3}"
# Without OpenBLAS, PyTorch would fall back to the reference BLAS, which is no peer.
ready() {
  "$python" -c 'import torch, numpy' 2>/dev/null &&
    ldconfig -p | grep -q 'libopenblas\.so'
}
if ! ready; then
  as_root=""
  [ "$(id -u)" = 0 ] || as_root="sudo -n"
  say "installing python3-torch and libopenblas0 through apt"
  $as_root apt-get update >&2 &&
    $as_root apt-get install -y --no-install-recommends python3-torch libopenblas0 >&2 || true
fi
if ! ready; then
  say "PyTorch with OpenBLAS is missing. Install it once: sudo apt-get install python3-torch libopenblas0"
  exit 7
fi

sh ./setup.sh build --library-only
PYTHON="$python" exec sh ./setup.sh bun tests/peers/compare-train.ts "$@"
