"""Where training starts: word vectors from co-occurrence, sinusoidal positions in dimensions of their own, and some
attention heads that look at a fixed distance. A post-LN encoder left at random needs millions of tokens to find out that
neighbours matter; this one begins with it and is free to unlearn it."""

import math

import torch

POSITION = 32                      # embedding dimensions that hold the position, the last ones
DISTANCES = ((-1, 1, -2, 2), (-1, 1, -3, 3), (-1, 1, -2, 2), (-1, 1))   # of the first heads of each layer
SHARP = 1.6                        # scale of those heads' query and key; about 0.9 of the weight on the distance


def frequencies(n):
    return torch.tensor([2.5 * (0.02 / 2.5) ** (k / (n - 1)) for k in range(n)])


@torch.no_grad()
def scatter(module):
    """Random linear layers that keep the size of what they are given."""
    for part in module.modules():
        if isinstance(part, torch.nn.Linear):
            part.weight.normal_(0, 0.7 / math.sqrt(part.in_features))
            part.bias.zero_()


@torch.no_grad()
def embed(table, c, vectors):
    """Fills the embedding tables. `vectors`: float32 [vocab, >= embedding - POSITION] of any scale; a row of zeros, a
    piece that was never seen, gets noise."""
    word = c.embedding - POSITION
    table.word_embeddings.weight.zero_()
    scale = 0.05 / vectors[:, :word].std().clamp_min(1e-6)
    table.word_embeddings.weight[:, :word] = vectors[:, :word] * scale
    rare = vectors.abs().sum(1) == 0
    table.word_embeddings.weight[rare, :word] = torch.randn(int(rare.sum()), word) * 0.02
    table.token_type_embeddings.weight.zero_()
    angle = torch.arange(c.positions)[:, None] * frequencies(POSITION // 2)
    table.position_embeddings.weight.zero_()
    table.position_embeddings.weight[:, word:] = torch.cat([angle.cos(), angle.sin()], 1) * 0.07


@torch.no_grad()
def wire(encoder, c):
    """Random layers, the projection passing the embedding through, and the heads of DISTANCES."""
    scatter(encoder)
    word, omega = c.embedding - POSITION, frequencies(POSITION // 2)
    if c.embedding != c.hidden:
        encoder.embeddings_project.weight[:c.embedding] = torch.eye(c.embedding)
    for layer, distances in zip(encoder.encoder.layer, DISTANCES):
        attention = layer.attention.self
        size = c.hidden // c.heads
        pairs = min(size, POSITION) // 2
        for head, distance in enumerate(distances[:c.heads]):
            turn = omega[:pairs] * distance
            rows = slice(head * size, head * size + 2 * pairs)
            near, far = slice(word, word + pairs), slice(word + POSITION // 2, word + POSITION // 2 + pairs)
            for linear, angle in ((attention.query, turn), (attention.key, torch.zeros(pairs))):
                linear.weight[head * size:(head + 1) * size] = 0
                block = linear.weight[rows]
                block[:pairs, near] = torch.diag(angle.cos()) * SHARP      # cos(w(i + d)) = cos cos - sin sin
                block[:pairs, far] = -torch.diag(angle.sin()) * SHARP
                block[pairs:, near] = torch.diag(angle.sin()) * SHARP
                block[pairs:, far] = torch.diag(angle.cos()) * SHARP
