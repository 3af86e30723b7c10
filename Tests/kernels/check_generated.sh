#!/usr/bin/env bash
# The generated kernel sources are what their generators write.
set -u
cd "$(dirname "$0")/../../Sources/Kernels"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
passed=0 failed=0
for generator in generate_*.py; do
  (cd "$folder" && python3 "$OLDPWD/$generator" >/dev/null) || { failed=$((failed + 1)); echo "FAIL $generator does not run"; }
done
for file in $(grep -l '^// Written by generate_' ./*.swift); do
  if cmp "$file" "$folder/$file"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $file: run its generator"; fi
done
echo "generated: $passed passed, $failed failed"
[ $passed != 0 ] && [ $failed = 0 ]
