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
# Installs Debian packages where that is permitted without a question; fails elsewhere.
apt_install() {
  command -v apt-get >/dev/null 2>&1 || return 1
  as_root=""
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null || return 1
    as_root="sudo -n"
  fi
  say "installing $* through apt"
  $as_root apt-get update >&2 && $as_root apt-get install -y --no-install-recommends "$@" >&2
}
install_compiler() {
  have_compiler && return 0
  apt_install g++ || true
  have_compiler && return 0
  say "g++ with C++20 is missing. Install it once: sudo apt-get install g++"
  exit 1
}
# For the test that builds the library for AArch64 and runs it; without them it is skipped.
install_emulator() {
  command -v aarch64-linux-gnu-g++ >/dev/null 2>&1 && command -v qemu-aarch64 >/dev/null 2>&1 && return 0
  apt_install g++-aarch64-linux-gnu qemu-user || say "not installed: the AArch64 test is skipped"
}

install_packages . ""
bun=./node_modules/@oven/bun-linux-x64/bin/bun
[ -x "$bun" ] || chmod +x "$bun"
case "$verb" in
  setup) ;;
  bun) exec "$bun" "$@" ;;
  format) ./node_modules/.bin/biome check --write src tests build.ts contracts cpp >&2 ;;
  build) install_compiler; "$bun" build.ts "$@" >&2 ;;
  demo) install_compiler; "$bun" build.ts >&2; exec ./dist/magnet demo "$@" ;;
  test)
    install_compiler
    install_emulator
    install_packages tests/peers "--omit=optional"
    "$bun" build.ts >&2
    exec "$bun" tests/run.ts "$@" ;;
  *) say "unknown verb '$verb' (setup, build, demo, test, format, bun)"; exit 2 ;;
esac
