"""PromptCompressor with the compressor that comes with the library: results, arguments, bad input."""

import json
import math
import re
from pathlib import Path

import pytest

import tamis

TEXT = (
    "John said that the meeting would start at 10:30 on Monday, and that everyone should bring the 3.5 kg sample to the office, "
    "because we don't want to delay the project any further.\n\nSarah agreed. She asked whether the budget of $1,250 was enough, "
    "and nobody answered the question until Peter looked at https://example.org/budget?year=2025 again.\n")


def has_model():
    try:
        return bool(tamis.default_model_path())
    except tamis.FileMissingError:
        return False


pytestmark = pytest.mark.skipif(not has_model(), reason="no Models/compressor-en")


@pytest.fixture(scope="module")
def compressor():
    return tamis.PromptCompressor()


def is_subsequence(short, long):
    rest = iter(long)
    return all(c in rest for c in short)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.33, 0.5, 0.8, 1.0])
def test_the_result_dictionary(compressor, rate):
    result = compressor.compress_prompt(TEXT, rate=rate)
    assert set(result) == {
        "compressed_prompt", "compressed_prompt_list", "origin_tokens", "compressed_tokens", "ratio", "rate", "saving"}
    assert result["compressed_prompt_list"] == [result["compressed_prompt"]]
    assert result["origin_tokens"] == compressor.count(TEXT)
    assert result["compressed_tokens"] <= round(rate * result["origin_tokens"])
    assert is_subsequence(re.sub(r"\s", "", result["compressed_prompt"]), TEXT)
    assert re.fullmatch(r"\d+\.\dx|1\.0x", result["ratio"]) and re.fullmatch(r"\d+\.\d%", result["rate"])
    assert result["saving"].startswith(", Saving $")
    if rate == 1:
        assert result["compressed_prompt"] == TEXT
    if rate == 0:
        assert result["compressed_prompt"] == ""


def test_rates_are_hit(compressor):
    text = TEXT * 40
    for rate in (0.1, 0.33, 0.5, 0.9):
        done = compressor.compress(text, rate=rate)
        assert done.compressed_tokens == pytest.approx(rate * done.origin_tokens, rel=0.01)
        assert compressor.count(done.text) == pytest.approx(rate * done.origin_tokens, rel=0.015)
    done = compressor.compress([text, TEXT], target_token=500)
    assert 490 <= done.compressed_tokens <= 500


def test_spans_and_words(compressor):
    data = TEXT.encode()
    context = compressor.compress(TEXT).contexts[0]
    joined = b"".join(data[a:b] for a, b in context.spans)
    assert joined.replace(b" ", b"") == context.text.encode().replace(b" ", b"")
    words = [data[w["start"]:w["end"]].decode() for w in context.words]
    assert {"10:30", "3.5", "don't", "$1,250", "https://example.org/budget?year=2025"} <= set(words)
    assert all(0 <= p <= 1 for p in context.words["probability"])
    assert context.words["tokens"].sum() == context.origin_tokens


def test_labels(compressor):
    result = compressor.compress_prompt("We don't know.", rate=0.5, return_word_label=True, word_sep="|", label_sep="=")
    assert re.fullmatch(r"We=[01]\|don't=[01]\|know=[01]\|\.=[01]", result["fn_labeled_original_prompt"])


def test_forced(compressor):
    done = compressor.compress(TEXT, rate=0.1, force_tokens=[".", "nobody answered"], force_reserve_digit=True)
    assert "nobody answered" in done.text
    for number in ("10:30", "3.5", "$1,250", "2025"):
        assert number in done.text
    assert done.text.count(".") >= 3


def test_instruction_and_question_stand_around(compressor):
    result = compressor.compress_prompt([TEXT, TEXT], "Summarise.", "Who agreed?", rate=0.5)
    assert result["compressed_prompt"].startswith("Summarise.\n\n") and result["compressed_prompt"].endswith("\n\nWho agreed?")
    assert len(result["compressed_prompt_list"]) == 2
    without = compressor.compress_prompt([TEXT, TEXT], "Summarise.", "Who agreed?", rate=0.5, concate_question=False)
    assert "Who agreed" not in without["compressed_prompt"]


