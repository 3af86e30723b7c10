#!/usr/bin/env bash
# The arm64 build as far as another machine can check it: what Package.swift selects there, the kernels with ISA_NEON for this
# machine and for aarch64, those run under emulation against plain loops (neon.c), TamisCore's arm64 branches, and the C shims.
# There is no Swift standard library for arm64 Linux here, so the aarch64 kernels are built with the embedded one: kernels use
# little more than SIMD types. What this cannot check is the rest of the library on arm64. Prints `N passed, N failed`.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tools=$(dirname "$(readlink -f "$(command -v swiftc)")")
export PATH=$PATH:$tools
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
shims=$root/Sources/CShims
passed=0 failed=0

pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAIL $1"; }
check() { # name, command..
  local name=$1
  shift
  if "$@" >"$folder/log" 2>&1; then pass; else fail "$name"; head -30 "$folder/log"; fi
}

# What the manifest selects on arm64, read as this machine would were it one.
mkdir "$folder/package"
for entry in "$root"/*; do ln -s "$entry" "$folder/package/"; done
rm "$folder/package/Package.swift"
sed 's/#if arch(x86_64)/#if !arch(x86_64)/; s/#else/#elseif arch(x86_64)/' "$root/Package.swift" >"$folder/package/Package.swift"
[ "$(uname -m)" = x86_64 ] || cp "$root/Package.swift" "$folder/package/Package.swift"
kernels_on_arm() {
  swift package --package-path "$folder/package" --scratch-path "$folder/build" dump-package >"$folder/dump.json" || return 1
  grep -q '"name" : "KernelsNEON"' "$folder/dump.json" && ! grep -qE '"KernelsV[234]X?"' "$folder/dump.json"
}
check "Package.swift selects KernelsNEON alone on arm64" kernels_on_arm
check "Sources/KernelsNEON is Sources/Kernels" [ "$root/Sources/KernelsNEON" -ef "$root/Sources/Kernels" ]

kernels=("$root"/Sources/Kernels/*.swift)
check "kernels with ISA_NEON for this machine" \
  swiftc -D ISA_NEON -Ounchecked -parse-as-library -wmo -module-name KernelsNEON -I "$shims/include" -c "${kernels[@]}" -o "$folder/host.o"
check "they define tk_fill_neon" sh -c "nm '$folder/host.o' | grep ' T tk_fill_neon$'"
mkdir "$folder/core"
for file in "$root"/Sources/TamisCore/*.swift; do sed 's/arch(x86_64)/arch(arm64)/' "$file" >"$folder/core/$(basename "$file")"; done
if [ "$(uname -m)" = x86_64 ]; then
  check "TamisCore's arm64 branches" swiftc -typecheck -parse-as-library -module-name TamisCore -I "$shims/include" "$folder"/core/*.swift
fi

# The kernels' headers without what needs a C library.
mkdir "$folder/modules"
cat >"$folder/modules/module.modulemap" <<MAP
module CShims {
  header "$shims/include/tamis_prefill.h"
  header "$shims/include/tamis_linear.h"
  header "$shims/include/tamis_kernels.h"
  header "$shims/include/tamis_simd.h"
  export *
}
MAP
bare=(clang --target=aarch64-none-elf -ffreestanding -fno-builtin -fno-stack-protector -O2 -Wall -Wextra -Werror -I"$shims/include")
if [ -e "$tools/../lib/swift/embedded/Swift.swiftmodule/aarch64-none-none-elf.swiftmodule" ]; then
  check "kernels for aarch64" \
    swiftc -target aarch64-none-none-elf -enable-experimental-feature Embedded -D ISA_NEON -Ounchecked -parse-as-library -wmo \
    -module-name KernelsNEON -I "$folder/modules" -c "${kernels[@]}" -o "$folder/neon.o"
  # posix_memalign and free are the embedded runtime's, which nothing calls.
  others=$(llvm-nm -u "$folder/neon.o" | awk '{ print $NF }' | grep -vxE '__stack_chk_(fail|guard)|mem(cpy|set|move)|posix_memalign|free')
  if [ -z "$others" ]; then pass; else fail "the aarch64 kernels call other code: $others"; fi
  # FMA by the instruction, not by a call for each lane.
  llvm-objdump -d "$folder/neon.o" >"$folder/neon.asm"
  if grep -q fmla "$folder/neon.asm"; then pass; else fail "no fmla in the aarch64 kernels"; fi
  if command -v qemu-aarch64 >/dev/null; then
    check "neon.c for aarch64" "${bare[@]}" -c "$root/Tests/kernels/neon.c" -o "$folder/test.o"
    check "link of the emulated test" ld.lld -static -o "$folder/neon" "$folder/test.o" "$folder/neon.o"
    qemu-aarch64 "$folder/neon" >"$folder/neon.log"
    code=$?
    grep FAIL "$folder/neon.log"
    read -r p f < <(awk '/ passed, / { print $1, $3 }' "$folder/neon.log") || { p=0 f=1; }
    if [ "$code" != 0 ] && [ "${f:-0}" = 0 ]; then fail "the emulated test ended with $code"; fi
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0}))
  else
    echo "skipped: qemu-aarch64 is not installed"
  fi
else
  echo "skipped: this toolchain has no embedded standard library for aarch64"
fi

# The C shims, with this machine's C headers told that they serve a 64-bit arm64.
overlay=$folder/overlay
mkdir -p "$overlay/bits" "$overlay/gnu"
printf '#define __WORDSIZE 64\n#define __WORDSIZE_TIME64_COMPAT32 0\n' >"$overlay/bits/wordsize.h"
: >"$overlay/gnu/stubs.h"
arm=(clang --target=aarch64-linux-gnu -D_GNU_SOURCE '-D__regparm__(n)=' -fsyntax-only -Wall -Wextra -Werror -I"$shims/include"
  -idirafter "$overlay" -idirafter /usr/include -idirafter "/usr/include/$(uname -m)-linux-gnu")
for file in "$shims"/*.c; do check "${file#"$root"/} for aarch64" "${arm[@]}" "$file"; done
for file in "$shims"/include/*.h; do
  echo "#include \"$(basename "$file")\"" >"$folder/one.c"
  check "${file#"$root"/} for aarch64" "${arm[@]}" "$folder/one.c"
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
