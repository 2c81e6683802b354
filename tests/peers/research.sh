#!/bin/sh
# The table of autoresearch: magnet's research runs against randomised searches of scikit-learn and
# XGBoost on real data, with the same rows and CPU seconds. Installs what is missing through apt where
# that is permitted, exports the data once, and goes on where it was stopped. Options go to
# research/table.ts: --results DIR --sets a,b --seeds 1,2,3 --cpu-s 60 --rows search,series --parallel 2
set -eu
cd "$(dirname "$0")/../.."
say() { printf '%s\n' "research.sh: $*" >&2; }

# Debian's own python3: scikit-learn and XGBoost belong to it.
python="${PYTHON:-/usr/bin/python3}"
packages="r-base-core r-cran-kernlab r-cran-modeldata r-cran-mlbench r-cran-timeseries r-cran-plm
  r-cran-forecast python3-sklearn python3-xgboost python3-pandas"
ready() {
  "$python" -c 'import sklearn, xgboost, pandas' 2>/dev/null && command -v Rscript >/dev/null &&
    Rscript -e 'for (p in c("kernlab", "modeldata", "mlbench", "timeSeries", "plm", "forecast"))
      stopifnot(requireNamespace(p, quietly = TRUE))' >/dev/null 2>&1
}
results="research-table"
previous=""
for argument in "$@"; do
  [ "$previous" != "--results" ] || results="$argument"
  previous="$argument"
done
if ! ready; then
  as_root=""
  [ "$(id -u)" = 0 ] || as_root="sudo -n"
  say "installing R's and Python's packages through apt"
  # shellcheck disable=SC2086
  $as_root apt-get update >&2 &&
    $as_root apt-get install -y --no-install-recommends $packages >&2 || true
fi
if ! ready; then
  say "packages are missing. Install them once: sudo apt-get install" $packages
  exit 7
fi
if [ ! -f "$results/data/done" ]; then
  mkdir -p "$results/data"
  say "exporting the data sets to $results/data"
  Rscript tests/peers/research/export.R "$results/data" >&2
  touch "$results/data/done"
fi
sh ./setup.sh build --library-only
PYTHON="$python" exec sh ./setup.sh bun tests/peers/research/table.ts --data "$results/data" "$@"
