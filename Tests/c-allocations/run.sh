#!/usr/bin/env bash
# A steady decode step through the C ABI allocates nothing; prints `N passed, N failed`.
#
#   Tests/c-allocations/run.sh [libtamis.so = .build/release/libtamis.so]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
library=$(realpath "${1:-$root/.build/release/libtamis.so}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The name the program is linked to, whatever the file is called.
ln -s "$library" "$folder/libtamis.so"
ln -s "$library" "$folder/libtamis.so.0"
cc -std=c11 -O1 -Wall -Wextra -Werror -I"$root/include" -o "$folder/steady" "$root/Tests/c-allocations/steady.c" \
  -L"$folder" -ltamis -Wl,-rpath,"$folder"
"$folder/steady"
