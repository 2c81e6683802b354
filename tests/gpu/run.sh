#!/bin/bash
# Everything that wants a GPU, on a machine with one: builds cpp/cuda with nvcc, runs the tests of the
# kernels, compute-sanitizer over them, the golden files and the benches, and ends with a table. Needs
# nvcc, g++ and python3 with numpy; PyTorch for the comparison; no npm and no network.
#   tests/gpu/run.sh [stage...]     all of them unless named:
#     build tests memcheck racecheck golden gemm delta speed torch curve infer
# No stage takes more than ten minutes on 16 cores, whatever hangs in it, and one that fails hides no
# row of another. The libraries and objects are in build/gpu, and rows.jsonl and log.txt too, or in
# the folder that OUT names.
set -u
cd "$(dirname "$0")/../.."
made=build/gpu
out="${OUT:-$made}"
mkdir -p "$made" "$out"
stages="${*:-build tests memcheck racecheck golden gemm delta speed torch curve infer}"
rows="$out/rows.jsonl"
log="$out/log.txt"
: > "$rows"
: > "$log"
nvcc="${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}"
cores="$(nproc)"
# Programs that share the GPU at a time: most of a test is the host's own work.
side_by_side=$((cores < 6 ? cores : 6))

say() { printf '\n== %s\n' "$*"; }
wants() { [[ " $stages " == *" $1 "* ]]; }
# A row of the table: what, goal, value, and whether it holds: true, false, null = no verdict.
row() { printf '{"what": "%s", "goal": "%s", "value": "%s", "holds": %s}\n' "$@" >> "$rows"; }
# Text as it may stand in a row.
plain() { tr -d '"\\[:cntrl:]' | cut -c1-60; }

capability="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1)"
if [ -z "$capability" ]; then
  echo "run.sh: nvidia-smi shows no GPU here; nothing was run" >&2
  exit 7
fi
nvidia-smi --query-gpu=name,compute_cap,memory.total,driver_version --format=csv
gpu="$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)"
# Of Hopper the architecture whose own instructions the products use.
case "$capability" in 9.0) arch=90a ;; *) arch="${capability/./}" ;; esac
. tests/gpu/build.sh

# One test of the kernels: name, tool (none: by itself), seconds. Its end is printed, all of it logged.
kernel_test() {
  local name="$1" tool="$2" limit="$3" said code what value verdict
  local command=("$made/$name")
  what="$name on the GPU"
  if [ "$tool" != none ]; then
    what="$tool, $name"
    command=(compute-sanitizer --tool "$tool" --error-exitcode 9 "${command[@]}")
  fi
  said="$(timeout -k 5 "$limit" "${command[@]}" 2>&1)"
  code=$?
  value="$(tail -1 <<< "$said" | plain)"
  case "$tool $code" in
    *\ 0) verdict=true ;;
    none\ 124 | none\ 137) verdict=false value="stopped after $limit s" ;;
    *\ 124 | *\ 137) verdict=null value="no error in $limit s, then stopped" ;;
    *) verdict=false value="exit code $code: $value" ;;
  esac
  printf '\n== %s (%s)\n%s\n' "$what" "$code" "$said" >> "$log"
  printf '\n== %s\n%s\n' "$what" "$(tail -8 <<< "$said")"
  row "$what" "all pass" "$value" "$verdict"
}

# All tests of the kernels under a tool, in rounds of `side_by_side` that share eight minutes.
kernel_tests() {
  local tool="$1" names rounds
  if [ "$tool" != none ] && ! command -v compute-sanitizer > /dev/null; then
    row "compute-sanitizer, $tool" "clean" "not installed" null
    return
  fi
  names="$(programs | grep '_test\.cpp$' | xargs -n1 basename -s .cpp)"
  rounds=$((($(wc -w <<< "$names") + side_by_side - 1) / side_by_side))
  export rows log made
  export -f kernel_test row plain
  xargs -n1 -P "$side_by_side" bash -c 'kernel_test "$2" "$0" "$1"' "$tool" "$((480 / rounds))" \
    <<< "$names"
}

# A script that writes its rows itself: what, seconds, and the script with its arguments.
script() {
  say "$1"
  MAGNET_GPU_ROWS="$rows" MAGNET_GPU_MADE="$made" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    timeout -k 5 "$2" python3 "${@:3}" 2>&1 | tee -a "$log"
  local code=${PIPESTATUS[0]}
  [ "$code" = 0 ] || row "$1" "" "the script ended with $code" false
}
# What is measured, the program, seconds.
bench() {
  say "$1"
  timeout -k 5 "$3" "$made/$2" 2>&1 | tee -a "$log"
  local code=${PIPESTATUS[0]}
  [ "$code" = 0 ] || row "$1" "" "the program ended with $code" false
}

wants build && build
if [ ! -f "$made/libmagnet_cuda.so" ]; then
  say "nothing to run: the build failed, or was not asked for"
  row "libmagnet_cuda.so" "" "is not there" false
else
  wants tests && kernel_tests none
  wants memcheck && kernel_tests memcheck
  wants racecheck && kernel_tests racecheck
  wants golden && script "golden files" 300 tests/gpu/golden.py
  wants gemm && bench "matrix products" gemm_bench 300
  wants delta && bench "pseudo-gradients and the outer step" delta_bench 100
  wants speed && script "training: speed" 300 tests/gpu/train.py speed
  wants torch && script "training: PyTorch" 560 tests/gpu/train.py torch
  wants curve && script "training: curve" 560 tests/gpu/train.py curve
  wants infer && script "inference" 400 tests/gpu/infer.py
fi
say "table: $gpu, sm_$arch, $(date -u +%F)"
python3 tests/gpu/table.py "$rows"
