#!/bin/sh
# Builds libtamis.so in release. usage: library.sh [options of swift build]
# The Swift runtime inside it is the toolchain's with the marks removed that keep the linker from dropping what nobody
# calls (trim_runtime.py); `swift build` alone gives the same library, 1.4 MB larger.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/cmake/commit_header.sh"
TAMIS_RUNTIME=$(python3 "$root/cmake/trim_runtime.py" "$root/.build/runtime/libswiftCore.a" || true)
export TAMIS_RUNTIME
exec swift build -c release --product tamis --package-path "$root" "$@"
