"""tamis.integrations.transformers: sparse prefill and DHSA at decode."""

import math

import pytest
import tamis
import tamis.integrations.transformers as tt
import torch
import transformers as hf
from transformer_models import SPARSE, both, build, difference, prompts, reference
from transformers import masking_utils as mu


#: Options that leave keys out of a prompt of 300.
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
