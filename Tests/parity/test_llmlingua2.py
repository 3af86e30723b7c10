"""tamis.PromptCompressor(compat=True) against llmlingua 0.2.2: the same prompts, labels and counts, setting by setting.

Both load the same tiny models; both count with the same byte-pair ranks, in place of the ones tiktoken would download.
"""

import itertools
import random

import compression_models
import numpy as np
import pytest
import torch

llmlingua = pytest.importorskip("llmlingua")
tamis = pytest.importorskip("tamis")


class Pair:
    def __init__(self, folder, encoding, ranks):
        import tiktoken

        real = tiktoken.encoding_for_model
        tiktoken.encoding_for_model = lambda name: encoding
        try:
            self.theirs = llmlingua.PromptCompressor(str(folder), device_map="cpu", use_llmlingua2=True)
        finally:
            tiktoken.encoding_for_model = real
        rows = self.theirs.model.get_input_embeddings().weight.data
        old = len(self.theirs.tokenizer) - 100
        rows[old:] = rows[:old].double().mean(0).float()  # what the placeholders' rows hold is left to chance there
        self.ours = tamis.PromptCompressor(str(folder), compat=True, counting=str(ranks), precision="f32")

    def same(self, context, **options):
        expected = error = None
        try:
            expected = self.theirs.compress_prompt(context, return_word_label=True, **options)
        except (IndexError, ValueError, ZeroDivisionError, AssertionError) as caught:
            error = caught
        if error is not None:
            with pytest.raises(tamis.InvalidArgumentError):
                self.ours.compress_prompt(context, return_word_label=True, **options)
            return None
        found = self.ours.compress_prompt(context, return_word_label=True, **options)
        if found != expected:  # said briefly: a diff of such texts takes minutes
            pytest.fail(f"{options}: {difference(found, expected)}", pytrace=False)
        return found


def difference(found, expected):
    for key in expected:
        a, b = found.get(key), expected[key]
        if a != b and isinstance(b, str):
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            return f"{key} at {at}: {a[max(0, at - 40):at + 40]!r}, expected {b[max(0, at - 40):at + 40]!r}"
        if a != b:
            return f"{key}: {str(a)[:100]}, expected {str(b)[:100]}"
    return f"keys {sorted(found)}, expected {sorted(expected)}"


