"""tamis.integrations.transformers: torch's attention in models of transformers: the same logits, texts and beams."""

import pytest
import tamis.integrations.transformers as tt
import torch
import transformers as hf
from transformer_models import both, difference, prompts, reference


def test_logits(model):
    ids, _ = prompts(1, 90)
    theirs, ours = both(model, lambda m: m(ids).logits)
    assert theirs.abs().max() > 1 and difference(theirs, ours) < 1e-4


def test_logits_of_a_padded_batch(model):
    ids, mask = prompts(3, 90, (0, 41, 7))
    theirs, ours = both(model, lambda m: m(ids, attention_mask=mask).logits)
    assert difference(theirs, ours, mask) < 1e-4


def test_logits_padded_on_the_right(model):
    ids, mask = prompts(3, 60, (0, 21, 7))
    ids, mask = ids.flip(1), mask.flip(1)
    theirs, ours = both(model, lambda m: m(ids, attention_mask=mask).logits)
    assert difference(theirs, ours, mask) < 1e-4


@pytest.mark.parametrize("pads", [(0,), (0, 33, 5)], ids=["one", "batch"])
def test_generate(model, pads):
    """The same text with every cache."""
    ids, mask = prompts(len(pads), 50, pads)
    greedy = dict(attention_mask=mask, max_new_tokens=12, do_sample=False)
    with torch.inference_mode():
        model.set_attn_implementation(reference(model))
        theirs = model.generate(ids, **greedy)
        model.set_attn_implementation("tamis")
        assert torch.equal(theirs, model.generate(ids, **greedy))
        assert torch.equal(theirs, model.generate(ids, cache_implementation="static", **greedy))
        assert torch.equal(theirs, model.generate(ids, use_cache=False, **greedy))
        for positions in ("natural", "compact"):
            if positions == "compact" and model.config.rope_parameters.get("rope_type") == "llama3":
                continue  # tamis.RoPE cannot say it
            assert torch.equal(theirs, model.generate(ids, cache=tt.TamisCache(model, positions=positions), **greedy))


@pytest.mark.parametrize("cached", [False, True], ids=["dynamic", "tamis"])
def test_chunked_prefill(model, cached):
    ids, mask = prompts(2, 100, (0, 37))
    cuts = [0, 30, 31, 32, 70, 100]

    def run(m):
        ours = m.config._attn_implementation == "tamis"
        cache = tt.TamisCache(m) if cached and ours else hf.DynamicCache(config=m.config)
        return torch.cat([m(ids[:, a:b], attention_mask=mask[:, :b], cache=cache).logits for a, b in zip(cuts, cuts[1:])], 1)

    theirs, ours = both(model, run)
    assert difference(theirs, ours, mask) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(model, dtype):
    """As near to the float32 model as torch's attention is."""
    ids, mask = prompts(2, 90, (0, 30))
    with torch.inference_mode():
        model.set_attn_implementation(reference(model))
        exact = model(ids, attention_mask=mask).logits
        theirs, ours = both(model.to(dtype), lambda m: m(ids, attention_mask=mask).logits)
        tokens = model.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False, cache=tt.TamisCache(model))
    assert ours.dtype == dtype and tokens.shape == (2, 95)
    assert difference(exact, ours, mask) < 2 * difference(exact, theirs, mask) + 1e-3 * float(exact.abs().max())


def test_an_encoder():
    torch.manual_seed(2)
    bert = hf.BertModel(hf.BertConfig(
        vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4)).eval()
    ids, mask = prompts(3, 40, (0, 12, 3))
    for tokens, real in ((ids, mask), (ids.flip(1), mask.flip(1))):
        theirs, ours = both(bert, lambda m: m(tokens, attention_mask=real).last_hidden_state)
        assert difference(theirs, ours, real) < 1e-4


def test_beams_samples_and_assistance(llama):
    """Reordered, repeated and cropped caches."""
    ids, mask = prompts(2, 40, (0, 13))
    common = dict(attention_mask=mask, max_new_tokens=16, pad_token_id=0)

    def run(**options):
        return both(llama, lambda m: m.generate(
            ids, cache=tt.TamisCache(m) if m.config._attn_implementation == "tamis" else None, **common, **options))

    theirs, ours = run(num_beams=4, do_sample=False, num_return_sequences=2)
    assert torch.equal(theirs, ours)
    theirs, ours = both(llama, lambda m: m.generate(
        ids[:1], prompt_lookup_num_tokens=4, max_new_tokens=24, do_sample=False,
        cache=tt.TamisCache(m) if m.config._attn_implementation == "tamis" else None))
    assert torch.equal(theirs, ours)
