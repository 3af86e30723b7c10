#!/usr/bin/env python3
"""Writes Sources/CShims/unicode_tables.c and include/tamis_unicode.h from the Unicode Character Database.

    apt-get install unicode-data        # 15.0.0, /usr/share/unicode
    python3 generate_tables.py [DIRECTORY]

Two-stage tables: block[index[place(c)] * 128 + (c & 127)], where place(c) is c >> 7 in planes 0 to 3, and planes 4 to 16, whose
blocks of 128 are alike but for U+E0000..U+E0FFF and the last of each plane, take 66 places. A tokenizer must split and normalise as the software that its
vocabulary was made with, and that mixes versions of Unicode. Measured over all scalars against `tokenizers` 0.23.3
(Tests/parity/test_unicode.py), with where the peer takes each from:

    property                                     version  peer's source
    \\p{..}, \\s, \\w of regular expressions      16.0     Oniguruma 6.9.10, crate regex 1
    White_Space, lower case, numeric (N*)        17.0     Rust's standard library
    grapheme clusters (Precompiled)              17.0     crate unicode-segmentation 1
    punctuation, control, nonspacing (Bert)       8.0     crate unicode_categories 0.1
    normal forms, combining marks (StripAccents)  9.0     crate unicode-normalization-alignments 0.1

Assigned characters keep their normal forms for ever (Unicode's stability policy), so an older version is the newer data
without the characters whose Age is higher, plus the few whose general category was corrected since (constants below).
"""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
SHIMS = HERE.parent.parent / "CShims"
UCD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 and __name__ == "__main__" else "/usr/share/unicode")
SIZE = 0x110000
SHIFT = 7
PLACES = 2114

CATEGORIES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cs".split()
BREAKS = "Other CR LF Control Extend ZWJ Regional_Indicator Prepend SpacingMark L V T LV LVT".split()

# General categories that were corrected: what the older version said.
NONSPACING_8 = {0x1734: True, 0x1885: False, 0x1886: False, 0xA9BD: False, 0x111C9: False}
PUNCTUATION_8 = {0x166D, 0x111C9}
MARK_9 = {0x1CF2: True, 0x1CF3: True, 0x111C9: False}
# Break properties of newer characters that do not follow from the general category (Unicode 16.0).
BREAKS_16 = {0x113D1: "Prepend", **dict.fromkeys([0x113B8, 0x113C2, 0x113C5, 0x113C7, 0x113C8, 0x113C9, 0x113CF], "Extend")}
# Scripts of the newer characters that belong to scripts which patterns name.
SCRIPTS_16 = {"Han": [(0x2EBF0, 0x2EE5D)], "Latin": [(0xA7CB, 0xA7CD), (0xA7DA, 0xA7DC)], "Cyrillic": [(0x1C89, 0x1C8A)],
              "Arabic": [(0x897, 0x897), (0x10EC2, 0x10EC4), (0x10EFC, 0x10EFC)]}
INDIC_SCRIPTS = "Bengali Devanagari Gujarati Malayalam Oriya Telugu".split()


def rows(name: str):
    """(code points, fields) of a UCD file in the `first..last ; fields # comment` form."""
    path = HERE / name if name == "newer_characters.txt" else UCD / name
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line:
            points, *fields = (field.strip() for field in line.split(";"))
            first, _, last = points.partition("..")
            yield range(int(first, 16), int(last or first, 16) + 1), fields


def unicode_data():
    first = 0
    for line in (UCD / "UnicodeData.txt").read_text(encoding="ascii").splitlines():
        fields = line.split(";")
        c = int(fields[0], 16)
        if fields[1].endswith("First>"):
            first = c
        else:
            yield (range(first, c + 1) if fields[1].endswith("Last>") else range(c, c + 1)), fields


def general_categories() -> list[str]:
    category = ["Cn"] * SIZE
    for points, fields in unicode_data():
        for c in points:
            category[c] = fields[2]
    return category


def binary(name: str, prop: str) -> set[int]:
    return {c for points, fields in rows(name) if fields == [prop] for c in points}


def valued(name: str, default: str) -> list[str]:
    value = [default] * SIZE
    for points, fields in rows(name):
        for c in points:
            value[c] = fields[0]
    return value


def place(block: int) -> int:
    """Where the index of a block stands; PLACE below is the same in C."""
    if block < 2048:
        return block
    return 2048 + (block & 31) if block >> 5 == 0xE0 else 2080 + 2 * (block >> 9) + (block & 511 == 511)


