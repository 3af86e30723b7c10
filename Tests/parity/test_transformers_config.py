"""tamis.integrations.transformers: ZeroTuning, ACT, dense layers and refusals by configuration."""

import math

import numpy as np
import pytest
import tamis
import tamis.integrations.transformers as tt
import torch
import transformers as hf
from transformer_models import build, difference, prompts
from transformers import masking_utils as mu


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
