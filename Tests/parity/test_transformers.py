"""tamis.integrations.transformers: models of transformers with attn_implementation="tamis" against the same models with torch's attention.
Models are small and random, made here."""

import math

import numpy as np
import pytest
import tamis
import tamis.integrations.transformers as tt
import torch
import transformers as hf
from tamis.integrations.transformers.masks import MaskRule, Part, RuleMask, make_mask, read_table
from test_haystack import FOLDER, haystack
from test_llama import CONFIG, Served
from transformers import masking_utils as mu

torch.set_num_threads(1)  # threads of torch that wait and those of the library want the same cores
WINDOW = 24
SHAPE = dict(
    vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
    max_position_embeddings=1024, pad_token_id=0, bos_token_id=1, eos_token_id=None)
FAMILIES = {
    "llama": (hf.LlamaConfig, hf.LlamaForCausalLM, {}),
    "llama3_rope": (hf.LlamaConfig, hf.LlamaForCausalLM, dict(rope_parameters=dict(
        rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64))),
    "mistral": (hf.MistralConfig, hf.MistralForCausalLM, dict(sliding_window=WINDOW)),
    "qwen2": (hf.Qwen2Config, hf.Qwen2ForCausalLM, dict(use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2)),
    "qwen3": (hf.Qwen3Config, hf.Qwen3ForCausalLM, {}),
    "gemma2": (hf.Gemma2Config, hf.Gemma2ForCausalLM, dict(sliding_window=WINDOW, attn_logit_softcapping=5.0, query_pre_attn_scalar=16)),
    "gemma3": (hf.Gemma3TextConfig, hf.Gemma3ForCausalLM, dict(
        sliding_window=WINDOW, layer_types=["sliding_attention", "full_attention"] * 2)),
}


def build(family, **changes):
    torch.manual_seed(11)
    config, model, extra = FAMILIES[family]
    made = model(config(**{**SHAPE, **extra, **changes})).eval()
    with torch.no_grad():
        for p in made.parameters():
            if p.ndim == 2:
                p *= 4  # attention that is not nearly uniform
    return made


def reference(model):
    """torch's attention; its sdpa path has no soft cap in transformers."""
    return "eager" if model.config.get_text_config().model_type == "gemma2" else "sdpa"


