"""tamis.integrations.transformers: the haystack model recalls what was planted."""

import pytest
import tamis.integrations.transformers as tt
import torch
import transformers as hf
from test_haystack import FOLDER, haystack
from transformer_models import SPARSE


@pytest.fixture(scope="module")
def reader():
    return hf.LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32, attn_implementation="tamis").eval()


def asked(model, cache, ids, key, needles):
    """Greedy answers to every needle, each asked of the same prefilled text."""
    found = []
    with torch.inference_mode():
        logits = model(torch.tensor([ids]), cache=cache).logits
        assert torch.isfinite(logits).all()
        for w1, w2, *_ in needles:
            text = torch.tensor([ids + [key, w1, w2]])
            answer = model.generate(text, cache=cache, max_new_tokens=2, do_sample=False, pad_token_id=0, eos_token_id=None)
            found.append(answer[0, -2:].tolist())
            cache.crop(len(ids) - cache.get_seq_length())
    return found


def test_needles_at_the_trained_length(reader):
    ids, key, needles = haystack(512, 4)
    right = [needle[2:] for needle in needles]
    tt.configure(reader)
    reader.set_attn_implementation("sdpa")
    assert asked(reader, hf.DynamicCache(config=reader.config), ids, key, needles) == right
    reader.set_attn_implementation("tamis")
    assert asked(reader, hf.DynamicCache(config=reader.config), ids, key, needles) == right
    assert asked(reader, tt.TamisCache(reader, dtype="i8"), ids, key, needles) == right


@pytest.mark.parametrize("prefill", ["tokenselect", "streaming"])
def test_needles_beyond_the_trained_length(reader, prefill):
    """At four times the length that the model was trained on, where dense attention forgets."""
    ids, key, needles = haystack(2048, 5)
    right = [needle[2:] for needle in needles]
    tt.configure(reader, tt.TamisConfig(
        prefill=prefill, decode="tokenselect", top_k=192, n_sink=8, n_recent=128, chunk=64, similarity=None, decode_up_to=4))
    assert asked(reader, tt.TamisCache(reader), ids, key, needles) == right
    stats = tt.statistics(reader)
    assert stats.density("decode") < 0.2 and stats.density("prefill") < 0.4
    tt.configure(reader)
    dense = asked(reader, tt.TamisCache(reader), ids, key, needles)
    assert sum(a == b for a, b in zip(dense, right)) < len(right) / 2


@pytest.mark.parametrize("method", [m for m in tt.PREFILL if m not in ("dense", "tokenselect", "streaming")])
def test_needles_after_a_sparse_prefill(reader, method):
    """A needle leaves its mark in the keys just before it: methods that force those find it at the trained length. block_topk and sparge
    force none."""
    ids, key, needles = haystack(512, 6)
    options = {**SPARSE[method], "options": {k: v for k, v in SPARSE[method].get("options", {}).items() if k != "pv_threshold"}}
    tt.configure(reader, tt.TamisConfig(prefill=method, dense_below=0, decode_up_to=4, **options))
    found = asked(reader, tt.TamisCache(reader), ids, key, needles)
    stats = tt.statistics(reader)
    assert 0 < stats.density("prefill") < 0.8 and {c.method for c in stats if c.phase == "prefill"} == {method}
    if method not in ("block_topk", "sparge"):
        assert sum(a == needle[2:] for a, needle in zip(found, needles)) >= 6
