#!/bin/sh
# Everything between a fresh clone and a running command: pinned Bun and libraries through npm,
# g++ through apt where that is permitted, the build. Progress goes to stderr, so that
# `npm run --silent demo -- --json` leaves one document on stdout. Needs only node and npm.
set -eu
cd "$(dirname "$0")"
verb="${1:-build}"
[ $# -gt 0 ] && shift
say() { printf '%s\n' "setup: $*" >&2; }

# Only when the lockfile changed since the last complete install. `npm install --no-save` takes the locked
# versions and leaves the lockfile alone, like `npm ci`; but `npm ci` also refuses to run where a registry
# lacks an optional package of another platform.
install_packages() { # folder, extra npm flags
  stamp="$1/node_modules/.magnet-lock"
  if ! cmp -s "$1/package-lock.json" "$stamp" 2>/dev/null; then
    say "installing pinned packages in $1"
    (cd "$1" && npm install --no-save --ignore-scripts --no-audit --no-fund $2 >&2)
    cp "$1/package-lock.json" "$stamp"
  fi
}

have_compiler() { command -v g++ >/dev/null 2>&1 && echo 'int main(){}' | g++ -std=c++20 -x c++ -fsyntax-only - 2>/dev/null; }
install_compiler() {
  have_compiler && return 0
  if command -v apt-get >/dev/null 2>&1; then
    as_root=""
    if [ "$(id -u)" != 0 ]; then
      if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root=no; fi
    fi
    if [ "$as_root" != no ]; then
      say "installing g++ through apt"
      $as_root apt-get update >&2 && $as_root apt-get install -y --no-install-recommends g++ >&2 || true
    fi
  fi
  have_compiler && return 0
  say "g++ with C++20 is missing. Install it once: sudo apt-get install g++"
  exit 1
}

install_packages . ""
bun=./node_modules/@oven/bun-linux-x64/bin/bun
[ -x "$bun" ] || chmod +x "$bun"
case "$verb" in
  setup) ;;
  bun) exec "$bun" "$@" ;;
  format) ./node_modules/.bin/biome check --write src tests build.ts >&2 ;;
  build) install_compiler; "$bun" build.ts "$@" >&2 ;;
  demo) install_compiler; "$bun" build.ts >&2; exec ./dist/magnet demo "$@" ;;
  test)
    install_compiler
    install_packages tests/peers "--omit=optional"
    "$bun" build.ts >&2
    exec "$bun" tests/run.ts "$@" ;;
  *) say "unknown verb '$verb' (setup, build, demo, test, format, bun)"; exit 2 ;;
esac
