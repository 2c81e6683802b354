#!/bin/sh
# Fuzzes the GGUF loader with the address and undefined-behaviour sanitizers: tests/fuzz/gguf.sh [CASES
# [SEED]]. Builds build/sanitized/fuzz-gguf (some minutes the first time), runs 200,000 cases from SEED
# on (default: the time), and prints cases per second and how often each reason refused a case. A
# finding ends it with the case's seed: repeat it by `tests/fuzz/gguf.sh 1 THAT_SEED`.
set -eu
cd "$(dirname "$0")/../.."
cases=${1:-200000}
seed=${2:-$(date +%s)000000}
bun=$(command -v bun || echo node_modules/@oven/bun-linux-x64/bin/bun)
"$bun" build.ts --target sanitized
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
build/sanitized/fuzz-gguf "$seed" "$cases" "$folder" > "$folder/result.json"
"$bun" -e '
  const result = await Bun.file(process.argv[1]).json();
  const { refusals, ...rest } = result;
  for (const [name, value] of Object.entries(rest)) console.log(`${name}: ${value}`);
  const rows = Object.entries(refusals).sort(([, a], [, b]) => b - a);
  for (const [reason, count] of rows) console.log(`${String(count).padStart(8)}  ${reason}`);
' "$folder/result.json"
