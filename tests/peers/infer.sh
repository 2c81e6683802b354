#!/bin/sh
# Speed of inference beside llama.cpp (npm @node-llama-cpp/linux-x64), on the same file, in turns in
# one go: decoding, prefill and parallel sequences, with ratios and goals. Needs git, g++ and the
# packages of `npm test`. Arguments go to infer/compare.ts (--help lists them).
set -eu
cd "$(dirname "$0")/../.."
sh ./setup.sh build --library-only
exec sh ./setup.sh bun tests/peers/infer/compare.ts "$@"