PLACE = """static inline uint32_t ts_place(uint32_t c) {
  const uint32_t block = c >> 7;
  if (block < 2048) return block;
  return block >> 5 == 0xE0 ? 2048 + (block & 31) : 2080 + 2 * (block >> 9) + ((block & 511) == 511);
}
"""


class Tables:
    def __init__(self) -> None:
        self.source: list[str] = []
        self.header: list[str] = []
        self.bytes = 0

    def array(self, name: str, ctype: str, values: list[int]) -> None:
        width = {"uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "int32_t": 4}[ctype]
        self.bytes += width * len(values)
        self.header.append(f"extern const {ctype} {name}[{len(values)}];")
        lines, line = [], ""
        for value in values:
            item = f"{value},"
            if len(line) + len(item) > 128:
                lines.append(line)
                line = ""
            line += item
        lines.append(line)
        self.source.append(f"const {ctype} {name}[{len(values)}] = {{\n" + "\n".join(lines) + "\n};\n")

    def two_stage(self, name: str, ctype: str, values: list[int], comment: str) -> None:
        blocks: dict[tuple, int] = {}
        index = [-1] * PLACES
        for start in range(0, SIZE, 1 << SHIFT):
            block = tuple(values[start : start + (1 << SHIFT)])
            number, at = blocks.setdefault(block, len(blocks)), place(start >> SHIFT)
            if index[at] not in (-1, number):
                raise SystemExit(f"{name}: the block of U+{start:X} is not like others of its plane")
            index[at] = number
        index = [max(number, 0) for number in index]
        itype = "uint8_t" if len(blocks) <= 256 else "uint16_t"
        self.array(f"ts_{name}_index", itype, index)
        self.array(f"ts_{name}_block", ctype, [value for block in blocks for value in block])
        self.header.append(
            f"// {comment}\n"
            f"static inline {ctype} ts_{name}(uint32_t c) {{\n"
            f"  return ts_{name}_block[((uint32_t)ts_{name}_index[ts_place(c)] << {SHIFT}) + (c & {(1 << SHIFT) - 1})];\n"
            "}\n"
        )


def generate() -> tuple[str, str]:
    t = Tables()
    every = range(SIZE)
    old = general_categories()
    age = [99.0] * SIZE
    for points, fields in rows("DerivedAge.txt"):
        for c in points:
            age[c] = float(fields[0])
    data = {points[0]: fields for points, fields in unicode_data() if len(points) == 1}
    lower = {c: int(f[13], 16) for c, f in data.items() if f[13]}
    gc16, gc17 = list(old), list(old)
    for points, fields in rows("newer_characters.txt"):
        for c in points:
            gc17[c] = fields[0]
            if float(fields[1]) <= 16.0:
                gc16[c] = fields[0]
            if len(fields) > 2:
                lower[c] = int(fields[2], 16) + c - points[0]

    # Categories and the classes of regular expressions.
    white = binary("PropList.txt", "White_Space")
    alphabetic = binary("DerivedCoreProperties.txt", "Alphabetic")
    joiners = binary("PropList.txt", "Join_Control")
    word = [c in alphabetic or c in joiners or gc16[c] in "Nd Pc Mn Mc Me Lu Ll Lt Lm Lo Nl".split() for c in every]
    t.two_stage(
        "category", "uint8_t",
        [CATEGORIES.index(gc16[c]) | (c in white) << 5 | word[c] << 6 | (gc17[c][0] == "N") << 7 for c in every],
        "General category (low five bits, ts_category_*), 32: White_Space, 64: \\w, 128: numeric.",
    )

    # What BERT's normaliser and pre-tokenizer ask, and StripAccents.
    cjk = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
           (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]
    is_cjk = bytearray(SIZE)
    for first, last in cjk:
        for c in range(first, last + 1):
            is_cjk[c] = 1
    ascii_punctuation = set(range(0x21, 0x30)) | set(range(0x3A, 0x41)) | set(range(0x5B, 0x61)) | set(range(0x7B, 0x7F))
    combining = {c: int(f[3]) for c, f in data.items() if f[3] != "0"}
    mapping = {c: f[5] for c, f in data.items() if f[5]}
    bert = []
    for c in every:
        control = old[c] in ("Cc", "Cf", "Co") and age[c] <= 8.0 and c not in (9, 10, 13)
        remove = control or c in (0, 0xFFFD)
        punctuation = c in ascii_punctuation or c in PUNCTUATION_8 or (old[c][0] == "P" and age[c] <= 8.0)
        nonspacing = NONSPACING_8.get(c, old[c] == "Mn" and age[c] <= 8.0)
        mark = MARK_9.get(c, old[c][0] == "M" and age[c] <= 9.0)
        canonical = (c in mapping and mapping[c][0] != "<" and age[c] <= 9.0) or 0xAC00 <= c <= 0xD7A3
        accents = nonspacing or canonical or (c in combining and age[c] <= 9.0)
        bert.append(
            remove | (c in white) << 1 | punctuation << 2 | is_cjk[c] << 3 | nonspacing << 4 | mark << 5
            | (c in lower or c == 0x130) << 6 | accents << 7
        )
    t.two_stage(
        "bert", "uint8_t", bert,
        "1: removed by clean_text, 2: White_Space, 4: punctuation, 8: CJK ideograph, 16: nonspacing mark, 32: mark,\n"
        "// 64: has a lower case, 128: NFD or stripping accents can touch it.",
    )

    # Lower case and simple case folding, as indices into tables of differences. U+0130 alone has two scalars.
    fold = {points[0]: int(fields[1], 16) for points, fields in rows("CaseFolding.txt") if fields[0] in "CS"}
    for name, table in (("lower", lower), ("fold", fold)):
        deltas = sorted({to - c for c, to in table.items()})
        t.two_stage(
            f"{name}_index_of", "uint8_t", [1 + deltas.index(table[c] - c) if c in table else 0 for c in every],
            f"Index of the difference to the {name} case; 0: none.",
        )
        t.array(f"ts_{name}_delta", "int32_t", [0] + deltas)
        t.header.append(
            f"static inline uint32_t ts_{name}(uint32_t c) {{\n"
            f"  return (uint32_t)((int32_t)c + ts_{name}_delta[ts_{name}_index_of(c)]);\n}}\n"
        )

    # Normal forms.
    def decompose(c: int, compatible: bool) -> list[int]:
        text = mapping.get(c, "")
        if not text or (text[0] == "<" and not compatible):
            return [c]
        parts = text.split("> ")[-1].split()
        return [d for part in parts for d in decompose(int(part, 16), compatible)]

    pool, offset = [0], [0] * SIZE
    for c in sorted(mapping):
        canonical, compatible = decompose(c, False), decompose(c, True)
        canonical = [] if canonical == [c] else canonical
        offset[c] = len(pool)
        pool += [len(canonical) | len(compatible) << 8] + canonical + compatible
    t.array("ts_decomposition_pool", "uint32_t", pool)
    t.header.append("static inline uint32_t ts_decomposition_at(long offset) { return ts_decomposition_pool[offset]; }\n")
    t.two_stage(
        "decomposition", "uint16_t", offset,
        "Offset in the pool of: lengths (canonical | compatible << 8), canonical scalars, compatible scalars. 0: none.\n"
        "// Hangul syllables are not in it.",
    )
    quick = {"NFC_QC": [False] * SIZE, "NFKC_QC": [False] * SIZE, "NFD_QC": [False] * SIZE, "NFKD_QC": [False] * SIZE}
    excluded = set()
    for points, fields in rows("DerivedNormalizationProps.txt"):
        for c in points:
            if fields[0] in quick:
                quick[fields[0]][c] = True
            if fields[0] == "Full_Composition_Exclusion":
                excluded.add(c)
    t.two_stage(
        "normal", "uint16_t",
        [combining.get(c, 0) | quick["NFC_QC"][c] << 8 | quick["NFKC_QC"][c] << 9 | quick["NFD_QC"][c] << 10
         | quick["NFKD_QC"][c] << 11 | (9.0 < age[c] < 99.0) << 12 for c in every],
        "Canonical combining class (low byte), and whether the quick check does not say yes: 256 NFC, 512 NFKC, 1024 NFD,\n"
        "// 2048 NFKD. 4096: newer than Unicode 9.0.",
    )
    pairs = []
    for c, text in mapping.items():
        parts = text.split()
        if text[0] != "<" and len(parts) == 2 and c not in excluded:
            pairs.append((int(parts[0], 16), int(parts[1], 16), c))
    pairs.sort()
    t.array("ts_compositions", "uint32_t", [part for pair in pairs for part in pair])
    t.header.append(
        f"enum {{ ts_composition_count = {len(pairs)} }};\n"
        "typedef struct {\n  uint32_t first, second, result;\n} ts_composition;\n"
        "// The canonical compositions, ascending by (first, second).\n"
        "static inline ts_composition ts_composition_at(long i) {\n"
        "  ts_composition pair = {ts_compositions[3 * i], ts_compositions[3 * i + 1], ts_compositions[3 * i + 2]};\n"
        "  return pair;\n}\n"
    )

    # Extended grapheme clusters.
    breaks = valued("auxiliary/GraphemeBreakProperty.txt", "Other")
    for c in every:
        if gc17[c] != old[c]:
            breaks[c] = {"Mn": "Extend", "Me": "Extend", "Mc": "SpacingMark", "Cf": "Control"}.get(gc17[c], breaks[c])
    for c, value in BREAKS_16.items():
        breaks[c] = value
    pictographic = binary("emoji/emoji-data.txt", "Extended_Pictographic")
    script = valued("Scripts.txt", "Unknown")
    for name, ranges in SCRIPTS_16.items():
        for first, last in ranges:
            script[first : last + 1] = [name] * (last + 1 - first)
    syllabic = valued("IndicSyllabicCategory.txt", "Other")
    linker = {c for c in every if script[c] in INDIC_SCRIPTS and syllabic[c] == "Virama"}
    consonant = {c for c in every if script[c] in INDIC_SCRIPTS and syllabic[c] == "Consonant"}
    extend = {c for c in every if breaks[c] in ("Extend", "ZWJ") and c != 0x200C}
    conjunct = [2 if c in consonant else 3 if c in linker else int(c in extend) for c in every]
    t.two_stage(
        "grapheme", "uint8_t",
        [BREAKS.index(breaks[c]) | (c in pictographic) << 4 | conjunct[c] << 5 for c in every],
        "Grapheme_Cluster_Break (low four bits, ts_break_*), 16: Extended_Pictographic, >> 5: Indic_Conjunct_Break\n"
        "// (1 Extend, 2 Consonant, 3 Linker).",
    )

    # Scripts, for \p{Han} and its like.
    scripts = sorted(set(script) - {"Unknown"})
    codes = {fields[1]: fields[0] for fields in property_aliases("sc")}
    t.two_stage(
        "script", "uint8_t", [0 if script[c] == "Unknown" else 1 + scripts.index(script[c]) for c in every],
        "Script: 0 Unknown, else 1 + index of its name in ts_script_names.",
    )
    t.header.append(
        f"enum {{ ts_script_count = {len(scripts)} }};\nextern const char *const ts_script_names[ts_script_count];\n"
        "static inline const char *ts_script_name(long i) { return ts_script_names[i]; }"
    )
    names = ",\n".join(f'  "{name} {codes[name]}"' for name in scripts)
    t.source.append(f"// Long and short name.\nconst char *const ts_script_names[ts_script_count] = {{\n{names}\n}};\n")

    version = (UCD / "PropList.txt").read_text(encoding="utf-8").split(".txt")[0].split("-")[1]
    note = (
        f"// Written by Sources/TamisText/Unicode/generate_tables.py from Unicode {version} and newer_characters.txt; "
        "do not edit.")
    constants = [f"  ts_category_{name} = {i}," for i, name in enumerate(CATEGORIES)]
    constants += [f"  ts_break_{name} = {i}," for i, name in enumerate(BREAKS)]
    header = "\n".join(
        [note, "// Unicode's character data as two-stage tables; an argument is a code point below 0x110000.", "#pragma once",
         "#include <stdint.h>", "", f'#define TS_UNICODE_VERSION "{version}"', "enum {", *constants, "};", "", PLACE, *t.header, ""]
    )
    source = "\n".join([note, '#include "tamis_unicode.h"', "", *t.source])
    print(f"{t.bytes} bytes of tables")
    return header, source


def property_aliases(prop: str):
    for line in (UCD / "PropertyValueAliases.txt").read_text(encoding="utf-8").splitlines():
        fields = [field.strip() for field in line.split("#")[0].split(";")]
        if fields[0] == prop:
            yield fields[1:]


if __name__ == "__main__":
    header, source = generate()
    (SHIMS / "include" / "tamis_unicode.h").write_text(header, encoding="ascii")
    (SHIMS / "unicode_tables.c").write_text(source, encoding="ascii")
