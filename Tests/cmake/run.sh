#!/usr/bin/env bash
# Installs into an empty prefix and uses the result by CMake, pkg-config and add_subdirectory.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
library=${1:-$root/.build/release/libtamis.so}
passed=0 failed=0
try() { # name, command..
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL cmake: $name: $output"; fi
}
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)

try "configure" cmake -S "$root" -B "$scratch/build" "${generator[@]}" -DTAMIS_LIBRARY="$library" -DTAMIS_EXAMPLES=OFF \
  -DCMAKE_INSTALL_PREFIX="$scratch/prefix"
try "build" cmake --build "$scratch/build"
try "install" cmake --install "$scratch/build"
libdir=$(dirname "$(find "$scratch/prefix" -name 'libtamis.so.0' | head -1)")
try "symlinks" test "$(readlink "$libdir/libtamis.so")/$(readlink "$libdir/libtamis.so.0")" = libtamis.so.0/libtamis.so.0.1.0
try "headers" test -f "$scratch/prefix/include/tamis.h" -a -f "$scratch/prefix/include/tamis/core.h"
try "installed library keeps its promises" "$root/Tests/abi/check_symbols.sh" "$libdir/libtamis.so"
try "DESTDIR" env DESTDIR="$scratch/staged" cmake --install "$scratch/build"
try "DESTDIR holds the prefix" test -e "$scratch/staged$libdir/libtamis.so.0.1.0"

mv "$scratch/prefix" "$scratch/moved" # the CMake package is relocatable
libdir=$scratch/moved${libdir#"$scratch/prefix"}
try "find_package: configure" cmake -S "$root/Tests/cmake/find_package" -B "$scratch/found" "${generator[@]}" \
  -DCMAKE_PREFIX_PATH="$scratch/moved"
try "find_package: build" cmake --build "$scratch/found"
try "find_package: run" "$scratch/found/consumer"

if command -v pkg-config >/dev/null; then
  try "pkg-config" env PKG_CONFIG_PATH="$libdir/pkgconfig" pkg-config --exists "tamis >= 0.1"
  try "pkg-config: build" cc "$root/Tests/cmake/consumer.c" -o "$scratch/plain" \
    $(PKG_CONFIG_PATH="$libdir/pkgconfig" pkg-config --define-variable=libdir="$libdir" \
      --define-variable=includedir="$scratch/moved/include" --cflags --libs tamis)
  try "pkg-config: run" env LD_LIBRARY_PATH="$libdir" "$scratch/plain"
fi

# The library comes from SwiftPM itself here.
try "add_subdirectory: configure" cmake -S "$root/Tests/cmake/add_subdirectory" -B "$scratch/sub" "${generator[@]}"
try "add_subdirectory: build" cmake --build "$scratch/sub"
try "add_subdirectory: run" "$scratch/sub/consumer"

echo "cmake: $passed passed, $failed failed"
[ "$failed" = 0 ]
