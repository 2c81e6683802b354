# What run.sh's stages are made of, which sources this: rows of the table, scripts, and the tests of
# the kernels, each with a limit of time that whatever hangs in it does not pass.

say() { printf '\n== %s\n' "$*"; }

# Rows and the log go to build/gpu, and to the folder of OUT where that takes them: `rows` is a list.
start_rows() {
  rows="$made/rows.jsonl" logs="$made/log.txt"
  if [ -n "${OUT:-}" ] && [ "$OUT" != "$made" ]; then
    if mkdir -p "$OUT" 2> /dev/null && touch "$OUT/rows.jsonl" "$OUT/log.txt" 2> /dev/null; then
      rows="$rows:$OUT/rows.jsonl" logs="$logs:$OUT/log.txt"
    else
      echo "run.sh: $OUT takes no files; rows are in $made alone" >&2
    fi
  fi
  local file
  for file in ${rows//:/ } ${logs//:/ }; do { : > "$file"; } 2> /dev/null; done
}

# A row of the table: what, goal, value, and whether it holds: true, false, null = no verdict.
row() {
  local line file
  printf -v line '{"what": "%s", "goal": "%s", "value": "%s", "holds": %s}' "$@"
  printf '%s: %s\n' "$1" "$3"
  for file in ${rows//:/ }; do { echo "$line" >> "$file"; } 2> /dev/null; done
}
# Text as it may stand in a row: of one line, ASCII, nothing that JSON would have escaped.
plain() { LC_ALL=C tr -cd ' -~' | tr -d '"\\' | cut -c1-100; }
# Passes on what it reads, and adds it to the log.
log() { tee -a ${logs//:/ } 2> /dev/null; }

# At the end, whatever that is; its exit status is the run's.
print_table() {
  say "table: $gpu, sm_$arch, $(date -u +%F), $SECONDS s"
  python3 tests/gpu/table.py ${rows//:/ }
  exit $?
}

# Seconds that something may take: its own limit, or what is left of the whole.
allowed() {
  local limit=$(($1 * slack)) left=$((deadline - SECONDS))
  echo $((limit < left ? limit : left))
}

# An interpreter that has the modules; where none has them the first, which says what is missing.
python_with() {
  local python
  for python in "${PYTHON:-python3}" python3 /usr/bin/python3; do
    "$python" -c "import $1" 2> /dev/null && echo "$python" && return
  done
  echo "${PYTHON:-python3}"
}

# A script that writes its rows itself: what, seconds, modules, and the script with its arguments.
script() {
  local limit code python said="$made/said.txt"
  say "$1"
  limit="$(allowed "$2")"
  python="$(python_with "$3")"
  timeout -k 5 "$limit" "$python" "tests/gpu/$4" "${@:5}" 2>&1 | tee "$said" | log
  code=${PIPESTATUS[0]}
  case "$code" in
    0) ;;
    124 | 137) row "$1" "" "stopped after $limit s" false ;;
    *) row "$1" "" "ended with $code: $(grep . "$said" | tail -1 | plain)" false ;;
  esac
}

# One test of the kernels: name, tool (none: by itself). Its end is printed, all of it logged.
kernel_test() {
  local name="$1" tool="$2" said code what value verdict
  local command=("$used/$name") limit=$((stage_end - EPOCHSECONDS))
  what="$name on the GPU"
  if [ "$tool" != none ]; then
    what="$tool, $name"
    command=(compute-sanitizer --tool "$tool" --error-exitcode 9 "${command[@]}")
  fi
  if ((limit < 5)); then
    row "$what" "all pass" "no time was left for it" null
    return
  fi
  # What hangs leaves time to those behind it.
  limit=$((limit < test_limit ? limit : test_limit))
  said="$(timeout -k 5 "$limit" "${command[@]}" 2>&1 < /dev/null)"
  code=$?
  value="$(grep -v '^=* *$' <<< "$said" | tail -1 | plain)"
  case "$tool $code" in
    *\ 0) verdict=true ;;
    none\ 124 | none\ 137) verdict=false value="stopped after $limit s" ;;
    *\ 124 | *\ 137) verdict=null value="no error in $limit s, then stopped" ;;
    *) verdict=false value="exit code $code: $value" ;;
  esac
  # What was stopped may have found errors before.
  if [ "$verdict" = null ] && grep -qE '^=+ +(Invalid|Error|Race|Program hit)' <<< "$said"; then
    verdict=false value="errors, then stopped after $limit s"
  fi
  printf '\n== %s (%s)\n%s\n' "$what" "$code" "$said" | log > /dev/null
  value="$(row "$what" "all pass" "$value" "$verdict")"
  printf '\n== %s\n%s\n' "$(tail -8 <<< "$said")" "$value"
}

# compute-sanitizer, which the toolkit has in a folder of its own where it is not in PATH. In a rehearsal
# a stand-in that runs the program.
find_sanitizer() {
  local folder
  command -v compute-sanitizer > /dev/null && return 0
  for folder in /usr/local/cuda/bin /usr/local/cuda/compute-sanitizer "$(dirname "$nvcc")"; do
    [ -x "$folder/compute-sanitizer" ] && PATH="$PATH:$folder" && return 0
  done
  [ -n "$rehearse" ] || return 1
  mkdir -p "$made/stand-in"
  printf '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift 2; done\nexec "$@"\n' \
    > "$made/stand-in/compute-sanitizer"
  chmod +x "$made/stand-in/compute-sanitizer"
  PATH="$(realpath "$made/stand-in"):$PATH"
}

# All tests of the kernels under a tool: the tool, and seconds that they share.
kernel_tests() {
  local tool="$1" names
  say "tests of the kernels, $tool"
  if [ "$tool" != none ] && ! find_sanitizer; then
    row "compute-sanitizer, $tool" "clean" "not installed" null
    return
  fi
  names="${TESTS:-$(programs | grep '_test\.cpp$' | xargs -n1 basename -s .cpp)}"
  test_limit=$(($(allowed "$2") * 2 / 3))
  stage_end=$((EPOCHSECONDS + $(allowed "$2")))
  export rows logs used test_limit stage_end
  export -f kernel_test row plain log
  xargs -n1 -P "$side_by_side" bash -c 'kernel_test "$1" "$0"' "$tool" <<< "$names"
}
