#!/usr/bin/env bash
# Every test of the project, one suite after another; the closing line is `N passed, N failed`.
#   Tests/run.sh [suite..]     suites: swift isa c kernels emulated abi cli cmake cpp python examples fuzz
# A suite is a command that ends with a line of its own that says how many passed and failed. Logs: .build/test-logs/.
{ # read whole before it runs: an edit of this file does not disturb a run
set -u
cd "$(dirname "$0")/.."
root=$PWD
logs=$root/.build/test-logs
binaries=$root/.build/tests
library=$root/.build/release/libtamis.so
export TAMIS_LIBRARY_PATH=$library
export POCL_CACHE_DIR=${POCL_CACHE_DIR:-$root/.build/pocl-cache}
mkdir -p "$logs" "$binaries" "$POCL_CACHE_DIR"
wanted=" ${*:-swift isa c kernels emulated abi cli cmake cpp python examples fuzz} "
total_passed=0 total_failed=0

# "passed failed" of a log, in the words of whichever tool wrote it; lines of one tool are added up.
count() {
  awk '
    /Test run with [0-9]+ tests?.* passed/ { for (i = 1; i < NF; i++) if ($i == "with") { p += $(i + 1); break } next }
    /Test run with [0-9]+ tests?.* failed/ { for (i = 1; i < NF; i++) if ($i == "with") { swift += $(i + 1); break } next }
    /Test .* failed after [0-9.]+ seconds? with/ && !/Test (run|case)/ { bad++; next }
    /tests passed, [0-9]+ tests failed out of/ { n = $NF; f += $4; p += n - $4; next }
    /^[0-9]+ (passed|failed|skipped|error).* in [0-9.:]+/ {
      for (i = 2; i <= NF; i++) {
        if ($i ~ /^passed/) p += $(i - 1)
        if ($i ~ /^(failed|error)/) f += $(i - 1)
      }
      next
    }
    /(^|: )[0-9]+ passed, [0-9]+ failed$/ { p += $(NF - 3); f += $(NF - 1); next }
    END { print p + swift - bad + 0, f + bad + 0 }' "$1"
}

suite() { # name, command..
  local name=$1 log=$logs/$1.log started=$SECONDS passed failed code
  shift
  "$@" >"$log" 2>&1 </dev/null
  code=$?
  read -r passed failed < <(count "$log")
  if [ $code != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
  total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed))
  printf '%-22s %6d passed, %d failed  (%d s)\n' "$name" "$passed" "$failed" $((SECONDS - started))
  if [ "$failed" != 0 ]; then
    grep -E "FAIL|error:|✘|not so:|FAILED|Failed|Illegal|Segmentation|SUMMARY" "$log" | head -40
    echo "  see ${log#"$root"/}"
  fi
}
has() { [[ $wanted == *" $1 "* ]]; }

step() { # name, command..: set-up that must work
  local log=$logs/$1.log
  shift
  "$@" >"$log" 2>&1 </dev/null && return
  tail -30 "$log"
  echo "could not: $*"
  echo "$total_passed passed, $((total_failed + 1)) failed"
  exit 1
}

build_c() {
  cc -std=c11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -Iinclude Tests/c/*.c -o "$binaries/c" -L.build/release -ltamis \
    -Wl,-rpath,"$root/.build/release" -lm -lpthread
}

cmake/commit_header.sh
step build-release cmake/library.sh
ln -sf libtamis.so .build/release/libtamis.so.0
step build-c build_c
levels=$("$binaries/c" isa | grep -o '"available": \[[^]]*\]' | grep -oE '"(v[0-9]x?|neon)"' | tr -d '"')
top=$(echo "$levels" | tail -1)

if has c; then suite c "$binaries/c"; fi
if has c; then suite c-opencl "$binaries/c" opencl; fi
if has c; then suite allocations Tests/c-allocations/run.sh "$library"; fi
if has kernels; then
  suite weak-symbols bash -c 'Tests/kernels/check_weak_symbols.sh && echo "1 passed, 0 failed"'
  suite neon Tests/kernels/check_neon_source.sh
  suite generated Tests/kernels/check_generated.sh
fi
if has abi; then
  suite headers Tests/abi/check_headers.sh
  suite symbols Tests/abi/check_symbols.sh "$library"
fi
if has emulated && [ "$(uname -m)" = x86_64 ]; then
  # A processor with x86-64-v2 and nothing more: an instruction of a higher level anywhere on the way is a SIGILL.
  suite emulated-v2 qemu-x86_64 -cpu Nehalem "$binaries/c"
fi
if has swift || has isa; then step build-debug swift build --build-tests; fi
if has swift; then suite swift swift test --skip-build; fi
if has isa; then
  for level in $levels; do
    [ "$level" = "$top" ] && continue
    suite "swift-$level" env TAMIS_ISA="$level" swift test --skip-build --filter 'TamisCoreTests|TamisDeviceTests'
    suite "c-$level" env TAMIS_ISA="$level" "$binaries/c"
  done
fi
if has cli; then
  step build-cli swift build -c release --product tamis-cli
  suite cli Tests/cli/run.sh
fi
if has cmake; then suite cmake Tests/cmake/run.sh "$library"; fi
if has cpp; then
  step build-examples bash -c "cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DTAMIS_LIBRARY='$library' -DTAMIS_EXAMPLES=ON && cmake --build build"
  suite cpp ctest --test-dir build --output-on-failure
fi
if has python && [ -x .venv/bin/python ] && [ -d bindings/python/tests ]; then
  suite python .venv/bin/python -m pytest -q bindings/python
fi
if has examples; then
  if [ -f examples/python/minimal.py ] && [ -x .venv/bin/python ]; then
    suite example-python bash -c 'PYTHONPATH=bindings/python/src .venv/bin/python examples/python/minimal.py && echo "1 passed, 0 failed"'
  fi
  if [ -d examples/swift/minimal ]; then
    suite example-swift bash -c 'swift run --package-path examples/swift/minimal --scratch-path .build/example-swift minimal && echo "1 passed, 0 failed"'
  fi
fi
if has fuzz; then suite fuzz env FUZZ_SECONDS="${FUZZ_BRIEF_SECONDS:-4}" Fuzz/run.sh brief "$library"; fi

echo "$total_passed passed, $total_failed failed"
[ "$total_failed" = 0 ]
exit
}
