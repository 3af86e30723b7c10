"""Deterministic text in many scripts: English prose of the Python documentation, words of made-up lexicons per script, random scalars,
runs of white space."""

import random
import unicodedata

SCRIPTS = {
    "latin": [(0x61, 0x7A), (0xE0, 0xF6), (0xF8, 0xFF), (0x100, 0x17F)],
    "vietnamese": [(0x1EA0, 0x1EF9), (0x61, 0x7A)],
    "greek": [(0x3B1, 0x3C9), (0x1F00, 0x1F07)],
    "cyrillic": [(0x430, 0x45F)],
    "armenian": [(0x561, 0x586)],
    "hebrew": [(0x5D0, 0x5EA), (0x5B0, 0x5B9)],
    "arabic": [(0x620, 0x64A), (0x64B, 0x652)],
    "devanagari": [(0x904, 0x939), (0x93E, 0x94D)],
    "tamil": [(0xB85, 0xBB9), (0xBBE, 0xBCD)],
    "thai": [(0xE01, 0xE3A), (0xE40, 0xE4E)],
    "georgian": [(0x10D0, 0x10FA)],
    "hangul": [(0xAC00, 0xD7A3)],
    "jamo": [(0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2)],
    "hiragana": [(0x3041, 0x3096), (0x3099, 0x309A)],
    "katakana": [(0x30A1, 0x30FA), (0xFF66, 0xFF9F)],
    "han": [(0x4E00, 0x9FFF)],
    "han_extension": [(0x20000, 0x2A6DF)],
    "fullwidth": [(0xFF01, 0xFF5E)],
    "mathematical": [(0x1D400, 0x1D7FF), (0x2100, 0x214F)],
    "emoji": [(0x1F300, 0x1F64F), (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF), (0x200D, 0x200D), (0xFE0F, 0xFE0F)],
    "combining": [(0x61, 0x7A), (0x300, 0x36F)],
    "digits": [(0x30, 0x39), (0x660, 0x669), (0x966, 0x96F), (0xFF10, 0xFF19), (0x2160, 0x2188), (0xB2, 0xB3)],
}
PUNCTUATION = [" ", " ", " ", " ", " ", ", ", ". ", "; ", ": ", " - ", "! ", "? ", "\n", "\n\n", "\t", " (", ") ", "'s ", "’s ", " $", "  ", "…", "。", "、",
               "\u00a0", "\u3000", "\u200b", "\r\n", "/", "_", "@", "#", "=", "«", "» "]
SPACES = " \t\n\r\x0b\x0c\x1c\x85\u00a0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000\u200b\ufeff"


def assigned(ranges):
    return [chr(c) for a, b in ranges for c in range(a, b + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]


def english():
    """Some 700 KB of prose and code."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def words(script, n, seed=0):
    """n words of a lexicon of 500 in which few are common, with punctuation between them."""
    rng = random.Random(f"{script} {seed}")
    letters = assigned(SCRIPTS[script])
    lexicon = ["".join(rng.choice(letters) for _ in range(rng.randint(1, 9))) for _ in range(500)]
    weights = [1 / (i + 1) for i in range(500)]
    out = []
    for word in rng.choices(lexicon, weights, k=n):
        out.append(word if rng.random() < 0.8 else word.title())
        out.append(rng.choice(PUNCTUATION))
    return "".join(out)


def mixed(n=60000, seed=1):
    """Over 1 MB: paragraphs of all scripts, one after another and mixed."""
    rng = random.Random(seed)
    parts = []
    for _ in range(n // 40):
        parts.append(words(rng.choice(list(SCRIPTS)), 40, rng.random()))
        if rng.random() < 0.3:
            parts.append(rng.choice(["\n", " ", "\u3000"]))
    return "".join(parts)


def scalars(n, seed=2):
    """Random scalars of all planes, unassigned ones included."""
    rng = random.Random(seed)
    out = []
    while len(out) < n:
        top = rng.choice([0x80, 0x800, 0x3000, 0x10000, 0x30000, 0x110000])
        c = rng.randrange(top)
        if not 0xD800 <= c < 0xE000:
            out.append(chr(c))
    return "".join(out)


def lines():
    """Short texts on the edges."""
    rng = random.Random(3)
    yield from ["", " ", "\n", "a", "é", "e\u0301", "\u0301", "\u0000", "a\u0000b", "\ufffd", "\u00ad", "\U0010ffff", "ß", "İstanbul", "ǅ", "ﬁ"]
    yield from ["I'LL pay $12345  now\n\n  ok ", "a\u0301e\u0301 x", "don’t", "１２３４", "हिन्दी", "\u00a0a\u3000b", "ŝ'ſ", "ｽﾅｯﾌﾟﾘﾝｸﾞ　SC-40"]
    for n in range(21):
        yield "a" + " " * n + "b"
        yield "\n" * n
        yield " " * n
        yield "x" + "\n" * n + " " * (n // 2) + "y"
        yield "".join(rng.choice(SPACES) for _ in range(n)) + "z"
    for n in (99, 100, 101, 200, 5000):
        yield "a" * n
        yield "é" * n
        yield "東" * n
    yield "😀👩\u200d👩\u200d👧\U0001f1e6\U0001f1fa" * 3
    for _ in range(600):
        script = rng.choice(list(SCRIPTS))
        yield words(script, rng.randint(1, 12), rng.random())
    for i in range(600):
        yield scalars(rng.randint(1, 30), i)
