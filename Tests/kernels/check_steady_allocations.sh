#!/bin/sh
# Fails if a steady decode step (score, select, attend) allocates. Needs the release build of tamis-bench-decode.
set -eu
build=${1:-.build/release}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cc -O2 -shared -fPIC -o "$folder/count.so" "$(dirname "$0")/count_allocations.c"
LD_PRELOAD="$folder/count.so" "$build/tamis-bench-decode" 4096 2 steady
