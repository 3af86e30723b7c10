#!/usr/bin/env bash
# The headers by themselves: every language standard that is promised, warnings as errors, each header alone, struct layouts.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
passed=0 failed=0
try() { # name, command..
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL headers: $name: $output"; fi
}
strict=(-Wall -Wextra -Wshadow -Wstrict-prototypes -pedantic -Werror -fsyntax-only "-I$root/include")
strictxx=(-Wall -Wextra -Wshadow -pedantic -Werror -fsyntax-only "-I$root/include")

compilers_c=() compilers_cxx=()
for c in gcc clang; do command -v $c >/dev/null && compilers_c+=($c); done
for c in g++ clang++; do command -v $c >/dev/null && compilers_cxx+=($c); done

for header in tamis.h tamis/core.h tamis/attention.h tamis/sinks.h tamis/sparse_attention.h tamis/kv_cache.h tamis/retrieval.h tamis/ops.h tamis/weights.h tamis/span.h \
  tamis/text_scores.h tamis/clusters.h tamis/annotation.h tamis/bleu.h tamis/word_ids.h tamis/sequence_metrics.h \
  tamis/logit_metrics.h tamis/tokenization_metrics.h tamis/charbench.h tamis/needle_threading.h; do
  for c in "${compilers_c[@]}"; do
    for std in c99 c11; do
      try "$header as $std with $c" "$c" -std=$std "${strict[@]}" -x c -include "$header" /dev/null
    done
  done
  for c in "${compilers_cxx[@]}"; do
    for std in c++11 c++20; do
      try "$header as $std with $c" "$c" -std=$std "${strictxx[@]}" -x c++ -include "$header" /dev/null
    done
  done
done
for c in "${compilers_c[@]}"; do
  try "layout with $c" "$c" -std=c11 "${strict[@]}" "$root/Tests/abi/layout.c"
  try "INIT macros with $c" "$c" -std=c99 "${strict[@]}" "$root/Tests/abi/initialisers.c"
done
for c in "${compilers_cxx[@]}"; do
  try "INIT macros with $c" "$c" -std=c++11 "${strictxx[@]}" -x c++ "$root/Tests/abi/initialisers.c"
done

# Nothing unprefixed is declared: every name the headers add to the preprocessor or the linker begins with tamis.
foreign=$(grep -hoE '^#define +[A-Za-z_0-9]+' "$root"/include/tamis.h "$root"/include/tamis/*.h | awk '{print $2}' | grep -v '^TAMIS_')
try "macros are prefixed: $foreign" test -z "$foreign"

echo "headers: $passed passed, $failed failed"
[ "$failed" = 0 ]
