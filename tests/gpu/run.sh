#!/bin/bash
# Everything that wants a GPU, on a machine with one: builds cpp/cuda with nvcc, runs the tests of the
# kernels, the golden files, the benches, the executable and compute-sanitizer, and ends with a table.
# Needs nvcc, g++ and python3 with numpy; PyTorch for the comparison; no npm and no network.
#   tests/gpu/run.sh [--rehearse] [--within SECONDS] [stage...]     all of them unless named:
#     build load tests golden speed infer torch curve gemm delta product memcheck racecheck
# --within: when the table is to be there; what has no time left then is a row that says so. Each stage
# has a limit of its own besides, and one that fails hides no row of another: rows are written as
# soon as they are known, to build/gpu/rows.jsonl (beside log.txt) and to the folder that OUT names.
# --rehearse: the same on a machine without a GPU, with the emulation at tiny sizes and a build by nvcc
# where that is installed. It says whether the scripts work, and nothing of speed.
# TESTS names tests of the kernels (default: all), PYTHON an interpreter, NVCC and JOBS the compiler, MADE
# a folder in the place of build/gpu, PRODUCT parts of the stage product.
# What to run in which order where time is short: docs/gpu-nodes.md, "On a machine with a GPU".
set -u
cd "$(dirname "$0")/../.."
. tests/gpu/stages.sh
. tests/gpu/build.sh

every="build load tests golden speed infer torch curve gemm delta product memcheck racecheck"
rehearse="" within=""
while [[ "${1:-}" == --* ]]; do
  case "$1" in
    --rehearse) rehearse=1 ;;
    --within) within="${2:?--within wants seconds}" && shift ;;
    *) echo "run.sh: unknown flag $1; flags: --rehearse, --within SECONDS" >&2 && exit 2 ;;
  esac
  shift
done
stages="${*:-$every}"
for stage in $stages; do
  [[ " $every " == *" $stage "* ]] && continue
  echo "run.sh: unknown stage $stage; stages: $every" >&2
  exit 2
done

# Objects and what nvcc makes of them are in `made`; libraries and programs are taken from `used`.
made="${MADE:-build/gpu}"
used="$made"
mkdir -p "$made"
start_rows
nvcc="${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}"
cores="${JOBS:-$(nproc)}"
# Programs that share the GPU at a time: most of a test is the host's own work.
side_by_side=$((cores < 6 ? cores : 6))
# Of a rehearsal's limits: the emulation, on a machine that does other things too.
slack=$((rehearse ? 6 : 1))
deadline=$((within ? SECONDS + within - 10 : 1000000))

capability="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | head -1)"
if [ -n "$rehearse" ]; then
  gpu="rehearsal, no GPU" capability=9.0
  # Another folder: tests of this script.
  used="${MAGNET_GPU_MADE:-$(emulated_folder)}"
elif [ -z "$capability" ]; then
  echo "run.sh: nvidia-smi shows no GPU here; nothing was run (--rehearse runs without one)" >&2
  exit 7
else
  nvidia-smi --query-gpu=name,compute_cap,memory.total,driver_version --format=csv
  gpu="$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)"
fi
# Of Hopper the architecture whose own instructions the products use.
case "$capability" in 9.0) arch=90a ;; *) arch="${capability/./}" ;; esac
export MAGNET_GPU_REHEARSAL="$rehearse" MAGNET_GPU_MADE="$used" MAGNET_GPU_ROWS="$rows"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
trap print_table EXIT

for stage in $stages; do
  left=$((deadline - SECONDS))
  if ((left < 15)); then
    row "$stage" "" "no time was left for it" null
    continue
  fi
  if [ "$stage" != build ] && [ ! -f "$used/libmagnet_cuda.so" ]; then
    row "$stage" "" "nothing to run: $used/libmagnet_cuda.so is not there" false
    continue
  fi
  case "$stage" in
    build) build 400 ;;
    load) script "the library" 60 numpy load.py ;;
    tests) kernel_tests none 200 ;;
    golden) script "golden files" 120 numpy golden.py ;;
    speed) script "training: speed" 200 numpy train.py speed ;;
    infer) script "inference" 240 numpy infer.py ;;
    torch) script "training: PyTorch" 500 numpy,torch train.py torch ;;
    curve) script "training: curve" 400 numpy train.py curve ;;
    gemm) script "matrix products" 300 numpy bench.py gemm ;;
    delta) script "pseudo-gradients and the outer step" 100 numpy bench.py delta ;;
    product) script "the executable" 550 numpy product.py run ;;
    memcheck | racecheck) kernel_tests "$stage" 550 ;;
  esac
done
