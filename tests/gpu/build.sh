# The build of tests/gpu/run.sh, which sources this: both libraries and the programs of cpp/cuda/tests,
# by nvcc and g++, without the project's own build (no npm there). What fails is a row of the table; the
# rest is built and tested all the same. An object is as good as the digest of what went into it, since
# times of files mean nothing on a machine that they were copied to.

cpu_flags="-std=c++20 -O3 -fPIC -ffp-contract=off -fno-math-errno -fvisibility=hidden"

object_of() { echo "$made/$1/$(echo "$2" | tr / _).o"; }
cuda_sources() {
  find cpp/cuda \( -name '*.cu' -o -name '*.cpp' \) -not -path '*/tests/*' |
    grep -vE '/(emulation[a-z_]*|runtime_emulated)\.cpp$'
}
# Tests that are not of the emulation alone.
programs() { grep -L 'Only in the emulation' cpp/cuda/tests/*_test.cpp cpp/cuda/tests/*_bench.cpp; }
cpu_sources() { find cpp/cpu cpp/codec cpp/learners -name '*.cpp'; }

# One object: folder, source, compiler and flags. Says what is wrong; what is half done is not kept.
compile() {
  local object key said
  object="$(object_of "$1" "$2")"
  key="$({ echo "${*:3} $headers"; cat "$2"; } | sha256sum)"
  [ -f "$object" ] && [ "$(cat "$object.key" 2> /dev/null)" = "$key" ] && return 0
  rm -f "$object" "$object.key"
  if ! said="$("${@:3}" -c "$2" -o "$object.tmp" 2>&1)"; then
    printf 'FAILED: %s\n%s\n' "$2" "$said"
    return 1
  fi
  mv "$object.tmp" "$object" && echo "$key" > "$object.key"
}

# The largest files first: the last one decides when all are done.
compile_all() {
  local jobs="$made/jobs" cuda_flags="-lineinfo -gencode=arch=compute_$arch,code=sm_$arch"
  cuda_flags="$(tr '\n' ' ' < cpp/cuda/nvcc.options) $cuda_flags"
  {
    cuda_sources | xargs ls -S | sed "s|^|cuda |; s|$| $nvcc $cuda_flags|"
    programs | sed "s|^|tests |; s|$| $nvcc $cuda_flags|"
    cpu_sources | xargs ls -S | sed "s|^|cpu |; s|$| g++ $cpu_flags|"
  } > "$jobs"
  headers="$(find cpp \( -name '*.h*' -o -name '*.inc' -o -name '*.cuh' \) | sort | xargs cat | sha256sum)"
  export headers made
  export -f compile object_of
  mkdir -p "$made/cuda" "$made/tests" "$made/cpu"
  # No warnings of nvcc's host compiler here: the build of the project has them.
  timeout -k 5 "$1" xargs -d '\n' -P "$cores" -I{} bash -c 'compile {}' < "$jobs" 2>&1 | log
  return "${PIPESTATUS[0]}"
}

# Links a file from objects: the file, then the command. An old one does not stay where that fails.
link() {
  rm -f "$1"
  "${@:2}" -o "$1" 2>&1 | log
  [ "${PIPESTATUS[0]}" = 0 ] && return 0
  row "linking of $(basename "$1")" "" "failed" false
  return 1
}

# Objects of the sources on stdin: the list of them, into `objects`, or a row that says which failed.
objects_of() { # folder, what they are for
  local source lost=""
  objects=""
  while read -r source; do
    objects="$objects $(object_of "$1" "$source")"
    [ -f "$(object_of "$1" "$source")" ] || lost="$lost $(basename "$source")"
  done
  [ -z "$lost" ] && return 0
  row "$2" "" "did not compile:$(plain <<< "$lost")" false
  return 1
}

# Seconds. In a rehearsal without nvcc there is nothing to rehearse.
build() {
  local started=$SECONDS all=true device f objects
  local cuda_link="$nvcc -cudart=static --no-device-link -Xlinker=--no-undefined"
  local exports="--version-script=cpp/exports.map"
  say "building for sm_$arch with $cores jobs"
  if ! "$nvcc" --version > /dev/null 2>&1; then
    row "build for sm_$arch" "" "$nvcc does not run" "$([ -n "$rehearse" ] && echo null || echo false)"
    return
  fi
  for f in $(programs); do rm -f "$made/$(basename "$f" .cpp)"; done
  rm -f "$made"/libmagnet_c*.so
  compile_all "$(allowed "$1")" || all=false
  if objects_of cpu libmagnet_cpu.so < <(cpu_sources); then
    link "$made/libmagnet_cpu.so" g++ -shared "-Wl,$exports" $objects -lpthread -ldl || all=false
  fi
  if objects_of cuda libmagnet_cuda.so < <(cuda_sources); then
    device="$objects"
    objects_of cpu "the host's part of libmagnet_cuda.so" < cpp/cuda/host.sources || all=false
    device="$device $objects"
    link "$made/libmagnet_cuda.so" $cuda_link -shared "-Xlinker=$exports" $device -ldl || all=false
    for f in $(programs); do
      objects_of tests "$(basename "$f" .cpp)" <<< "$f" || continue
      link "$made/$(basename "$f" .cpp)" $cuda_link $objects $device -ldl || all=false
    done
  fi
  row "build for sm_$arch" "" "$((SECONDS - started)) s with $cores jobs" "$all"
}

# For a rehearsal: the emulated library and programs (build.ts makes them) beside the CPU's library.
emulated_folder() {
  local folder="$made/rehearsal"
  rm -rf "$folder" && mkdir -p "$folder"
  ln -s "$PWD"/build/emulated/{libmagnet_cuda.so,*_test,*_bench} "$PWD/build/libmagnet_cpu.so" "$folder"
  [ -f "$folder/libmagnet_cuda.so" ] ||
    echo "run.sh: no emulation to rehearse with: npm run build -- --target emulated" >&2
  echo "$folder"
}
