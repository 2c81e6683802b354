#!/bin/sh
# Proof on real text: trains, measures and exports real models on pages of Debian packages, skipping
# rows that are done (see proof/main.ts for the options). At most 100 minutes of two quiet cores.
# Needs npm run build before, apt-get (to download only), 11 GB of memory for the 618M row.
set -eu
cd "$(dirname "$0")/../.."
exec ./node_modules/@oven/bun-linux-x64/bin/bun tests/peers/proof/main.ts "$@"