def prompts(batch, n, pads=(), seed=3):
    """Random tokens [batch, n] and their mask, padded on the left."""
    ids = torch.randint(2, SHAPE["vocab_size"], (batch, n), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    for b, pad in enumerate(pads):
        ids[b, :pad], mask[b, :pad] = 0, 0
    return ids, mask


def both(model, call):
    """call(model) with torch's attention and with ours."""
    with torch.inference_mode():
        model.set_attn_implementation(reference(model))
        theirs = call(model)
        model.set_attn_implementation("tamis")
        return theirs, call(model)


def difference(a, b, mask=None):
    gap = (a.float() - b.float()).abs()
    return float(gap.max() if mask is None else (gap * mask[..., None]).max())


@pytest.fixture(params=FAMILIES)
def model(request):
    return build(request.param)


@pytest.fixture
def llama():
    return build("llama")


# ------------------------------------------------------------------------------------------------- dense


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


# ------------------------------------------------------------------------------------------------- masks


def table_of(rule, batch, q_len, k_len):
    """A rule as booleans, by its definition."""
    seen = torch.zeros(batch, 1, q_len, k_len, dtype=torch.bool)
    for b in range(batch):
        part = rule.part(b)
        for i in range(part.row, part.row + part.n_rows):
            at = part.end - part.n_rows + i - part.row
            for j in range(part.start, part.end):
                seen[b, 0, i, j] = (not rule.causal or j <= at) and (rule.window is None or j > at - rule.window)
    return seen


MASKS = {
    "causal": dict(mask_function=mu.causal_mask_function),
    "window": dict(mask_function=mu.sliding_window_causal_mask_function(5), local_size=5),
    "full": dict(mask_function=mu.bidirectional_mask_function, allow_is_causal_skip=False),
    "chunks": dict(mask_function=mu.chunked_causal_mask_function(5, torch.tensor([0, 3])), local_size=5),
    "causal, asked as a table": dict(mask_function=mu.causal_mask_function, allow_is_causal_skip=False),
    "window, asked as a table": dict(mask_function=mu.sliding_window_causal_mask_function(5), local_size=5, allow_is_causal_skip=False),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("q_len, k_len, q_offset, kv_offset", [
    (1, 1, 0, 0), (12, 12, 0, 0), (4, 16, 12, 0), (1, 16, 15, 0), (6, 20, 0, 0), (1, 9, 20, 12), (7, 11, 9, 5), (3, 4, 1, 0)])
@pytest.mark.parametrize("padding", [None, (0, 0), (0, 3), (2, 4), (0, "right"), (0, "hole"), (0, "all")], ids=str)
def test_rules_are_the_tables_of_transformers(name, q_len, k_len, q_offset, kv_offset, padding):
    mask = None
    if padding is not None:
        mask = torch.ones(2, q_offset + q_len, dtype=torch.bool)
        for b, pad in enumerate(padding):
            if pad == "right":
                mask[b, -2:] = False
            elif pad == "hole":
                mask[b, 1:2] = False
            elif pad == "all":
                mask[b] = False
            else:
                mask[b, :pad] = False
    asked = dict(batch_size=2, q_length=q_len, kv_length=k_len, q_offset=q_offset, kv_offset=kv_offset, attention_mask=mask, **MASKS[name])
    theirs = mu.sdpa_mask(**{**asked, "allow_is_causal_skip": False})
    made = make_mask(**asked)
    assert made.shape == theirs.shape
    ours = table_of(made.rule, *made.shape[:1], q_len, k_len) if isinstance(made, RuleMask) else made
    # Queries that are padding or see nothing attend nothing here, whatever the table says of them.
    real = theirs.any(-1)
    if mask is not None and name != "full":
        real = real & mask[:, q_offset : q_offset + q_len][:, None]
    assert torch.equal(ours[real], theirs[real])
    if padding in (None, (0, 0), (0, 3), (2, 4)) and name != "chunks":
        assert isinstance(made, RuleMask)


def test_the_first_key_of_a_rule_is_the_texts_only_where_it_is():
    mask = torch.ones(2, 30, dtype=torch.bool)
    mask[1, :26] = False
    window = dict(mask_function=mu.sliding_window_causal_mask_function(5), local_size=5)
    rule = make_mask(2, 4, 8, 26, 22, attention_mask=mask, **window).rule
    assert [p.origin for p in rule.parts] == [False, True]
    assert make_mask(2, 4, 8, 26, 22, **window).rule.parts[0].origin is False
    assert make_mask(2, 30, 30, attention_mask=mask, **window).rule.parts[0].origin is True


def test_tables_that_are_no_rule():
    causal = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    assert read_table(causal) == MaskRule(True, None, (Part(0, 6, 0, 6),))
    holed = causal.clone()
    holed[..., 4, 2] = False
    assert read_table(holed) is None
    assert read_table(torch.where(causal, 0.5, -torch.inf)) is None
    assert read_table(torch.where(causal, 0.0, -torch.inf)) == read_table(causal)
    heads = causal.repeat(1, 2, 1, 1)
    assert read_table(heads) == read_table(causal)
    heads[0, 1, 5, 0] = False
    assert read_table(heads) is None


def test_a_rule_is_no_table():
    made = make_mask(1, 4, 4)
    assert made.contiguous() is made and made.shape == (1, 1, 4, 4)
    for use in (lambda: made[0], lambda: made & made, lambda: made.float(), lambda: torch.where(made, 0.0, 1.0)):
        with pytest.raises(ValueError, match="rule, not a table"):
            use()


@pytest.mark.parametrize("additive", [False, True], ids=["bool", "float"])
def test_masks_of_the_user(llama, additive, recwarn):
    """A 4-dimensional mask that is a rule is served; one that is not goes to torch's attention with a warning."""
    ids, _ = prompts(2, 40)
    seen = torch.ones(2, 1, 40, 40, dtype=torch.bool).tril()
    seen[1, :, :, :9] = False
    real = seen.any(-1)[:, 0]
    lowest = torch.finfo(torch.float32).min

    def mask(of):
        return torch.where(of, 0.0, lowest) if additive else of

    theirs, ours = both(llama, lambda m: m(ids, attention_mask=mask(seen)).logits)
    assert difference(theirs, ours, real) < 1e-4 and not recwarn.list
    seen[0, 0, 20:, 5] = False
    tt.attention._warned.clear()
    llama.set_attn_implementation("sdpa")
    with torch.inference_mode():
        theirs = llama(ids, attention_mask=mask(seen)).logits
        llama.set_attn_implementation("tamis")
        tt.configure(llama)
        with pytest.warns(UserWarning, match="neither causal"):
            ours = llama(ids, attention_mask=mask(seen)).logits
        again = llama(ids, attention_mask=mask(seen)).logits
    assert difference(theirs, ours, real) < 1e-5 and torch.equal(ours, again)
    assert {call.method for call in tt.statistics(llama)} == {"torch"}


@pytest.mark.filterwarnings("ignore:attention_mask is neither")
def test_a_mask_of_the_user_with_a_soft_cap():
    gemma = build("gemma2")
    ids, mask = prompts(2, 40, (0, 6))
    mask[0, 11:13] = 0
    theirs, ours = both(gemma, lambda m: m(ids, attention_mask=mask).logits)
    assert difference(theirs, ours, mask) < 1e-4


# ------------------------------------------------------------------------------------------------- the library's cache


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


# ------------------------------------------------------------------------------------------------- configuration


def gamma_oracle(gamma):
    """Attention with ZeroTuning as the paper has it: weights of the first token times gamma, renormalised, in float64."""

    def forward(module, query, key, value, attention_mask, scaling=None, softcap=None, **_):
        groups = query.shape[1] // key.shape[1]
        k, v = (x.repeat_interleave(groups, 1).double() for x in (key, value))
        scores = query.double() @ k.transpose(2, 3) * scaling
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        q_len, k_len = scores.shape[2:]
        seen = torch.ones(q_len, k_len, dtype=torch.bool).tril(k_len - q_len) if attention_mask is None else attention_mask
        scores = scores.masked_fill(~seen, -math.inf)
        weights = scores.softmax(-1).nan_to_num(0.0)
        # The first token of a text is the one that a query at its own place sees first, before windows.
        for b, first in enumerate(module.first_tokens):
            weights[b, :, :, first] *= torch.tensor(gamma[module.layer_idx])[:, None]
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-300)
        return (weights @ v).to(query.dtype).transpose(1, 2).contiguous(), None

    return forward


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_zero_tuning(family):
    m = build(family)
    gamma = np.random.default_rng(0).uniform(0.2, 5, (4, 4))
    gamma[1] = 1
    ids, mask = prompts(2, 60, (0, 23))
    hf.AttentionInterface.register("gamma", gamma_oracle(gamma))
    mu.AttentionMaskInterface.register("gamma", mu.sdpa_mask)
    for module in m.modules():
        if hasattr(module, "layer_idx"):
            module.first_tokens = (0, 23)
    tt.configure(m, tt.TamisConfig(gamma=gamma))
    with torch.inference_mode():
        m.set_attn_implementation("gamma")
        theirs = m(ids, attention_mask=mask, use_cache=False).logits
        m.set_attn_implementation("tamis")
        ours = m(ids, attention_mask=mask, use_cache=False).logits
        cache = tt.TamisCache(m)
        stepped = [m(ids[:, :40], attention_mask=mask[:, :40], cache=cache).logits]
        stepped += [m(ids[:, i : i + 1], attention_mask=mask[:, : i + 1], cache=cache).logits for i in range(40, 60)]
        tt.configure(m, tt.TamisConfig(gamma=1.0))
        plain = m(ids, attention_mask=mask).logits
        tt.configure(m)
        assert torch.equal(plain, m(ids, attention_mask=mask).logits)
    assert difference(theirs, ours, mask) < 1e-4 and difference(theirs, torch.cat(stepped, 1), mask) < 1e-4
    assert difference(theirs, plain, mask) > 1e-2


def act_oracle(flags, first_tokens, threshold, beta):
    """Attention with ACT as the paper has it, in float64, with the columns' statistics of all rows of a text so far."""
    sums = {}

    def forward(module, query, key, value, attention_mask, scaling=None, **_):
        batch, heads, q_len, _ = query.shape
        out = torch.zeros(query.shape, dtype=torch.float64)
        for b, pad in enumerate(first_tokens):
            k, v = (x[b, :, pad:].repeat_interleave(heads // key.shape[1], 0).double() for x in (key, value))
            rows = min(q_len, k.shape[1])
            q = query[b, :, q_len - rows :].double()
            n = k.shape[1]
            seen = torch.ones(rows, n, dtype=torch.bool).tril(n - rows)
            p = (q @ k.transpose(1, 2) * scaling).masked_fill(~seen, -math.inf).softmax(-1)
            total, count = torch.zeros(heads, n, dtype=torch.float64), torch.zeros(n)
            if rows < n:
                before = sums[module.layer_idx, b]
                total[:, : n - rows], count[: n - rows] = before[0][:, : n - rows], before[1][: n - rows]
            total, count = total + p.sum(1), count + seen.sum(0)
            sums[module.layer_idx, b] = total, count
            for h in range(heads):
                if flags[module.layer_idx][h]:
                    sink = total[h] / count > threshold
                    sink[0] = False
                    m = p[h][:, sink].sum(-1, keepdim=True)
                    p[h] = torch.where(sink, beta * p[h], p[h] * (1 + (1 - beta) * m / (1 - m)))
            out[b, :, q_len - rows :] = p @ v
        return out.to(query.dtype).transpose(1, 2).contiguous(), None

    return forward


@pytest.mark.parametrize("cached", ["dynamic", "natural", "compact"])
def test_act(llama, cached):
    flags = np.zeros((4, 4), bool)
    flags[0, 1] = flags[1] = flags[3, 2] = True
    ids, mask = prompts(2, 60, (0, 23))
    # Sinks that are surely so or surely not.
    hf.AttentionInterface.register("act", act_oracle(flags, (0, 23), 0.06, 0.3))
    mu.AttentionMaskInterface.register("act", mu.sdpa_mask)
    tt.configure(llama, tt.TamisConfig(act=flags, act_options=dict(threshold=0.06, beta=0.3)))

    def run(m):
        ours = m.config._attn_implementation == "tamis"
        cache = tt.TamisCache(m, positions=cached) if ours and cached != "dynamic" else hf.DynamicCache(config=m.config)
        steps = [m(ids[:, :40], attention_mask=mask[:, :40], cache=cache).logits]
        steps += [m(ids[:, i : i + 1], attention_mask=mask[:, : i + 1], cache=cache).logits for i in range(40, 60)]
        if isinstance(cache, tt.TamisCache):
            cache.crop(-1)
            with pytest.raises(tamis.UnsupportedError, match="ACT .* needs the statistics"):
                m(ids[:, :1], attention_mask=mask, cache=cache)
        return torch.cat(steps, 1)

    with torch.inference_mode():
        llama.set_attn_implementation("act")
        theirs = run(llama)
        llama.set_attn_implementation("sdpa")
        plain = run(llama)
        llama.set_attn_implementation("tamis")
        ours = run(llama)
    assert difference(theirs, ours, mask) < 1e-4 and difference(plain, ours, mask) > 1e-2
    assert [c.method for c in list(tt.statistics(llama))[:4]] == ["act", "act", "dense", "act"]


def test_dense_layers_and_statistics(llama):
    tt.configure(llama, tt.TamisConfig(decode="tokenselect", top_k=8, n_sink=2, n_recent=8, dense_layers=[0, 2]))
    llama.set_attn_implementation("tamis")
    ids, _ = prompts(1, 50)
    with torch.inference_mode():
        llama.generate(ids, max_new_tokens=4, do_sample=False, cache=tt.TamisCache(llama))
    stats = tt.statistics(llama)
    assert len(stats) == 4 * 4 and [c.layer for c in stats][:4] == [0, 1, 2, 3]
    decode = [c for c in stats if c.phase == "decode"]
    assert {c.layer for c in decode if c.method == "tokenselect"} == {1, 3} == {c.layer for c in decode if c.sparse}
    assert all(c.density == 1 for c in decode if c.layer in (0, 2))
    assert stats.density("prefill") == 1 and 0.3 < stats.density("decode") < 0.8 and stats.seconds() > 0
    assert "tokenselect" in str(stats)
    stats.reset()
    assert len(stats) == 0 and stats.density() == 1


@pytest.mark.parametrize("options, sentence", [
    (dict(prefill="sparse"), "prefill is 'sparse', expected one of 'dense', 'dhsa', 'dhsa_topk'"),
    (dict(decode="h2o"), "decode is 'h2o', expected one of 'dense', 'streaming', 'tokenselect', 'dhsa'"),
    (dict(positions="far"), "positions is 'far'"),
    (dict(density=0.0), "density is 0.0"),
    (dict(top_k=-1), "top_k is -1"),
    (dict(gamma=0.0), "gamma: expected"),
    (dict(gamma=[1.0, math.nan]), "gamma: expected"),
    (dict(predictor="x"), "predictor is given, but prefill is 'dense'"),
])
def test_bad_options(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        tt.TamisConfig(**options)


def test_what_is_refused(llama):
    ids, mask = prompts(2, 20)
    with pytest.raises(ValueError, match="gamma has shape .3., expected a number, .4. or .4, 4."):
        tt.configure(llama, tt.TamisConfig(gamma=[1.0, 2.0, 3.0]))
    with pytest.raises(tamis.UnsupportedError, match="no attention layers"):
        tt.configure(torch.nn.Linear(2, 2))
    llama.set_attn_implementation("tamis")
    with pytest.raises(tamis.UnsupportedError, match="no backward"):
        llama(ids)
    with pytest.raises(tamis.UnsupportedError, match="dropout is 0.25"), torch.inference_mode():
        build("llama", attention_dropout=0.25, attn_implementation="tamis").train()(ids)
    with torch.inference_mode():
        with pytest.raises(tamis.UnsupportedError, match="output_attentions"):
            llama(ids, output_attentions=True)
        with pytest.raises(tamis.UnsupportedError, match="float64"):
            build("llama", attn_implementation="tamis").double()(ids)
        llama(ids[:, :1])
        tt.configure(llama, tt.TamisConfig(decode="tokenselect"))
        llama(ids)
        with pytest.raises(ValueError, match="decode is 'tokenselect'.*TamisCache"):
            llama.generate(ids, max_new_tokens=3)
        tt.configure(llama, tt.TamisConfig(prefill="streaming"))
        with pytest.raises(ValueError, match="prefill is 'streaming'.*TamisCache"):
            llama(ids)
        tt.configure(llama)
        cache = tt.TamisCache(llama)
        llama(ids, cache=cache)
        with pytest.raises(ValueError, match="the batch is 1, but the TamisCache holds 2"):
            llama(ids[:1], cache=cache)
        cache = tt.TamisCache(llama)
        mask[1, -3:] = 0
        with pytest.raises(ValueError, match="ends with 3 padding tokens in text 1"):
            llama(ids, attention_mask=mask, cache=cache)
        cache.reset()
        llama(ids, cache=cache)
        mask = torch.ones(2, 21)
        mask[0, :2] = 0
        with pytest.raises(ValueError, match="hides tokens .0, 2. of text 0"):
            llama(ids[:, :1], attention_mask=mask, cache=cache)
        cache.reset()
        with pytest.raises(ValueError, match="position_ids of text 0 run from 5 to 24, expected"):
            llama(ids, cache=cache)
            llama(ids, position_ids=torch.arange(5, 25)[None], cache=cache)
        llama.set_attn_implementation("sdpa")
        with pytest.raises(ValueError, match="only attn_implementation='tamis'"):
            llama(ids, cache=tt.TamisCache(llama))
    with pytest.raises(ValueError, match="tokens_to_remove is 3"):
        tt.TamisCache(llama).crop(3)
    with pytest.raises(ValueError, match="positions is 'none'"):
        tt.TamisCache(llama, positions="none")
    small = tt.TamisCache(llama, max_tokens=16)
    llama.set_attn_implementation("tamis")
    with pytest.raises(tamis.CacheFullError), torch.inference_mode():
        llama(ids.repeat(1, 4), cache=small)


# ------------------------------------------------------------------------------------------------- sparse prefill

#: Options that leave keys out of a prompt of 300.
SPARSE = {
    "dhsa": dict(query_block=32, key_block=8, budget=80, instruction_tokens=16, local=32, sinks=8),
    "dhsa_topk": dict(query_block=32, key_block=16, density=0.25),
    "dhsa_a": dict(query_block=32, key_block=16, density=0.25),
    "dhsa_vs": dict(query_block=32, key_block=16, density=0.25, options=dict(sampled_rows=32)),
    "dhsa_vsb": dict(query_block=32, key_block=16, density=0.25),
    "block": dict(query_block=32, key_block=16, budget=64),
    "a_shape": dict(query_block=32, key_block=16, sinks=16, local=48),
    "vertical_slash": dict(options=dict(vertical=30, slash=50), query_block=32, key_block=16),
    "block_topk": dict(options=dict(max_blocks=5), query_block=32, key_block=16),
    "minference": dict(options=dict(patterns=[("a_shape", 8, 32), ("vertical_slash", 30, 50), ("block_topk", 2), ("a_shape", 0, 64)])),
    "flexprefill": dict(query_block=32, key_block=16, coverage=0.5, options=dict(min_budget=32)),
    "xattention": dict(query_block=32, key_block=16, coverage=0.5),
    "sparge": dict(query_block=32, key_block=16, options=dict(top_share=0.3, pv_threshold=0.0)),
}


def tiles_oracle(method, options, share=False, layers=range(4), sliding=False):
    """Attention over the tiles that tamis.sparse_select names, by torch in float64, text by text without its padding. Registered as
    "tiles". share: masks of the first such layer serve the others."""
    shared = {}

    def forward(module, query, key, value, attention_mask, scaling=None, softcap=None, sliding_window=None, **_):
        batch, heads, q_len, _ = query.shape
        out = torch.zeros(query.shape, dtype=torch.float64)
        for b, pad in enumerate(module.first_tokens):
            q, k, v = query[b, :, pad:], key[b, :, pad:], value[b, :, pad:]
            n = q.shape[1]
            seen = torch.ones(n, n, dtype=torch.bool).tril()
            if sliding_window is not None:
                seen &= ~torch.ones(n, n, dtype=torch.bool).tril(-sliding_window)
            if module.layer_idx in layers and (sliding or sliding_window is None):
                kind = b, sliding_window is None
                if not share or module.layer_idx == 0 or kind not in shared:
                    mask = tamis.sparse_select(q, k, method, scale=scaling, softcap=softcap, window=sliding_window, **options)
                    t = mask.tiles
                    kept = t.to_mask(n).reshape(t.heads, -1, n).repeat(t.query_block, 1)[:, :n].repeat(heads // t.heads, 0)
                    shared[kind] = torch.from_numpy(kept)
                seen = seen & shared[kind]
            groups = heads // k.shape[0]
            scores = q.double() @ k.repeat_interleave(groups, 0).double().transpose(1, 2) * scaling
            if softcap is not None:
                scores = torch.tanh(scores / softcap) * softcap
            weights = scores.masked_fill(~seen, -math.inf).softmax(-1).nan_to_num(0.0)
            out[b, :, pad:] = weights @ v.repeat_interleave(groups, 0).double()
        return out.to(query.dtype).transpose(1, 2).contiguous(), None

    hf.AttentionInterface.register("tiles", forward)
    mu.AttentionMaskInterface.register("tiles", mu.sdpa_mask)


def compare_with_tiles(model, ids, mask, config, **oracle):
    options = {k: v for k, v in config.sparse_options().items() if k != "dense_below"}
    tiles_oracle(config.prefill, options, **oracle)
    for module in model.modules():
        if hasattr(module, "layer_idx"):
            module.first_tokens = [int(n) for n in (mask == 0).sum(1)]
    tt.configure(model, config)
    with torch.inference_mode():
        model.set_attn_implementation("tiles")
        theirs = model(ids, attention_mask=mask, use_cache=False).logits
        model.set_attn_implementation("tamis")
        ours = model(ids, attention_mask=mask, use_cache=False).logits
        cached = model(ids, attention_mask=mask, cache=tt.TamisCache(model)).logits
        model.set_attn_implementation(reference(model))
        dense = model(ids, attention_mask=mask, use_cache=False).logits
    assert torch.equal(ours, cached)
    assert difference(theirs, ours, mask) < 1e-4 and difference(dense, ours, mask) > 1e-2
    return list(tt.statistics(model))[: model.config.num_hidden_layers]


@pytest.mark.parametrize("method", SPARSE)
def test_sparse_prefill(llama, method):
    ids, mask = prompts(2, 300, (0, 45))
    calls = compare_with_tiles(llama, ids, mask, tt.TamisConfig(prefill=method, dense_below=0, **SPARSE[method]))
    assert [c.method for c in calls] == [method] * 4 and all(c.sparse and 0 < c.density < 0.9 for c in calls)
    assert all(c.queries == c.keys == 300 for c in calls)


@pytest.mark.parametrize("family", ["gemma2", "mistral", "qwen2"])
@pytest.mark.parametrize("sliding", [False, True])
def test_sparse_prefill_with_windows_and_soft_caps(family, sliding):
    m = build(family, sliding_window=100)
    if family == "mistral" and not sliding:
        pytest.skip("all its layers slide")
    ids, mask = prompts(2, 300, (0, 45))
    config = tt.TamisConfig(prefill="dhsa_topk", dense_below=0, sparse_sliding=sliding, query_block=32, key_block=16, density=0.12)
    calls = compare_with_tiles(m, ids, mask, config, sliding=sliding)
    kinds = getattr(m.config, "layer_types", ["sliding_attention"] * 4)
    assert [c.sparse for c in calls] == [sliding or kind == "full_attention" for kind in kinds]


def test_shared_masks_and_dense_layers(llama):
    ids, mask = prompts(2, 300, (0, 45))
    options = dict(prefill="xattention", dense_below=0, **SPARSE["xattention"])
    compare_with_tiles(llama, ids, mask, tt.TamisConfig(share_masks=True, **options), share=True)
    calls = compare_with_tiles(llama, ids, mask, tt.TamisConfig(dense_layers=2, **options), layers=(2, 3))
    assert [c.method for c in calls] == ["dense", "dense", "xattention", "xattention"]


def test_sparse_prefill_that_is_dense(llama):
    """Short prompts, and budgets that hold everything."""
    ids, mask = prompts(2, 200, (0, 45))
    for config in (tt.TamisConfig(prefill="flexprefill"), tt.TamisConfig(prefill="dhsa_topk", density=1.0, dense_below=0),
                   tt.TamisConfig(prefill="dhsa", budget=-1, dense_below=0)):
        tt.configure(llama, config)
        theirs, ours = both(llama, lambda m: m(ids, attention_mask=mask).logits)
        assert difference(theirs, ours, mask) < 1e-4
        assert all(c.density == 1 and c.method == "dense" and not c.sparse for c in tt.statistics(llama))
    tt.configure(llama, tt.TamisConfig(prefill="dhsa_topk", options=dict(sharpness=1), dense_below=0))
    with pytest.raises(ValueError, match="sharpness is no option"), torch.inference_mode():
        llama(ids)


@pytest.mark.parametrize("positions", ["natural", "compact"])
def test_sparse_prefill_in_chunks(llama, positions):
    """Blocks that start at the same tokens select the same: a prompt in pieces is the prompt in one."""
    ids, mask = prompts(2, 320, (0, 32))
    tt.configure(llama, tt.TamisConfig(prefill="a_shape", dense_below=0, **SPARSE["a_shape"]))
    llama.set_attn_implementation("tamis")
    with torch.inference_mode():
        whole = llama(ids, attention_mask=mask).logits
        cache = tt.TamisCache(llama, positions=positions)
        cuts = [0, 128, 192, 320]
        pieces = [llama(ids[:, a:b], attention_mask=mask[:, :b], cache=cache).logits for a, b in zip(cuts, cuts[1:])]
    assert difference(whole, torch.cat(pieces, 1), mask) < 1e-4
    assert [c.density < 1 for c in list(tt.statistics(llama))[4:]] == [True] * 12


# ------------------------------------------------------------------------------------------------- DHSA


def write_predictor(folder, width):
    """A random boundary predictor with as many boundaries as not."""
    from safetensors.torch import save_file

    g = torch.Generator().manual_seed(1)
    shapes = {
        "enc.mha.in_proj_weight": (3 * width, width), "enc.mha.in_proj_bias": (3 * width,), "enc.mha.out_proj.weight": (width, width),
        "enc.mha.out_proj.bias": (width,), "enc.norm.weight": (width,), "enc.norm.bias": (width,),
        "mlp.0.weight": (32, 4 * width + 1), "mlp.0.bias": (32,), "mlp.2.weight": (1, 32), "mlp.2.bias": (1,)}
    tensors = {name: torch.randn(shape, generator=g) * 0.5 for name, shape in shapes.items()}
    tensors["enc.norm.weight"] += 1
    path = folder / "boundary_predictor.safetensors"
    save_file(tensors, str(path), metadata={"heads": "4"})
    return path


@pytest.mark.parametrize("share", [True, False])
def test_dhsa_with_a_predictor(llama, tmp_path, share):
    """Chunks of layer 0's keys serve every layer, or each layer finds its own."""
    path = write_predictor(tmp_path, 64)
    predictor = tamis.BoundaryPredictor.load(path)
    ids, mask = prompts(1, 300)
    found = {}

    def boundaries(layer, k):
        at = 0 if share else layer
        if at not in found:
            found[at] = tamis.sparse_select(
                torch.zeros(4, 300, 32), k, "dhsa", predictor=predictor, **{**SPARSE["dhsa"], "budget": 80}).boundaries
        return found[at]

    def forward(module, query, key, value, attention_mask, scaling=None, **_):
        own = boundaries(module.layer_idx, key[0])
        out = tamis.sparse_prefill(
            query[0], key[0], value[0], "dhsa", scale=scaling, dense_below=0, boundaries=own, **SPARSE["dhsa"])
        return out[None].transpose(1, 2).contiguous(), None

    hf.AttentionInterface.register("chunks", forward)
    mu.AttentionMaskInterface.register("chunks", mu.sdpa_mask)
    tt.configure(llama, tt.TamisConfig(
        prefill="dhsa", predictor=str(path), share_boundaries=share, dense_below=0, **SPARSE["dhsa"]))
    with torch.inference_mode():
        llama.set_attn_implementation("chunks")
        theirs = llama(ids, use_cache=False).logits
        llama.set_attn_implementation("tamis")
        ours = llama(ids, use_cache=False).logits
    assert 10 < len(found[0]) < 200
    assert difference(theirs, ours) < 1e-5


@pytest.mark.parametrize("positions", ["natural", "compact"])
@pytest.mark.parametrize("prefill", ["dense", "dhsa"])
def test_dhsa_decode(llama, positions, prefill):
    """Each step attends what a ChunkIndex of the same keys selects."""
    ids, mask = prompts(2, 420, (0, 60))
    indices = {}

    def forward(module, query, key, value, attention_mask, scaling=None, **_):
        out = torch.zeros(query.shape)
        for b, pad in enumerate((0, 60)):
            q, k, v = query[b], key[b, :, pad:], value[b, :, pad:]
            n = k.shape[1]
            if q.shape[1] > 1:
                out[b, :, pad:] = tamis.attention(q[:, pad:], k, v, scale=scaling) if prefill == "dense" else tamis.sparse_prefill(
                    q[:, pad:], k, v, "dhsa", scale=scaling, dense_below=0, **SPARSE["dhsa"])
                continue
            index = indices.get((module.layer_idx, b))
            if index is None:
                index = indices[module.layer_idx, b] = tamis.ChunkIndex(kv_heads=2, head_dim=32, sinks=8, local=32)
                chunks = [*range(0, 400 - pad, 8), 400 - pad]
                index.append(k[:, : 400 - pad].contiguous(), chunks if prefill == "dhsa" else None)
            index.append(k[:, len(index) :].contiguous())
            tokens = torch.from_numpy(index.select(q, 160)).long() if n > 160 else torch.arange(n)
            kk, vv = (x[:, tokens].repeat_interleave(2, 0).double() for x in (k, v))
            out[b] = (((q.double() @ kk.transpose(1, 2)) * scaling).softmax(-1) @ vv).float()
        return out.transpose(1, 2).contiguous(), None

    hf.AttentionInterface.register("index", forward)
    mu.AttentionMaskInterface.register("index", mu.sdpa_mask)
    tt.configure(llama, tt.TamisConfig(
        prefill=prefill, decode="dhsa", decode_budget=160, dense_below=0,
        **(SPARSE["dhsa"] if prefill == "dhsa" else dict(sinks=8, local=32))))

    def run(m):
        cache = tt.TamisCache(m, positions=positions) if m.config._attn_implementation == "tamis" else hf.DynamicCache(config=m.config)
        m(ids[:, :400], attention_mask=mask[:, :400], cache=cache)
        return torch.cat([m(ids[:, i : i + 1], attention_mask=mask[:, : i + 1], cache=cache).logits for i in range(400, 420)], 1)

    with torch.inference_mode():
        llama.set_attn_implementation("index")
        theirs = run(llama)
        llama.set_attn_implementation("tamis")
        ours = run(llama)
    assert difference(theirs, ours) < 1e-3 * float(theirs.abs().max())
    last = list(tt.statistics(llama))[-1]
    assert (last.phase, last.method) == ("decode", "dhsa") and last.density == pytest.approx((160 / 420 + 160 / 360) / 2, rel=0.03)


# ------------------------------------------------------------------------------------------------- a model that recalls


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