def test_contexts_are_dropped_only_when_asked(compressor):
    texts = [TEXT, "um uh yeah okay so um", "The budget is $5,000 for 2026."]
    assert len(compressor.compress_prompt(texts)["compressed_prompt_list"]) == 3
    done = compressor.compress(texts, use_context_level_filter=True, target_context=1, force_context_ids=[1])
    assert [c.kept for c in done.contexts].count(True) == 1 and done.contexts[1].kept


def test_json_stays_json(compressor):
    value = {"name": "Ann, B.", "list": [1, 2, {"deep": ["x", "y", "z"], "empty": {}}], "text": "quoted \\ \"words\" \n here", "n": None}
    for text in (json.dumps(value), json.dumps(value, indent=2), json.dumps([value] * 9)):
        for rate in (0.0, 0.2, 0.5, 0.8, 1.0):
            json.loads(compressor.compress(text, rate=rate, protect=["json"]).text)


def test_markdown_stays_markdown(compressor):
    table = "| a | b |\n|---|---|\n" + "".join(f"| row {i} | value {i} |\n" for i in range(20))
    code = "```python\ndef f(x):\n    return x  # the\n```\n"
    text = f"Some words here that are not so important to anyone.\n\n{table}\nMore text [a link](http://x.y/z) and ![i](i.png).\n\n{code}The end of it all."
    out = compressor.compress(text, rate=0.4, protect=["code", "links", "tables"]).text
    assert code.strip() in out and "[a link](http://x.y/z)" in out and "![i](i.png)" in out
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert rows[:2] == ["| a | b |", "|---|---|"] and all(row in table.splitlines() for row in rows)


TALK = """Ann Lee: Good morning everyone, um, so the budget for the library is 40,000 dollars this year.
Bob: Mm-hmm.
Ann Lee: And we need to, you know, decide on the roof by Friday, because the contractor leaves for Norway.
that was all of it,
Ann Lee: Yeah.
Cid: I think, like, the roof should wait until spring, since the rain makes it dangerous.
Bob: Okay. See https://example.org/a: it is there."""


def label_of(line):
    match = re.match(r"[^\s:][^:]{0,31}:(?=\s|$)", line)
    return match[0] if match and len(match[0].split(" ")) <= 4 else None


def labels_by_the_rule(text, kept):
    """Byte ranges of the labels that must stay, by a second reading of the rule. `kept`: ranges of the words that stay."""
    turns, at = [], 0
    for line in text.split("\n"):
        label = label_of(line)
        if label:
            turns.append([label, at, at + len(label), at + len(line)])
        elif turns:
            turns[-1][3] = at + len(line)
        at += len(line) + 1
    last, out = None, []
    for label, start, body, end in turns:
        if any(body <= a < end and re.search(r"\w", text[a:b]) for a, b in kept):
            if label != last:
                out.append((start, body))
            last = label
    return turns, out


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_speakers_have_labels_where_they_changed(compressor, rate):
    for text in (TALK, (TALK + "\n") * 30):
        done = compressor.compress(text, rate=rate, protect=["speakers"])
        words = [(w["start"], w["end"], bool(w["flags"] & 1)) for w in done.contexts[0].words]
        turns, expected = labels_by_the_rule(text, [(a, b) for a, b, kept in words if kept])
        for label, start, body, end in turns:
            of_label = [kept for a, b, kept in words if start <= a and b <= body]
            assert of_label == [(start, body) in expected] * len(of_label), (rate, label, start)
            if not any(kept and re.search(r"\w", text[a:b]) for a, b, kept in words if body <= a < end):
                assert not any(kept for a, b, kept in words if body <= a < end)
        assert done.compressed_tokens <= math.floor(rate * done.origin_tokens + 0.5)
    assert done.compressed_tokens >= 0.98 * rate * done.origin_tokens


def test_speakers_of_what_is_no_transcript(compressor):
    prose = "A first line.\nNote: a second line.\nA third line without any label.\nAnd: the last one, which nobody says."
    assert compressor.compress(prose, rate=0.5, protect="speakers").text == compressor.compress(prose, rate=0.5).text
    whole = compressor.compress(TALK, rate=1.0, protect="speakers")
    assert whole.text == TALK
    forced = compressor.compress(TALK, rate=0.2, protect="speakers", force_tokens=["Bob"])
    assert forced.text.count("Bob") == 2
    above = compressor.compress(TALK, threshold=0.5, protect="speakers")
    assert above.text.startswith("Ann Lee:") and above.text.count("Ann") == 1


