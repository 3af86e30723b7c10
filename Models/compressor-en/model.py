"""ELECTRA encoder (arXiv 2003.10555) with Hugging Face's parameter names, small enough to train on one core."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Config:
    """Shape of an encoder; `json` is what config.json of the shipped folder says."""

    def __init__(self, vocab_size, hidden=256, layers=4, heads=8, intermediate=1024, embedding=128, positions=512):
        self.vocab_size, self.hidden, self.layers, self.heads = vocab_size, hidden, layers, heads
        self.intermediate, self.embedding, self.positions = intermediate, embedding, positions

    def generator(self):
        """The replaced-token generator: as wide as the embeddings, half as deep; the embedding tables are shared."""
        heads = max(1, self.embedding // (self.hidden // self.heads))
        return Config(self.vocab_size, self.embedding, max(1, self.layers // 2), heads, 2 * self.embedding, self.embedding,
                      self.positions)

    def json(self):
        return {"architectures": ["ElectraForTokenClassification"], "model_type": "electra",
                "vocab_size": self.vocab_size, "embedding_size": self.embedding, "hidden_size": self.hidden,
                "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
                "intermediate_size": self.intermediate, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
                "attention_probs_dropout_prob": 0.1, "max_position_embeddings": self.positions, "type_vocab_size": 2,
                "layer_norm_eps": 1e-12, "initializer_range": 0.02, "position_embedding_type": "absolute",
                "pad_token_id": 0, "id2label": {"0": "drop", "1": "keep"}, "label2id": {"drop": 0, "keep": 1}}


class Embeddings(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.word_embeddings = nn.Embedding(c.vocab_size, c.embedding)
        self.position_embeddings = nn.Embedding(c.positions, c.embedding)
        self.token_type_embeddings = nn.Embedding(2, c.embedding)
        self.LayerNorm = nn.LayerNorm(c.embedding, eps=1e-12)

    def forward(self, ids, at):
        x = self.word_embeddings(ids) + self.position_embeddings(at) + self.token_type_embeddings.weight[0]
        return self.LayerNorm(x)


class SelfAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.query, self.key, self.value = (nn.Linear(c.hidden, c.hidden) for _ in range(3))

    def forward(self, x, bias):
        b, t, h = x.shape
        q, k, v = (f(x).view(b, t, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias
        return (scores.softmax(-1).to(v.dtype) @ v).transpose(1, 2).reshape(b, t, h)


class Residual(nn.Module):
    """dense, dropout, add, LayerNorm: the tail of both halves of a block."""

    def __init__(self, inner, c):
        super().__init__()
        self.dense = nn.Linear(inner, c.hidden)
        self.LayerNorm = nn.LayerNorm(c.hidden, eps=1e-12)

    def forward(self, x, skip, drop):
        return self.LayerNorm(F.dropout(self.dense(x), drop, self.training and drop > 0) + skip)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.attention = nn.Module()
        self.attention.self = SelfAttention(c)
        self.attention.output = Residual(c.hidden, c)
        self.intermediate = nn.Module()
        self.intermediate.dense = nn.Linear(c.hidden, c.intermediate)
        self.output = Residual(c.intermediate, c)

    def forward(self, x, bias, drop):
        x = self.attention.output(self.attention.self(x, bias), x, drop)
        return self.output(F.gelu(self.intermediate.dense(x)), x, drop)


class Electra(nn.Module):
    def __init__(self, c, embeddings=None):
        super().__init__()
        self.embeddings = embeddings or Embeddings(c)
        if c.embedding != c.hidden:
            self.embeddings_project = nn.Linear(c.embedding, c.hidden)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(Layer(c) for _ in range(c.layers))

    def forward(self, ids, mask, at, drop=0.0):
        """ids, mask, at: [B, T] token ids, 1 where real, position ids. -> [B, T, hidden]"""
        x = F.dropout(self.embeddings(ids, at), drop, self.training and drop > 0)
        if hasattr(self, "embeddings_project"):
            x = self.embeddings_project(x)
        bias = (1.0 - mask[:, None, None, :].to(x.dtype)) * -1e4
        for layer in self.encoder.layer:
            x = layer(x, bias, drop)
        return x


class Compressor(nn.Module):
    """Keep/drop classifier; class 1 is keep."""

    def __init__(self, c):
        super().__init__()
        self.config = c
        self.electra = Electra(c)
        self.classifier = nn.Linear(c.hidden, 2)

    def forward(self, ids, mask, at, drop=0.0):
        """-> keep logit [B, T], the difference of the two classes."""
        logits = self.classifier(F.dropout(self.electra(ids, mask, at, drop), drop, self.training and drop > 0)).float()
        return logits[..., 1] - logits[..., 0]


class ReplacedTokens(nn.Module):
    """ELECTRA's pre-training pair: a masked-language generator and a discriminator that finds its replacements. The
    embedding tables are shared."""

    def __init__(self, discriminator, c):
        super().__init__()
        self.electra = discriminator
        self.generator = Electra(c.generator(), discriminator.embeddings)
        self.to_embedding = nn.Linear(c.embedding, c.embedding)
        self.norm = nn.LayerNorm(c.embedding)
        self.bias = nn.Parameter(torch.zeros(c.vocab_size))
        self.dense = nn.Linear(c.hidden, c.hidden)
        self.prediction = nn.Linear(c.hidden, 1)

    def forward(self, ids, mask, at, chosen, mask_id, weight=50.0):
        """chosen: bool [B, T], the 15 % to mask. -> loss, generator loss, discriminator loss and its accuracy parts."""
        x = self.generator(ids.masked_fill(chosen, mask_id), mask, at)[chosen]
        x = self.norm(F.gelu(self.to_embedding(x)))
        logits = (F.linear(x, self.electra.embeddings.word_embeddings.weight) + self.bias).float()
        target = ids[chosen]
        generator_loss = F.cross_entropy(logits, target)
        with torch.no_grad():
            heap = logits.softmax(-1).cumsum(-1)
            at_random = torch.rand(len(heap), 1, device=heap.device) * heap[:, -1:]
            sampled = torch.searchsorted(heap, at_random).squeeze(1).clamp_max(heap.shape[1] - 1)
            corrupt = ids.clone()
            corrupt[chosen] = sampled
            replaced = (corrupt != ids).float()
        hidden = self.electra(corrupt, mask, at)
        score = self.prediction(F.gelu(self.dense(hidden))).squeeze(-1).float()
        real = mask.bool()
        loss = F.binary_cross_entropy_with_logits(score[real], replaced[real])
        return generator_loss + weight * loss, generator_loss.detach(), loss.detach()


def reduced(device):
    """Context of bf16 products where the device multiplies bf16; elsewhere emulation would cost ten times float32."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or torch.cpu._is_avx512_bf16_supported())


