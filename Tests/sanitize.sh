#!/usr/bin/env bash
# The Swift tests, the C tests and a brief fuzz with the whole library under a sanitizer: `sanitize.sh address|thread`.
set -u
cd "$(dirname "$0")/.."
root=$PWD
kind=$1
case $kind in
  address) scratch=.build-asan ;;
  thread) scratch=.build-tsan ;;
  *) echo "usage: sanitize.sh address|thread" >&2; exit 2 ;;
esac
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 TSAN_OPTIONS=halt_on_error=0:exitcode=66
export LSAN_OPTIONS=suppressions=$root/Tests/leaks.supp
passed=0 failed=0
try() { # name, command..
  local name=$1
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $kind: $name"; fi
}
cmake/commit_header.sh
swift build --sanitize=$kind --product tamis --scratch-path $scratch || exit 1
folder=$root/$scratch/debug
ln -sf libtamis.so "$folder/libtamis.so.0"
flags="-fsanitize=$kind"
if [ $kind = thread ]; then # the toolchain's runtime for ThreadSanitizer knows libdispatch
  runtime=$(swiftc -print-target-info | sed -n 's/.*"runtimeResourcePath": "\(.*\)".*/\1/p')/linux
  flags="$flags -L$runtime -ldispatch -lBlocksRuntime -Wl,-rpath,$runtime"
fi
build_c() {
  clang -std=c11 -D_GNU_SOURCE -O1 -g -Iinclude Tests/c/*.c -o "$folder/c-tests" -L"$folder" -ltamis \
    -Wl,-rpath,"$folder" -lm -lpthread $flags
}
try "C tests build" build_c
try "C tests" "$folder/c-tests"
try "fuzz" env CC=clang FUZZ_FLAGS="$flags" FUZZ_SECONDS="${FUZZ_BRIEF_SECONDS:-10}" Fuzz/run.sh brief "$folder/libtamis.so"
try "Swift tests" swift test --sanitize=$kind --scratch-path $scratch
echo "$kind: $passed passed, $failed failed"
[ "$failed" = 0 ]
