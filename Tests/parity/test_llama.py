"""A random LlamaForCausalLM whose attention is served by libtamis: the logits are Hugging Face's."""

import pytest
import tamis
import torch
from transformers import LlamaConfig, LlamaForCausalLM

CONFIG = LlamaConfig(
    vocab_size=300, hidden_size=96, intermediate_size=160, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
    head_dim=16, max_position_embeddings=512, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, attn_implementation="eager")


class Served:
    """The model's own linear layers and norms; keys, values and attention are a KVCache's."""

    def __init__(self, model, method):
        self.model = model
        c = model.config
        self.cache = tamis.KVCache(
            layers=c.num_hidden_layers, kv_heads=c.num_key_value_heads, head_dim=c.head_dim, max_tokens=1024,
            rope=tamis.RoPE(base=10000.0))
        self.sequence = self.cache.sequence()
        self.selector = tamis.Selector(self.cache, method, q_heads=c.num_attention_heads)

    def __call__(self, tokens):
        d = self.model.config.head_dim
        h = self.model.model.embed_tokens(tokens)
        for i, layer in enumerate(self.model.model.layers):
            x = layer.input_layernorm(h)
            q, k, v = (
                projection(x).view(len(tokens), -1, d).transpose(0, 1)
                for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj))
            self.sequence.append(k, v, layer=i)
            o = self.selector.attend(self.sequence, q, i)
            h = h + layer.self_attn.o_proj(o.transpose(0, 1).reshape(len(tokens), -1))
            h = h + layer.mlp(layer.post_attention_layernorm(h))
        return self.model.lm_head(self.model.model.norm(h))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    return LlamaForCausalLM(CONFIG).eval()


@pytest.mark.parametrize("method", [tamis.DenseAttention(), tamis.TokenSelect(top_k=512, n_sink=8, n_recent=64, chunk=64)], ids=str)
@torch.no_grad()
def test_logits(model, method):
    tokens = torch.randint(0, 300, (200,))
    theirs = model(tokens[None]).logits[0]
    served = Served(model, method)
    ours = torch.cat([served(tokens[a:b]) for a, b in [(0, 100), (100, 137), (137, 138), (138, 200)]])
    assert (ours - theirs).abs().max() < 1e-3 * theirs.abs().max()
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))


@torch.no_grad()
def test_greedy_text_and_fork(model):
    prompt = torch.randint(0, 300, (60,))
    theirs = model.generate(prompt[None], max_new_tokens=30, do_sample=False, pad_token_id=0, eos_token_id=None)[0, 60:]
    served = Served(model, tamis.DenseAttention())
    logits = served(prompt)
    trunk = served.sequence
    for _ in range(2):  # the second run goes on from the shared prefix
        served.sequence = trunk.fork()
        token, text = logits[-1].argmax(), []
        for _ in range(30):
            text.append(token.item())
            token = served(token[None])[-1].argmax()
        assert text == theirs.tolist()
    assert trunk.length() == 60
