#!/usr/bin/env bash
# The command line as a user types it; prints `N passed, N failed`. Expected lines are those of the sacrebleu 2.6.0 command.
#
#   Tests/cli/run.sh [tamis = .build/release/tamis-cli]
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
tamis=$(realpath "${1:-$root/.build/release/tamis-cli}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
passed=0 failed=0

check() { # name, expected, found
  if [ "$2" = "$3" ]; then passed=$((passed + 1)); return; fi
  failed=$((failed + 1))
  printf 'FAIL %s\n  expected: %s\n  found:    %s\n' "$1" "$2" "$3"
}
holds() { # name, text that must occur, found
  case "$3" in *"$2"*) passed=$((passed + 1)) ;; *) check "$1" "..$2.." "$3" ;; esac
}

cat >hyp <<'TEXT'
the cat sat on the mat
Hello there , world again !
numbers like 1,234.5 and 3-4 stay
a short one
nothing at all matches here
TEXT
cat >ref <<'TEXT'
the cat is on the mat today
Hello there, world again!
numbers such as 1,234.5 and 3-4 stay
a rather short one
completely different words follow
TEXT
cat >ref2 <<'TEXT'
a cat sat on the mat
Hi there, world again!
numbers like 1,234.5 or 3-4 remain
one short
none of it matches here
TEXT
bleu='BLEU|nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = 74.1679 89.3/82.6/66.7/61.5 (BP = 1.000 ratio = 1.037 hyp_len = 28 ref_len = 27)'
check 'three metrics' "$bleu
chrF2|nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0 = 75.5922
TER|nrefs:2|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0 = 44.8980" \
  "$("$tamis" score hyp ref ref2 --metrics bleu,chrf,ter --width 4 2>&1)"
check 'options of BLEU' \
  'BLEU|nrefs:1|case:lc|eff:no|tok:intl|smooth:floor[0.20]|version:2.6.0 = 47.0099 73.1/57.1/43.8/36.4 (BP = 0.926 ratio = 0.929 hyp_len = 26 ref_len = 28)' \
  "$("$tamis" score hyp ref --tokenize intl --lowercase --smooth-method floor --smooth-value 0.2 --width 4 2>&1)"
check 'chrF++' 'chrF2++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0 = 56.5359' \
  "$("$tamis" score hyp ref --metrics chrf --chrf-word-order 2 --width 4 2>&1)"
check 'standard input, the number alone' '74.2' "$("$tamis" score - ref ref2 --score-only <hyp 2>&1)"

# gzip by the tool; zstd as a frame of one stored block, and by the tool where there is one.
gzip -c hyp >hyp.gz
stored() {
  local n
  n=$(wc -c <"$1")
  local header=$((n << 3 | 1))
  printf '\x28\xb5\x2f\xfd\x20'
  printf "\\x$(printf %02x "$n")\\x$(printf %02x $((header & 255)))\\x$(printf %02x $((header >> 8 & 255)))\\x00"
  cat "$1"
}
stored ref >ref.zst
stored ref2 >ref2.zst
check 'gzip and zstd' "$bleu" "$("$tamis" score hyp.gz ref.zst ref2.zst --width 4 2>&1)"
if command -v zstd >/dev/null; then
  zstd -q -19 ref -o ref.19.zst
  check 'zstd by the tool' "$bleu" "$("$tamis" score hyp.gz ref.19.zst ref2 --width 4 2>&1)"
fi
head -c 40 hyp.gz >cut.gz
holds 'cut gzip' 'cut.gz is a damaged or truncated gzip file' "$("$tamis" score cut.gz ref 2>&1)"
"$tamis" score cut.gz ref >/dev/null 2>&1
check 'status of a damaged file' 2 $?
head -2 ref >short
holds 'another number of lines' 'short has 2 lines and hyp 5' "$("$tamis" score hyp short 2>&1)"
holds 'no file' 'nowhere' "$("$tamis" score hyp nowhere 2>&1)"
holds 'an unknown metric' 'expected bleu, chrf or ter' "$("$tamis" score hyp ref --metrics bleu,meteor 2>&1)"

# Progress goes to a terminal only; `script` makes one where it is there.
for _ in $(seq 1200); do cat hyp; done >long
for _ in $(seq 1200); do cat ref; done >longref
check 'no progress in a pipe' '' "$("$tamis" score long longref --metrics ter --score-only 2>&1 >/dev/null)"
if command -v script >/dev/null; then
  holds 'progress on a terminal' 'ter' "$(script -qec "'$tamis' score long longref --metrics ter --score-only" /dev/null 2>&1)"
fi

# Compression with what is in the box.
kept=$("$tamis" compress "$root/README.md" --rate 0.33 2>report | wc -c)
whole=$(wc -c <"$root/README.md")
check 'a third of the README' 1 $((kept * 100 > whole * 20 && kept * 100 < whole * 50))
check 'nothing of nothing' '' "$(: | "$tamis" compress - 2>&1)"
holds 'a rate above 1' 'rate' "$("$tamis" compress hyp --rate 1.5 2>&1)"
holds 'about the library' '"isa"' "$("$tamis" info --json 2>&1)"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
