#!/bin/sh
# The table of autoresearch: magnet against its peers and its goals, on real data. Installs what is
# missing through apt where that is permitted, exports the data once, builds, and goes on where it was
# stopped. Options (research/places.ts checks them): --results DIR --rows search,series --sets a,b
# --seeds 1,2,3 --cpu-s 60 --scale 1 --parallel 2. docs/research.md says what the rows mean.
set -eu
cd "$(dirname "$0")/../.."
say() { printf '%s\n' "research.sh: $*" >&2; }

# Before anything is installed or built: a wrong option should not take minutes to be found.
results="$(sh ./setup.sh bun tests/peers/research/places.ts "$@")"
mkdir -p "$results/data"
exec 9>"$results/lock"
flock --nonblock 9 || { say "another table is being made in $results"; exit 5; }

# Debian's own python3: scikit-learn and XGBoost belong to it.
python="${PYTHON:-/usr/bin/python3}"
packages="r-base-core r-cran-kernlab r-cran-modeldata r-cran-mlbench r-cran-timeseries r-cran-plm
  r-cran-forecast python3-sklearn python3-xgboost python3-pandas"
ready() {
  "$python" -c 'import sklearn, xgboost, pandas' 2>/dev/null && command -v Rscript >/dev/null &&
    Rscript -e 'for (p in c("kernlab", "modeldata", "mlbench", "timeSeries", "plm", "forecast"))
      stopifnot(requireNamespace(p, quietly = TRUE))' >/dev/null 2>&1
}
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
# The script that made the data lies beside it, as the last file.
if ! cmp -s tests/peers/research/export.R "$results/data/export.R"; then
  say "exporting the data sets to $results/data"
  Rscript tests/peers/research/export.R "$results/data" >&2
  cp tests/peers/research/export.R "$results/data/export.R"
fi
sh ./setup.sh build --library-only
PYTHON="$python" exec sh ./setup.sh bun tests/peers/research/table.ts "$@"
