"""DHSA's boundary predictor against torch: nn.MultiheadAttention over every zero-padded window, as the official network is built.

The reference (arXiv 2510.24606 v1) is assembled here from torch's own modules, window by window, in float64; nothing is shared
between windows.
"""

import numpy as np
import pytest
import tamis

torch = pytest.importorskip("torch")


class Reference(torch.nn.Module):
    def __init__(self, width, heads, hidden, window=4, gated=False):
        super().__init__()
        self.window = window
        self.enc = torch.nn.Module()
        self.enc.mha = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        self.enc.norm = torch.nn.LayerNorm(width)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(4 * width + 1, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 1))
        if gated:
            self.pool = torch.nn.Module()
            self.pool.gate = torch.nn.Linear(width, 1, bias=False)
        for parameter in self.parameters():  # biases of MultiheadAttention begin as zeros, norms as ones
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, parameter.mean().item(), 0.3)

    def halves(self, y):
        w = self.window
        if not hasattr(self, "pool"):
            return y[:, :w].mean(1), y[:, w:].mean(1)
        return [(self.pool.gate(half).softmax(1) * half).sum(1) for half in (y[:, :w], y[:, w:])]

    def forward(self, x):
        """Logits [n] of features x [n, width]."""
        w = self.window
        padded = torch.cat([x.new_zeros(w - 1, x.shape[1]), x, x.new_zeros(w, x.shape[1])])
        windows = torch.stack([padded[i:i + 2 * w] for i in range(len(x))])
        y = self.enc.norm(self.enc.mha(windows, windows, windows, need_weights=False)[0])
        left, right = self.halves(y)
        cosine = torch.nn.functional.cosine_similarity(left, right, dim=-1, eps=1e-6)[:, None]
        return self.mlp(torch.cat([left, right, (left - right).abs(), left * right, cosine], -1))[:, 0]


def keys(kv_heads, n, head_dim, seed=0):
    return np.random.default_rng(seed).normal(size=(kv_heads, n, head_dim)).astype(np.float32)


def expected(model, k):
    with torch.no_grad():
        return model.double()(torch.tensor(k).transpose(0, 1).flatten(1).double()).numpy()


@pytest.mark.parametrize("width, heads, hidden, window, gated", [
    (64, 8, 32, 4, False), (64, 4, 32, 4, False), (1024, 8, 256, 4, False), (96, 1, 16, 4, False), (64, 64, 8, 4, False),
    (48, 6, 20, 3, False), (64, 4, 32, 4, True),
])
def test_random_networks(tmp_path, width, heads, hidden, window, gated):
    from safetensors.torch import save_file

    torch.manual_seed(width + heads)
    model = Reference(width, heads, hidden, window, gated).eval()
    path = tmp_path / "boundary_predictor.safetensors"
    save_file(model.state_dict(), path, metadata={"heads": str(heads), "window": str(window)})
    predictor = tamis.BoundaryPredictor.load(tmp_path)
    assert (predictor.width, predictor.heads, predictor.window) == (width, heads, window)
    for n in (1, 3, 8, 300):
        k = keys(2, n, width // 2, n)
        assert np.abs(predictor.run(k) - expected(model, k)).max() < 1e-5
        model.float()


@pytest.mark.parametrize("legacy", [False, True])
def test_the_published_form(tmp_path, legacy):
    """A torch state dict says nothing of heads: 8 unless the caller knows better."""
    torch.manual_seed(1)
    model = Reference(64, 8, 32).eval()
    path = tmp_path / "boundary_predictor.pt"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    k = keys(2, 40, 32)
    predictor = tamis.BoundaryPredictor.load(path)
    assert predictor.heads == 8
    assert np.abs(predictor.run(k) - expected(model, k)).max() < 1e-5
    model.enc.mha.num_heads, model.enc.mha.head_dim = 4, 16
    assert np.abs(tamis.BoundaryPredictor.load(path, heads=4).run(k) - expected(model, k)).max() < 1e-5


def test_torch_in_torch_out(tmp_path):
    torch.manual_seed(2)
    model = Reference(64, 8, 16).eval()
    torch.save(model.state_dict(), tmp_path / "p.pt")
    predictor = tamis.BoundaryPredictor.load(tmp_path / "p.pt")
    k = torch.tensor(keys(2, 30, 32)).bfloat16()
    logits = predictor.run(k)
    assert isinstance(logits, torch.Tensor)
    assert np.abs(logits.numpy() - expected(model, k.float().numpy())).max() < 1e-5


@pytest.mark.parametrize("precision, limit", [("bf16", 0.03), ("i8", 0.06)])
def test_narrow_products(tmp_path, precision, limit):
    torch.manual_seed(3)
    model = Reference(256, 8, 64).eval()
    torch.save(model.state_dict(), tmp_path / "p.pt")
    k = keys(2, 200, 128)
    reference = expected(model, k)
    error = np.abs(tamis.BoundaryPredictor.load(tmp_path / "p.pt", precision=precision).run(k) - reference)
    assert error.max() < limit * (1 + np.abs(reference).max())
