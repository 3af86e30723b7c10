"""Writes unicode_ranges.inc: the code points of \\p{L} and \\p{N}, as sorted inclusive ranges, from Python's unicodedata.

usage: unicode_ranges.py > unicode_ranges.inc
"""
import sys
import unicodedata


def ranges(major):
    found = []
    for point in range(sys.maxunicode + 1):
        if unicodedata.category(chr(point)).startswith(major):
            if found and found[-1][1] == point - 1:
                found[-1][1] = point
            else:
                found.append([point, point])
    return found


print(f"// Made by unicode_ranges.py from Unicode {unicodedata.unidata_version}; do not edit.")
for name, major in (("kLetters", "L"), ("kNumbers", "N")):
    print(f"constexpr Range {name}[] = {{")
    line = "   "
    for low, high in ranges(major):
        item = f" {{{low:#x}, {high:#x}}},"
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")
