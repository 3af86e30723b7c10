"""tamis.Tokenizer on the project's own vocabularies, against what `tokenizers` and `sentencepiece` made of them (Tests/golden/tokenizers)."""

import json
from pathlib import Path

import numpy as np
import pytest

import tamis

GOLDEN = Path(__file__).resolve().parents[3] / "Tests" / "golden" / "tokenizers"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden vocabularies are not here")
NAMES = ["bert", "xlmr", "llama3", "gemma", "word_level"]


def cases(name):
    return json.loads((GOLDEN / f"{name}.golden.json").read_text())["cases"]


@pytest.fixture(scope="module")
def tokenizers():
    return {name: tamis.Tokenizer(GOLDEN / f"{name}.json") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_golden(tokenizers, name):
    t = tokenizers[name]
    for case in cases(name):
        e = t.encode(case["text"], case["pair"], offsets="bytes")
        assert e.ids.tolist() == case["ids"]
        assert e.type_ids.tolist() == case["types"]
        if case["pair"] is None:
            assert e.offsets.tolist() == [list(x) for x in zip(case["starts"], case["ends"])]
            assert e.words.tolist() == case["words"]
            assert t.count(case["text"]) == len(e)
        assert t.decode(e.ids) == case["decoded"]


@pytest.mark.parametrize("name", NAMES)
def test_batch_is_one_by_one(tokenizers, name, cpu):
    t = tokenizers[name]
    texts = [case["text"] for case in cases(name)]
    for a, b in zip(t.encode_batch(texts, ctx=cpu), map(t.encode, texts)):
        for column in ("ids", "offsets", "words", "type_ids"):
            np.testing.assert_array_equal(getattr(a, column), getattr(b, column))
    assert t.encode_batch([], ctx=cpu) == []


def test_offsets_in_characters_and_bytes(tokenizers):
    text = "café tokens 🙂 naïve"
    chars, data = (tokenizers["llama3"].encode(text, offsets=unit, add_special_tokens=False) for unit in ("chars", "bytes"))
    for (a, b), (i, j) in zip(chars.offsets.tolist(), data.offsets.tolist()):
        assert text[:a].encode() == text.encode()[:i] and text[:b].encode() == text.encode()[:j]
    as_bytes = tokenizers["llama3"].encode(text.encode(), add_special_tokens=False)
    assert as_bytes.offsets.tolist() == data.offsets.tolist()
    with pytest.raises(tamis.InvalidArgumentError, match="offsets"):
        tokenizers["llama3"].encode(text, offsets="words")


def test_properties(tokenizers):
    t = tokenizers["bert"]
    assert (t.model, t.unk_id, t.pad_id, t.byte_level, t.file_max_tokens) == ("WordPiece", 1, 0, False, None)
    assert t.num_special_tokens_to_add() == 2 and t.num_special_tokens_to_add(pair=True) == 3
    assert len(t) == t.vocab_size
    assert tokenizers["llama3"].byte_level
    assert t.token_to_id("[CLS]") == 2 and t.id_to_token(2) == "[CLS]"
    assert t.token_to_id("no such token") is None and t.id_to_token(10**6) is None
    assert t.is_special(2) and not t.is_special(t.vocab_size - 2)
    assert t.encode("the").tokens[0] == "[CLS]"


def test_special_tokens_in_untrusted_text(tokenizers):
    t = tokenizers["llama3"]
    special = t.token_to_id("<|eot_id|>")
    assert special in t.encode("a<|eot_id|>").ids
    assert special not in t.encode("a<|eot_id|>", parse_special=False).ids


def test_with_tokens(tokenizers):
    base = tokenizers["bert"]
    t = base.with_tokens(["[NEW0]", "[NEW1]", "[MASK]"])
    assert t.vocab_size == base.vocab_size + 2
    assert t.encode("a[NEW1]b").ids[2] == base.vocab_size + 1
    assert base.token_to_id("[NEW0]") is None
    with pytest.raises(tamis.InvalidArgumentError, match="empty"):
        base.with_tokens([""])


def test_max_tokens(tokenizers):
    t = tokenizers["bert"]
    whole = t.encode("the library keeps the tokens").ids.tolist()
    assert t.encode("the library keeps the tokens", max_tokens=4).ids.tolist() == whole[:3] + whole[-1:]
    for wrong in (0, -1, 1):
        with pytest.raises(tamis.InvalidArgumentError, match="max_tokens"):
            t.encode("x", max_tokens=wrong)


@pytest.mark.parametrize("name", NAMES)
def test_stream(tokenizers, name):
    t = tokenizers[name]
    for case in cases(name):
        stream = t.decode_stream()
        assert "".join(map(stream.push, case["ids"])) + stream.finish() == t.decode(case["ids"])


def test_sentencepiece():
    for name in ("sp_unigram", "sp_bpe"):
        path = GOLDEN / f"{name}.model"
        t, same = tamis.Tokenizer(path), tamis.Tokenizer.from_bytes(path.read_bytes(), "sentencepiece")
        for case in cases(name):
            assert t.encode(case["text"]).ids.tolist() == case["ids"] == same.encode(case["text"]).ids.tolist()
            assert t.decode(case["ids"]) == case["decoded"]


def test_odd_text(tokenizers):
    t = tokenizers["llama3"]
    assert t.decode(t.encode("a\0b").ids) == "a\0b"
    assert t.decode(t.encode("x\ud800y").ids) == "x\ufffdy"
    assert t.decode(t.encode(b"x\xffy").ids) == "x\ufffdy"
    assert t.decode([]) == "" and t.decode(np.array([], np.int64)) == ""
    assert t.decode([10**6, -3]) == ""
    e = t.encode("", add_special_tokens=False)
    assert len(e) == 0 and e.offsets.shape == (0, 2)
    long = "a" * 3_000_000
    assert t.encode(long).offsets[-1, 1] == len(long)
    for wrong in (None, 3, ["a"]):
        with pytest.raises(tamis.InvalidArgumentError, match="text"):
            t.encode(wrong)
    with pytest.raises(tamis.InvalidArgumentError, match="ids"):
        t.decode([2**40])
    with pytest.raises(tamis.InvalidArgumentError, match="ids"):
        t.decode(np.array([1.5]))


def test_files(tmp_path):
    with pytest.raises(tamis.FileMissingError):
        tamis.Tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(tamis.FileMissingError, match="holds no"):
        tamis.Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Rot13", "vocab": {}}}')
    with pytest.raises(tamis.UnsupportedError, match="Rot13"):
        tamis.Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(tamis.FormatError):
        tamis.Tokenizer.from_file(tmp_path)
    with pytest.raises(tamis.InvalidArgumentError, match="format"):
        tamis.Tokenizer.from_bytes(b"", "gguf")


def test_folders(tmp_path):
    """What is found beside what: vocab.txt with its casing, vocab.json with merges.txt."""
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\nhello\n")
    assert tamis.Tokenizer(tmp_path).encode("HELLO").tokens == ["[CLS]", "hello", "[SEP]"]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert tamis.Tokenizer(tmp_path).encode("HELLO").tokens == ["[CLS]", "[UNK]", "[SEP]"]
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2, "Ġ": 3, "<|endoftext|>": 4}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    t = tamis.Tokenizer(tmp_path)
    assert t.encode("ab ab<|endoftext|>").ids.tolist() == [2, 3, 2, 4]
    assert t.decode([2, 3, 2, 4]) == "ab ab"


def test_a_closed_tokenizer_says_so(tokenizers):
    t = tamis.Tokenizer(GOLDEN / "bert.json")
    t.close()
    with pytest.raises(ValueError, match="closed"):
        t.encode("x")
