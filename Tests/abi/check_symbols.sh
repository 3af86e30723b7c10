#!/usr/bin/env bash
# The release library against its promises: exported names, SONAME, dependencies, size, stack, no Foundation.
# usage: check_symbols.sh [libtamis.so]
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
library=${1:-$root/.build/release/libtamis.so}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0
check() { # name, "0" when it holds, what was seen
  if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL abi: $1: $3"; fi
}

nm -D --defined-only "$library" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | LC_ALL=C sort >"$scratch/symbols"
difference=$(diff "$root/abi/symbols.txt" "$scratch/symbols")
check "exported symbols equal abi/symbols.txt" $? "$difference"

sed -n 's/^ *\(tamis_[a-z0-9_]*\);$/\1/p' "$root/abi/tamis.map" >"$scratch/map"
difference=$(diff "$root/abi/symbols.txt" "$scratch/map")
check "abi/tamis.map names the same symbols" $? "$difference"

# A declaration is a name before a parenthesis outside comments.
cat "$root"/include/tamis/*.h | perl -0pe 's{/\*.*?\*/}{}gs' | grep -oE '\btamis_[a-z0-9_]+ *\(' | tr -d ' (' |
  LC_ALL=C sort -u >"$scratch/header"
difference=$(diff "$root/abi/symbols.txt" "$scratch/header")
check "the headers declare the same functions" $? "$difference"

soname=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ "$soname" = libtamis.so.0 ]
check "SONAME" $? "$soname; expected libtamis.so.0"

extra=$(readelf -d "$library" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' |
  grep -vE '^(libc|libm|libdl|libpthread|ld-linux-[a-z0-9-]+)\.so\.[0-9]+$')
[ -z "$extra" ]
check "needs glibc only" $? "$extra"

strip -o "$scratch/stripped.so" "$library"
size=$(stat -c %s "$scratch/stripped.so")
[ "$size" -le 9000000 ]
check "at most 9 MB stripped" $? "$size bytes"

readelf -lW "$library" | grep -q 'GNU_STACK.* RW '
check "stack is not executable" $? "$(readelf -lW "$library" | grep GNU_STACK)"

readelf -d "$library" | grep -q TEXTREL
[ $? -ne 0 ]
check "no text relocations" $? "TEXTREL"

names=$(strings "$library" | grep -cE '\$s10Foundation|\$s20FoundationEssentials|_CFRuntime')
[ "$names" = 0 ]
check "no Foundation" $? "$names strings"

# One kernel source is built per instruction set: a weak symbol that does not carry its module's name is merged across the
# levels, and the linker may keep the AVX-512 one for a machine without it.
for level in "$root"/.build/release/Kernels*.build; do
  [ -d "$level" ] || continue
  module=$(basename "$level" .build)
  foreign=$(nm "$level"/*.o | awk '$2 == "W" || $2 == "V" || $1 == "W" || $1 == "V" {print $NF}' |
    grep -vE "Kernels(V2|V3|V4|V4X|NEON)|^__swift_(memcpy|reflection)|^swift\.|^DW\.ref" | sort -u)
  [ -z "$foreign" ]
  check "weak symbols of $module carry its name" $? "$(echo $foreign | cut -c1-400)"
done

echo "abi: $passed passed, $failed failed"
[ "$failed" = 0 ]