@pytest.fixture(scope="module")
def encoding(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks") / "cl100k_base.tiktoken"
    return compression_models.ranks(path), path


@pytest.fixture(scope="module", params=["bert", "xlm-roberta"])
def pair(request, tmp_path_factory, encoding):
    root = tmp_path_factory.mktemp("models")
    make = {"bert": compression_models.multilingual_bert, "xlm-roberta": compression_models.xlm_roberta}[request.param]
    return Pair(make(root), *encoding)


TEXT = compression_models.TEXT


def shuffled(text, seed):
    """The words of each line in another order. The same text again would give the same probabilities but for their last bits,
    and a threshold among those is decided by how PyTorch splits its sums."""
    pick = random.Random(seed)
    return "".join(" ".join(pick.sample(words, len(words))) + "\n" for words in map(str.split, text.splitlines()))


LONG = TEXT + "".join(shuffled(TEXT, seed) for seed in range(5))
FORCED = ["\n", "?", "!", ".", "The answer is", ",", "+", "×"]
PARTS = [p for p in TEXT.splitlines() if p]


@pytest.mark.parametrize("rate", [1.0, 0.99, 0.9, 0.8, 0.75, 0.7, 0.5, 0.33, 0.25, 0.1, 0.01, 1.5])
def test_rates(pair, rate):
    assert pair.same(LONG, rate=rate)["compressed_prompt"] is not None


@pytest.mark.parametrize("options", [
    dict(zip(("token_to_word", "force_reserve_digit", "drop_consecutive", "forced"), values))
    for values in itertools.product(("mean", "first"), (False, True), (False, True), (0, 4, 8))])
def test_token_options(pair, options):
    options = dict(options)
    forced = FORCED[:options.pop("forced")]
    for rate in (0.2, 0.33, 0.6):
        pair.same(LONG, rate=rate, force_tokens=forced, **options)


@pytest.mark.parametrize("target", [1, 10, 100, 250, 10_000])
def test_targets(pair, target):
    pair.same(LONG, target_token=target, force_tokens=["\n", "."])
    pair.same(PARTS, target_token=target, use_context_level_filter=False)


@pytest.mark.parametrize("options", [
    {}, {"rate": 0.33}, {"target_token": 100}, {"target_token": 0}, {"target_context": 2}, {"target_context": 0}, {"context_level_rate": 0.4},
    {"context_level_target_token": 150}, {"context_level_target_token": 150, "target_token": 60},
    {"use_token_level_filter": False, "rate": 0.4}, {"use_token_level_filter": False, "target_token": 80},
    {"force_context_ids": [0, 3]}, {"target_context": 1, "force_context_ids": [2]}, {"rate": 1.0}, {"rate": 0.5, "target_context": 100},
    {"use_context_level_filter": False}, {"use_context_level_filter": False, "use_token_level_filter": False},
    {"force_tokens": ["\n", "?", "The answer is"], "force_reserve_digit": True, "drop_consecutive": True, "rate": 0.4},
])
def test_contexts(pair, options):
    pair.same(PARTS + [LONG], **options)
    pair.same(PARTS, **options)


@pytest.mark.parametrize("ends", [[".", "\n"], [], ["?"], ["\n"], [","], ["▁the", "the"]])
def test_chunk_ends(pair, ends):
    pair.same(LONG, chunk_end_tokens=ends)
    pair.same(LONG, chunk_end_tokens=ends, force_tokens=["\n"])


@pytest.mark.parametrize("text", [
    "", " ", "a", ".", "...", "?!.,;", "word " * 700, "x" * 3000, "3.5", "don't (x)", "🙂", "🙂 word 🙂", "##ing ##", "▁x ▁▁",
    "a[NEW3]b [NEW0]", "[CLS] x [SEP] <s> y </s>", "tab\tnew\nline", "。" * 600, "．ｆｕｌｌ　ｗｉｄｔｈ", "  lead  trail  ",
    "one. " * 130, "1 2 3 4 5 6 7 8 9 ٣ ½ ²"])
def test_odd_texts(pair, text):
    pair.same(text, rate=0.5)
    pair.same(text, rate=1.0)
    pair.same(text, rate=0.4, force_tokens=["\n", ".", "word x"], force_reserve_digit=True)
    pair.same(text, target_token=5)


@pytest.mark.parametrize("options", [
    {"rate": 0.0}, {"rate": -0.5}, {"force_tokens": [str(i) for i in range(101)]}, {"context_level_rate": -1.0}])
def test_what_raises_there_is_an_error_here(pair, options):
    assert pair.same(PARTS, **options) is None


def test_random_settings(pair):
    pick = random.Random(7)
    words = TEXT.split()
    for _ in range(60):
        texts = [" ".join(pick.choices(words, k=pick.choice([1, 5, 40, 400]))) for _ in range(pick.choice([1, 1, 3]))]
        pair.same(
            texts, rate=round(pick.uniform(0.02, 1), 3), target_token=pick.choice([-1, -1, 30]),
            force_tokens=pick.sample(FORCED, pick.randrange(5)), drop_consecutive=pick.random() < 0.5,
            force_reserve_digit=pick.random() < 0.3, token_to_word=pick.choice(["mean", "first"]),
            use_context_level_filter=pick.random() < 0.5)


def test_two_pieces_of_a_percentile():
    """The arithmetic of numpy that compat mode repeats has not changed under us."""
    values = np.array([0.1, 0.3], np.float32)
    assert np.percentile(values, 50) == np.float32(0.2) and np.percentile(values, 50).dtype == np.float32
    assert np.percentile([0.1, np.float32(0.3)], 50).dtype == np.float64
    assert torch.softmax(torch.zeros(2), 0)[1] == 0.5