def adamw(model, rate, decay):
    """AdamW with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}],
                             lr=rate, betas=(0.9, 0.98), eps=1e-6, fused=True)


def quantise_rows(w):
    """Symmetric int8 per row. -> (int8 [rows, n], float32 scale [rows]); value = int8 * scale."""
    scale = w.abs().amax(1).clamp_min(1e-12) / 127
    return (w / scale[:, None]).round().clamp(-127, 127).to(torch.int8), scale.float()


class QuantisedLinear(nn.Module):
    """What the shipped int8 kernels compute: int8 weights, activations quantised per row as they come."""

    def __init__(self, linear):
        super().__init__()
        q, s = quantise_rows(linear.weight.data.float())
        self.register_buffer("weight", q.float() * s[:, None])
        self.bias = linear.bias

    def forward(self, x):
        scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
        return F.linear((x / scale).round() * scale, self.weight, self.bias)


def simulate_int8(model):
    """Replaces, in place, every linear layer but the classifier and rounds the embedding tables as the export does."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.Linear) and name != "classifier":
            setattr(model, name, QuantisedLinear(child))
        elif isinstance(child, nn.Embedding) and name in ("word_embeddings", "position_embeddings"):
            q, s = quantise_rows(child.weight.data.float())
            child.weight.data = q.float() * s[:, None]
        else:
            simulate_int8(child)
    return model
