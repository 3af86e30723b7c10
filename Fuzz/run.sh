#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS each.
#   Fuzz/run.sh                        library and targets with AddressSanitizer and coverage, driven by libFuzzer
#   Fuzz/run.sh brief [libtamis.so]    the built-in driver against a library as it is
# Corpora grow in .build-fuzz/corpus; a crash leaves its input there and is reported.
set -u
cd "$(dirname "$0")/.."
root=$PWD
seconds=${FUZZ_SECONDS:-600}
passed=0 failed=0
targets="abi_arguments tile_lists text_arguments task_arguments signal_arguments compression_arguments kv_snapshot safetensors encoder_files tokenizer_files dhsa"

if [ "${1:-}" = brief ]; then
  library=${2:-$root/.build/release/libtamis.so}
  folder=$(dirname "$library")
  out=$root/.build/tests
  mkdir -p "$out"
  build() { ${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -g -Iinclude "Fuzz/$1.c" Fuzz/driver.c -o "$out/fuzz-$1" -L"$folder" -ltamis -lm -Wl,-rpath,"$folder" ${FUZZ_FLAGS:-}; }
  run() { timeout $((seconds + 60)) "$out/fuzz-$1" -seconds="$seconds"; }
else
  out=$root/.build-fuzz
  coverage=edge,trace-cmp,inline-8bit-counters,pc-table
  swift build -c debug --sanitize=address -Xswiftc -Xfrontend -Xswiftc -sanitize=fuzzer -Xcc -fsanitize-coverage=$coverage \
    --product tamis --scratch-path "$out" || exit 1
  folder=$out/debug
  build() { clang -std=c11 -D_GNU_SOURCE -O1 -g -fsanitize=fuzzer,address -Iinclude "Fuzz/$1.c" -o "$out/$1" -L"$folder" -ltamis -lm -Wl,-rpath,"$folder"; }
  run() {
    mkdir -p "$out/corpus/$1"
    (cd "$out/corpus" && "$out/$1" -max_total_time="$seconds" -max_len=4096 -len_control=0 -timeout=20 -rss_limit_mb=6000 -print_final_stats=1 "$1")
  }
fi
for target in $targets; do
  if build "$target" && run "$target"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL fuzz: $target"; fi
done
echo "fuzz: $passed passed, $failed failed"
[ "$failed" = 0 ]
