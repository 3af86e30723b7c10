"""Small random models of transformers for test_transformers_*.py, run with torch's attention and with attn_implementation="tamis"."""

import torch
import transformers as hf

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
