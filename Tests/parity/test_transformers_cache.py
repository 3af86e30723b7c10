"""tamis.integrations.transformers: the library's cache under generate."""

import pytest
import tamis
import tamis.integrations.transformers as tt
import torch
import transformers as hf
from test_llama import CONFIG, Served
from transformer_models import both, build, difference, prompts


@pytest.mark.parametrize("method", ["tokenselect", "streaming"])
@pytest.mark.parametrize("positions", ["compact", "natural"])
def test_selection_over_the_cache(method, positions):
    """The same as a model served by hand, from keys that were never rotated."""
    torch.manual_seed(5)
    llama = hf.LlamaForCausalLM(CONFIG).eval()
    with torch.no_grad():
        for p in llama.parameters():
            p *= 4 if p.ndim == 2 else 1
    # No token twice: equal keys in the first layer would be ties.
    tokens = torch.randperm(300)[:260]
    budget = dict(n_sink=4, n_recent=32, chunk=16)
    by_hand = tamis.TokenSelect(top_k=40, positions=positions, similarity=None, **budget) if method == "tokenselect" \
        else tamis.StreamingLLM(positions=positions, **budget)
    tt.configure(llama, tt.TamisConfig(prefill=method, decode=method, top_k=40, similarity=None, positions=positions, **budget))
    llama.set_attn_implementation("tamis")
    served = Served(llama, by_hand)
    cache = tt.TamisCache(llama, positions="compact")  # keys as they were before rotation, whatever the selection does with them
    with torch.inference_mode():
        for a, b in [(0, 200), (200, 240), *((i, i + 1) for i in range(240, 260))]:
            ours, theirs = llama(tokens[None, a:b], cache=cache).logits[0], served(tokens[a:b])
            assert difference(ours, theirs) < 2e-3 * float(theirs.abs().max())
            assert (ours.argmax(-1) == theirs.argmax(-1)).float().mean() > 0.99
    calls = list(tt.statistics(llama))
    assert {c.method for c in calls} == {method} and calls[-1].phase == "decode" and calls[-1].keys == 260
    kept = 76 if method == "tokenselect" else 36
    assert calls[-1].density == pytest.approx(kept / 260)


@pytest.mark.parametrize("dtype, tolerance", [("f16", 5e-3), ("bf16", 3e-2), ("i8", 6e-2)])
@pytest.mark.parametrize("scoring_copy", [None, "i8"])
def test_storage(llama, dtype, tolerance, scoring_copy):
    ids, mask = prompts(2, 80, (0, 30))
    tt.configure(llama, tt.TamisConfig(decode="tokenselect", top_k=512))
    theirs, ours = both(llama, lambda m: _decoded(m, ids, mask, dtype, scoring_copy))
    assert 0 < difference(theirs, ours) < tolerance * float(theirs.abs().max())


def _decoded(m, ids, mask, dtype, scoring_copy):
    cache = hf.DynamicCache(config=m.config)
    if m.config._attn_implementation == "tamis":
        cache = tt.TamisCache(m, dtype=dtype, scoring_copy=scoring_copy)
    m(ids[:, :60], attention_mask=mask[:, :60], cache=cache)
    steps = [m(ids[:, i : i + 1], attention_mask=mask[:, : i + 1], cache=cache).logits for i in range(60, 80)]
    if isinstance(cache, tt.TamisCache):
        assert cache.stores[0].kv.options.dtype == dtype and sum(r.tokens for r in cache.memory()) == 80 + 50
        assert cache.stores[0].kv.options.scoring_copy == scoring_copy
    return torch.cat(steps, 1)


def test_texts_of_a_batch_are_those_alone(llama):
    """Padding changes nothing, whatever the method."""
    tt.configure(llama, tt.TamisConfig(prefill="tokenselect", decode="tokenselect", top_k=16, n_sink=2, n_recent=16, chunk=8))
    llama.set_attn_implementation("tamis")
    ids, mask = prompts(3, 70, (0, 31, 70 - 9))
    with torch.inference_mode():
        together = llama.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False, cache=tt.TamisCache(llama))
        for b in range(3):
            alone = llama.generate(ids[b : b + 1, mask[b] == 1], max_new_tokens=12, do_sample=False, cache=tt.TamisCache(llama))
            assert torch.equal(alone[0, -12:], together[b, -12:])


def test_crop_select_repeat_reset(llama):
    llama.set_attn_implementation("tamis")
    ids, mask = prompts(2, 50, (0, 20))
    with torch.inference_mode():
        cache = tt.TamisCache(llama)
        llama(ids, attention_mask=mask, cache=cache)
        after = llama(ids[:, :5], attention_mask=torch.cat((mask, mask[:, -5:]), 1), cache=cache).logits
        assert cache.get_seq_length() == 55 and cache.batch_size == 2
        cache.crop(-5)
        longer = torch.cat((mask, mask[:, -5:]), 1)
        assert torch.equal(llama(ids[:, :5], attention_mask=longer, cache=cache).logits, after)
        cache.crop(-5)
        cache.batch_repeat_interleave(2)
        assert cache.batch_size == 4 and sum(r.pages_shared for r in cache.memory()) > 0
        cache.batch_select_indices(torch.tensor([3, 0]))
        swapped = llama(ids[[1, 0], :5], attention_mask=longer[[1, 0]], cache=cache).logits
        assert difference(swapped, after[[1, 0]]) < 1e-5
        cache.reset()
        assert cache.get_seq_length() == 0 and all(r.pages_used == 0 for r in cache.memory())
        llama(ids, attention_mask=mask, cache=cache)
        assert difference(llama(ids[:, :5], attention_mask=longer, cache=cache).logits, after) < 1e-5


def test_rotary_rules():
    rules = {name: [store.rope for store in tt.TamisCache(build(name), positions="compact").stores]
             for name in ("llama", "qwen2", "qwen3", "gemma2", "gemma3")}
    assert rules["llama"] == rules["qwen3"] == [tamis.RoPE(base=10000.0)]
    # Layers with a sliding window keep their keys rotated.
    assert rules["qwen2"] == [tamis.RoPE(base=10000.0), None] and rules["gemma2"] == [None, tamis.RoPE(base=10000.0)]
    assert rules["gemma3"] == [None, tamis.RoPE(base=1000000.0)]
    linear = build("llama", rope_parameters=dict(rope_type="linear", rope_theta=5000.0, factor=4.0))
    assert tt.TamisCache(linear, positions="compact").stores[0].rope == tamis.RoPE(base=5000.0, scale=0.25)
    ids, mask = prompts(2, 50, (0, 20))
    greedy = dict(attention_mask=mask, max_new_tokens=10, do_sample=False)
    theirs, ours = both(linear, lambda m: m.generate(
        ids, cache=tt.TamisCache(m, positions="compact") if m.config._attn_implementation == "tamis" else None, **greedy))
    assert torch.equal(theirs, ours)
    with pytest.raises(ValueError, match="positions is 'compact'.*llama3"):
        tt.TamisCache(build("llama3_rope"), positions="compact")
    assert tt.TamisCache(build("llama3_rope")).stores[0].rope is None
