#!/bin/sh
# Fails on any weak symbol of the kernel objects that does not carry its module's own name: the linker keeps one of several
# equal weak symbols, maybe the AVX-512 one, for every level (docs/dispatch.md).
#
#   Tests/kernels/check_weak_symbols.sh [build folder = .build/release]
set -eu
build=${1:-.build/release}
status=0
checked=0
for folder in "$build"/Kernels*.build; do
  module=$(basename "$folder" .build)
  for object in $(find "$folder" -name '*.o'); do
    checked=$((checked + 1))
    # __swift_reflection_version is two bytes of data, the same in every module.
    bad=$(nm "$object" | awk '$2 ~ /^[WVwv]$/ { print $3 }' | grep -v "$module" | grep -vx '__swift_reflection_version' || true)
    if [ -n "$bad" ]; then
      echo "$object: weak symbols without the module's name:" >&2
      echo "$bad" | sed 's/^/  /' >&2
      status=1
    fi
  done
done
if [ "$checked" -eq 0 ]; then
  echo "no kernel objects under $build" >&2
  exit 1
fi
[ $status -eq 0 ] && echo "weak symbols: $checked kernel objects, every one keeps to itself"
exit $status
