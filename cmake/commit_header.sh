#!/bin/sh
# Writes Sources/CShims/generated/commit.h (what tamis_build_info says of this build), touching it only when it changes.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
header=$root/Sources/CShims/generated/commit.h
commit=$(git -C "$root" describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)
swift=$(swift --version 2>/dev/null | sed -n 's/.*\(Swift version [0-9.]*\).*/\1/p' | head -1)
text=$(printf '#define TAMIS_COMMIT "%s"\n#define TAMIS_SWIFT "%s, "' "$commit" "${swift:-Swift}")
mkdir -p "$(dirname "$header")"
# The compiler does not see that a header it missed has appeared.
if [ ! -f "$header" ]; then touch "$root/Sources/CShims/platform.c"; fi
if [ ! -f "$header" ] || [ "$(cat "$header")" != "$text" ]; then printf '%s\n' "$text" >"$header"; fi