def test_slingua_keeps_what_is_above_one_half(compressor):
    guard = tamis.PromptCompressor(use_slingua=True)
    context = guard.compress(TEXT, rate=0.9).contexts[0]
    assert ((context.words["probability"] > 0.5) == context.word_kept).all()


@pytest.mark.parametrize("text", [
    "", " ", "\n\t\n", "\0", "a\0b", "\ud800", "[SEP] <|endoftext|> [NEW3]", "🙂" * 50, "e\u0301" * 300, "\u202e\u200b", "。" * 999, "\r\n" * 50])
def test_odd_texts(compressor, text):
    assert compressor.compress(text, rate=1.0).text == text
    for rate in (0.0, 0.5):
        done = compressor.compress(text, rate=rate)
        assert is_subsequence(done.text.replace(" ", ""), text)


def test_invalid_utf8(compressor):
    data = b"one \xff\xfe two \xc3 three \xed\xa0\x80 four"
    assert compressor.compress(data, rate=1.0).contexts[0].spans.tolist() == [[0, len(data)]]
    assert compressor.compress(data, rate=0.5).origin_tokens >= 4  # BERT's normaliser removes U+FFFD


@pytest.mark.parametrize("options", [
    {"rate": -0.1}, {"rate": 1.1}, {"rate": math.nan}, {"rate": "x"}, {"target_token": math.nan}, {"scope": "all"}, {"token_to_word": "max"},
    {"threshold": 2}, {"threshold": -1}, {"protect": ["tables", "poems"]}, {"line_breaks": "drop"}, {"force_tokens": [""]},
    {"force_tokens": "abc"}, {"force_tokens": [str(i) for i in range(101)]}, {"force_tokens": ["a\0"]}, {"context_level_rate": math.nan}])
def test_bad_arguments(compressor, options):
    with pytest.raises(tamis.InvalidArgumentError):
        compressor.compress(TEXT, **options)


def test_bad_models(tmp_path):
    with pytest.raises(tamis.FileMissingError):
        tamis.PromptCompressor(tmp_path / "nothing")
    with pytest.raises(tamis.UnsupportedError):
        tamis.PromptCompressor(use_llmlingua2=False)
    with pytest.raises(tamis.InvalidArgumentError):
        tamis.PromptCompressor(llmlingua2_config={"max_batch": 3})
    source = Path(tamis.default_model_path())
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        folder = tmp_path / name
        folder.mkdir()
        for other in ("config.json", "model.safetensors", "tokenizer.json"):
            data = (source / other).read_bytes()
            (folder / other).write_bytes(data[: len(data) // 2] if other == name else data)
        with pytest.raises(tamis.TamisError):
            tamis.PromptCompressor(folder)
        (folder / name).unlink()
        with pytest.raises(tamis.FileMissingError):
            tamis.PromptCompressor(folder)
    config = json.loads((source / "config.json").read_text())
    folder = tmp_path / "small"
    folder.mkdir()
    for other in ("model.safetensors", "tokenizer.json"):
        (folder / other).write_bytes((source / other).read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": config["hidden_size"] // 2}))
    with pytest.raises(tamis.TamisError):
        tamis.PromptCompressor(folder)


def test_progress_and_cancelling(compressor):
    seen = []
    compressor.compress(TEXT * 400, progress=seen.append)
    assert seen == sorted(seen) and seen[-1] > 0.99
    with pytest.raises(tamis.CancelledError):
        compressor.compress(TEXT * 400, progress=lambda done: done < 0.3)


def test_the_batch_changes_nothing(compressor):
    one = tamis.PromptCompressor(llmlingua2_config={"max_batch_size": 1})
    texts = [TEXT * 20, "", TEXT]
    assert one.compress(texts).text == compressor.compress(texts).text


def test_a_long_word(compressor):
    word = "x" * 2_000_000
    done = compressor.compress(word)
    assert done.text in ("", word) and len(done.contexts[0].words) == 1


def test_langchain(compressor):
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document

    from tamis.integrations.langchain import TamisCompressor

    documents = [Document(page_content=TEXT, metadata={"source": i}) for i in range(3)]
    found = TamisCompressor(compressor=compressor, rate=0.4, options={"force_tokens": ["."]}).compress_documents(documents, "who?")
    assert [d.metadata["source"] for d in found] == [0, 1, 2]
    assert all(len(d.page_content) < 0.7 * len(TEXT) for d in found) and documents[0].page_content == TEXT
