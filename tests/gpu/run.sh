#!/bin/bash
# Everything that wants a GPU, in one go on a machine with one: builds cpp/cuda with nvcc, runs the tests
# of the kernels, compute-sanitizer over them, the golden files and the benches, and ends with a table.
# Needs nvcc, g++ and python3 with numpy; PyTorch for the comparison; no npm and no network.
#   tests/gpu/run.sh [stage...]     stages: build tests sanitize golden bench (all of them unless named)
# Everything it makes is in build/gpu, or in the folder that OUT names.
set -u
cd "$(dirname "$0")/../.."
made=build/gpu
out="${OUT:-$made}"
mkdir -p "$made/obj" "$made/cpu" "$out"
stages="${*:-build tests sanitize golden bench}"
rows="$out/rows.jsonl"
: > "$rows"
nvcc="${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}"
cores="$(nproc)"
failed=0

say() { printf '\n== %s\n' "$*"; }
wants() { [[ " $stages " == *" $1 "* ]]; }
# A row of the table: what, goal, value, and whether it holds: true, false, null = no verdict.
row() { printf '{"what": "%s", "goal": "%s", "value": "%s", "holds": %s}\n' "$@" >> "$rows"; }

capability="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1)"
if [ -z "$capability" ]; then
  echo "run.sh: nvidia-smi shows no GPU here; nothing was run" >&2
  exit 7
fi
nvidia-smi --query-gpu=name,compute_cap,memory.total,driver_version --format=csv
gpu="$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)"
# Of Hopper the architecture whose own instructions the products use.
case "$capability" in 9.0) arch=90a ;; *) arch="${capability/./}" ;; esac
flags="$(tr '\n' ' ' < cpp/cuda/nvcc.options) -lineinfo -gencode=arch=compute_$arch,code=sm_$arch"

# The compile jobs of both libraries, one a line: object, then the command.
stale() { [ ! -f "$1" ] || [ -n "$(find cpp -newer "$1" -name '*.*' -print -quit)" ]; }
object_of() { echo "$1/$(echo "$2" | tr / _).o"; }
cuda_sources() {
  find cpp/cuda \( -name '*.cu' -o -name '*.cpp' \) -not -path '*/tests/*' | sort |
    grep -vE '/(emulation[a-z_]*|runtime_emulated)\.cpp$'
}
# Tests that are not of the emulation alone.
programs() { grep -L 'Only in the emulation' cpp/cuda/tests/*_test.cpp cpp/cuda/tests/*_bench.cpp; }
cpu_flags="-std=c++20 -O3 -fPIC -ffp-contract=off -fno-math-errno -fvisibility=hidden"
cpu_sources() { find cpp/cpu cpp/codec cpp/learners -name '*.cpp' | sort; }
jobs_of() {
  for f in $(cuda_sources) $(programs); do
    o="$(object_of "$made/obj" "$f")"
    stale "$o" && echo "$nvcc $flags -c $f -o $o"
  done
  for f in $(cpu_sources); do
    o="$(object_of "$made/cpu" "$f")"
    stale "$o" && echo "g++ $cpu_flags -c $f -o $o"
  done
}

build() {
  say "building for sm_$arch with $cores jobs"
  local started=$SECONDS
  # No warnings of nvcc's host compiler here: the build of the project has them.
  if ! jobs_of | xargs -P "$cores" -I{} sh -c '{} 2>&1 || { echo "FAILED: {}"; exit 255; }'; then
    row "build for sm_$arch" "" "failed" false
    return 1
  fi
  local objects="" host=""
  for f in $(cuda_sources); do objects="$objects $(object_of "$made/obj" "$f")"; done
  while read -r name; do host="$host $(object_of "$made/cpu" "$name")"; done < cpp/cuda/host.sources
  local link="$nvcc -cudart=static --no-device-link -Xlinker=--no-undefined"
  $link -shared -Xlinker=--version-script=cpp/exports.map $objects $host \
    -o "$made/libmagnet_cuda.so" || return 1
  g++ -shared -Wl,--version-script=cpp/exports.map "$made"/cpu/*.o -lpthread -ldl \
    -o "$made/libmagnet_cpu.so" || return 1
  for f in $(programs); do
    $link "$(object_of "$made/obj" "$f")" $objects $host -o "$made/$(basename "$f" .cpp)" || return 1
  done
  row "build for sm_$arch" "" "$((SECONDS - started)) s" true
}

kernel_tests() {
  for f in $(programs | grep '_test\.cpp$'); do
    local name log verdict
    name="$(basename "$f" .cpp)"
    log="$out/$name.log"
    say "$name"
    timeout 300 "$made/$name" > "$log" 2>&1 && verdict=true || verdict=false
    tail -15 "$log"
    row "$name on the GPU" "all pass" "$(tail -1 "$log" | tr -d '"\\' | cut -c1-60)" "$verdict"
  done
}

sanitize() {
  if ! command -v compute-sanitizer > /dev/null; then
    row "compute-sanitizer" "clean" "not installed" null
    return 0
  fi
  for tool in memcheck racecheck; do
    for f in $(programs | grep '_test\.cpp$'); do
      local name log code
      name="$(basename "$f" .cpp)"
      log="$out/$name-$tool.log"
      say "compute-sanitizer $tool $name"
      timeout "${SANITIZER_S:-240}" compute-sanitizer --tool "$tool" --error-exitcode 9 \
        "$made/$name" > "$log" 2>&1
      code=$?
      tail -3 "$log"
      case $code in
        0) row "$tool, $name" "clean" "clean" true ;;
        124) row "$tool, $name" "clean" "no error in ${SANITIZER_S:-240} s, then stopped" null ;;
        *) row "$tool, $name" "clean" "exit code $code, see $(basename "$log")" false ;;
      esac
    done
  done
}

python() { MAGNET_GPU_ROWS="$rows" MAGNET_GPU_MADE="$made" timeout "$1" python3 "${@:2}"; }
golden() {
  say "golden files"
  python 300 tests/gpu/golden.py || row "golden files" "" "the script ended with $?" false
}
bench() {
  say "matrix products"
  timeout 200 "$made/gemm_bench" 2>&1 | tee "$out/gemm_bench.log"
  for part in speed torch curve; do
    say "training: $part"
    python 400 tests/gpu/train.py "$part" || row "training: $part" "" "the script ended with $?" false
  done
  row "decode 618M, batch 1 / 64" ">= 0.6 of the bandwidth / >= 20x" "not there yet" null
}

ok=1
wants build && { build || ok=0; }
if [ $ok = 0 ] || [ ! -f "$made/libmagnet_cuda.so" ]; then
  say "nothing to run: the build failed, or was not asked for"
  failed=1
else
  wants tests && kernel_tests
  wants sanitize && sanitize
  wants golden && golden
  wants bench && bench
fi
say "table: $gpu, sm_$arch, $(date -u +%F)"
python3 tests/gpu/table.py "$rows" || failed=1
exit $failed
