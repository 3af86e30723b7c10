"""Normalisers, pre-tokenizers and Unicode tables against the `tokenizers` package: every scalar, and random strings.

Both sides load the same tokenizer.json. Its vocabulary is the 256 bytes (`byte_fallback`, no merges), so the ids of a text are
the bytes of its normalised form, the offsets say what each came from, and the words are the pieces of the pre-tokenizer.
"""

import functools
import json
import random
import zlib

import pytest
import tamis
from tokenizers import Tokenizer

SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def component(type, **options):
    return {"type": type, **options}


def bert(clean, chinese, strip, lower):
    return component("BertNormalizer", clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip, lowercase=lower)


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return component("Split", pattern={kind: pattern}, behavior=behavior, invert=invert)


def metaspace(scheme, split=True):
    return component("Metaspace", replacement="▁", prepend_scheme=scheme, split=split)


def sequence(*parts):
    return component("Sequence", pretokenizers=list(parts))


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]

NORMALIZERS = {
    **{form: component(form) for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt")},
    "bert uncased": bert(True, True, None, True),
    "bert cased": bert(True, True, None, False),
    "bert lower, accents kept": bert(True, True, False, True),
    "bert accents only": bert(False, False, True, False),
    "strip": component("Strip", strip_left=True, strip_right=True),
    "prepend": component("Prepend", prepend="▁"),
    "replace": component("Replace", pattern={"String": " "}, content="▁"),
    "replace regex": component("Replace", pattern={"Regex": r" {2,}|a*"}, content="xy"),
    "nfd, strip, lower": component(
        "Sequence", normalizers=[component("NFD"), component("StripAccents"), component("Lowercase")]),
}

PATTERNS = {
    "gpt2": CONTRACTIONS + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": rf"(?i:{CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{REST}",
    "qwen2": rf"(?i:{CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{REST}",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+(?i:{CONTRACTIONS})?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*(?i:{CONTRACTIONS})?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "deepseek": r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    "deepseek cjk": r"[一-龥ࠀ-一가-퟿]+",
    "trailing space": r"\s+$",
    "sets": rf"[{UPPER[1:-1]}&&[^\p{{Han}}]]*[{LOWER[1:-1]}&&[^\p{{Han}}]]+|[^\s\w]+",
    "look-around": r"(?<=a)b|(?<!a)c|\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
    "loops": r"(?:a|ab)(?:c|bcd)*(?:d*)|(?:a?)+|(?>a+|ab)c",
    "case": r"(?i:straSSe|k|ſ)|(?i)[a-k]+|É",
    "posix": r"[[:punct:]]+|[[:space:]]|\h+",
    "words": r"\w+|\b|\R",
    "lines": r"^.*$|\Aa|b\Z",
    "ruby intervals": r"a{1,2}+|b{2}?|c{,2}d|{x",
    "empty": r"",
}

PRE_TOKENIZERS = {
    **{name: component(name) for name in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")},
    "digits": component("Digits", individual_digits=True),
    "digit runs": component("Digits", individual_digits=False),
    "delimiter": component("CharDelimiterSplit", delimiter="a"),
    "fixed length": component("FixedLength", length=3),
    **{f"metaspace {scheme}": metaspace(scheme) for scheme in ("always", "first", "never")},
    "metaspace whole": metaspace("always", split=False),
    "xlm-r": sequence(component("WhitespaceSplit"), metaspace("always")),
    "split, metaspace first": sequence(component("WhitespaceSplit"), metaspace("first")),
    **{f"punctuation {b}": component("Punctuation", behavior=b) for b in BEHAVIORS},
    **{f"split {b} {i}": split(r"a+|\s|", b, i) for b in BEHAVIORS for i in (False, True)},
    **{f"literal {b}": split(" ", b, kind="String") for b in BEHAVIORS},
    **{f"pattern {name}": split(pattern) for name, pattern in PATTERNS.items()},
}


@functools.cache
def pair(text):
    return Tokenizer.from_str(text), tamis.Tokenizer.from_str(text)


def tokenizers(normalizer, pre_tokenizer):
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": False, "byte_fallback": True, "vocab": {f"<0x{i:02X}>": i for i in range(256)}, "merges": [],
    }
    return pair(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": None, "decoder": None, "model": model,
    }))


def compare(normalizer, pre_tokenizer, texts):
    theirs, ours = tokenizers(normalizer, pre_tokenizer)
    for start in range(0, len(texts), 1000):
        batch = texts[start : start + 1000]
        for text, peer, own in zip(batch, theirs.encode_batch(batch), ours.encode_batch(batch, offsets="chars")):
            same = (
                own.ids.tolist() == peer.ids and own.words.tolist() == peer.word_ids
                and list(map(tuple, own.offsets.tolist())) == peer.offsets
            )
            assert same, (text, [hex(ord(c)) for c in text], bytes(peer.ids), bytes(own.ids.tolist()), peer.word_ids,
                          own.words.tolist(), peer.offsets, own.offsets.tolist())


def every_scalar(separator):
    return [separator.join(map(chr, SCALARS[i : i + 512])) for i in range(0, len(SCALARS), 512)]


def random_strings(seed, count):
    """Half from scalars that the rules are about, half from all scalars."""
    rng = random.Random(zlib.crc32(seed.encode()))
    special = [
        9, 10, 13, 0, 1, 0x85, 0xA0, 0xAD, 0xB2, 0x130, 0x149, 0x17F, 0x1C5, 0x2B0, 0x890, 0x8E2, 0x166D, 0x1680, 0x1734,
        0x1E9E, 0x200B, 0x200D, 0x2028, 0x2126, 0x212A, 0x2160, 0x2581, 0x3000, 0x302E, 0xF900, 0xFB01, 0xFEFF, 0xFF11, 0xFFFD,
        0x10D50, 0x110BD, 0x111C9, 0x11631, 0x16FF0, 0x1D157, 0x1D165, 0x1F468, 0x1F600, 0x2F800, 0xE0001,
    ]
    pool = list(map(ord, "aabbccddABCDstremvlSTREMVLk''' ’    01239.,!?/-_")) * 4 + special * 4 + list(range(0x300, 0x370)) * 2
    for first, last, step in [
        (0xC0, 0x250, 1), (0x370, 0x600, 1), (0x900, 0x980, 1), (0x1100, 0x1200, 7), (0x1E00, 0x2000, 1), (0x3040, 0x3100, 1),
        (0x4E00, 0x4E40, 1), (0xAC00, 0xAD00, 5),
    ]:
        pool += range(first, last, step)
    return ["".join(chr(rng.choice(SCALARS if i % 2 else pool)) for _ in range(rng.randint(0, 16))) for i in range(count)]


@pytest.mark.parametrize("separator", ["a", "\n"])
@pytest.mark.parametrize("name", [
    "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "bert uncased", "bert cased", "bert lower, accents kept",
    "bert accents only",
])
def test_normalizers_on_every_scalar(name, separator):
    compare(NORMALIZERS[name], None, every_scalar(separator))


@pytest.mark.parametrize("name", [
    "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "digits", "punctuation Isolated", "pattern gpt2", "pattern llama3",
    "pattern qwen2", "pattern o200k", "pattern posix",
])
def test_pre_tokenizers_on_every_scalar(name):
    compare(None, PRE_TOKENIZERS[name], every_scalar("a"))


CATEGORIES = ("L M N P S Z C Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn "
              "Han Hiragana Katakana Latin Hangul Thai Arabic Cyrillic Greek Devanagari").split()


@pytest.mark.parametrize("name", CATEGORIES)
def test_properties_on_every_scalar(name):
    """`\\p{..}` against Oniguruma's tables."""
    compare(None, split(rf"\p{{{name}}}"), every_scalar(""))


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizers_on_random_strings(name):
    compare(NORMALIZERS[name], None, random_strings(name, 3000))


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_pre_tokenizers_on_random_strings(name):
    compare(None, PRE_TOKENIZERS[name], random_strings(name, 1200))


@pytest.mark.parametrize("normalizer", ["strip", "bert uncased", "NFKC", "prepend"])
@pytest.mark.parametrize("pre_tokenizer", ["metaspace always", "metaspace first", "BertPreTokenizer", "split, metaspace first"])
def test_both_on_random_strings(normalizer, pre_tokenizer):
    compare(NORMALIZERS[normalizer], PRE_TOKENIZERS[pre_tokenizer], random_strings(normalizer + pre_tokenizer, 1200))
