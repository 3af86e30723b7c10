"""The encoder area of bench.py: token classification of whole chunks and of ragged ones, against PyTorch and ONNX Runtime.

Models have random weights in the published shapes, a vocabulary of 1000 and a few of their layers; embeddings are a few thousandths
of the work, so the time of the whole model is that of these layers times (layers of the model / layers here).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForTokenClassification, XLMRobertaConfig, XLMRobertaForTokenClassification

import tamis

COMMON = dict(vocab_size=1000, num_labels=2, attn_implementation="sdpa")
MODELS = {
    "XLM-R-large": (24, XLMRobertaForTokenClassification, lambda layers: XLMRobertaConfig(
        hidden_size=1024, num_hidden_layers=layers, num_attention_heads=16, intermediate_size=4096, max_position_embeddings=514,
        type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1, **COMMON)),
    "mBERT": (12, BertForTokenClassification, lambda layers: BertConfig(
        hidden_size=768, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=3072, **COMMON)),
}
#: Chunks that end at sentences, and the short last ones of several contexts.
RAGGED = [508, 497, 61, 511, 489, 230, 502, 118]


class Case:
    """One model, saved, and one batch for every contestant."""

    def __init__(self, bench, model, folder: Path, lengths: list[int]):
        self.bench, self.model, self.folder = bench, model, folder
        self.batch = [bench.rng.integers(5, 1000, n).astype(np.int32) for n in lengths]
        self.ids = torch.full((len(lengths), 512), model.config.pad_token_id, dtype=torch.long)
        self.mask = torch.zeros_like(self.ids)
        for i, ids in enumerate(self.batch):
            self.ids[i, : len(ids)] = torch.as_tensor(ids.astype(np.int64))
            self.mask[i, : len(ids)] = 1

    def ours(self, precision):
        encoder = tamis.Encoder(self.folder, precision=precision, ctx=self.bench.ctx)
        return lambda: encoder.classify(self.batch, progress=False)

    def torch(self, dtype):
        model = self.model.to(dtype) if dtype == torch.float32 else type(self.model)(self.model.config).to(dtype).eval()

        def run():
            with torch.inference_mode():
                return model(self.ids, attention_mask=self.mask).logits

        return run

    def onnx(self, quantised):
        import onnxruntime

        path = self.folder / ("i8.onnx" if quantised else "f32.onnx")
        if not path.exists():
            self.export(path, quantised)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.bench.options.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {"ids": self.ids.numpy(), "mask": self.mask.numpy()}
        return lambda: session.run(None, feed)[0]

    def export(self, path, quantised):
        from onnxruntime.quantization import QuantType, quantize_dynamic

        if quantised:
            self.onnx(False)
            return quantize_dynamic(str(self.folder / "f32.onnx"), str(path), weight_type=QuantType.QInt8)

        class Logits(torch.nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model = model

            def forward(self, ids, mask):
                return self.model(ids, attention_mask=mask).logits

        with torch.inference_mode():
            torch.onnx.export(
                Logits(self.model), (self.ids, self.mask), str(path), input_names=["ids", "mask"], dynamo=False, opset_version=17,
                dynamic_axes={"ids": {0: "n"}, "mask": {0: "n"}})

    def error(self, run) -> float:
        """Largest error of the first chunk's logits against float64, as a share of the largest logit."""
        double = type(self.model)(self.model.config).double().eval()
        double.load_state_dict(self.model.state_dict())
        n = len(self.batch[0])
        with torch.inference_mode():
            exact = double(self.ids[:1, :n]).logits[0].numpy()
        return float(np.abs(np.asarray(run()[0], np.float64)[:n] - exact).max() / np.abs(exact).max())


def run(bench, row, interleave) -> None:
    """Encoder forward with the classification head. `row` and `interleave` are bench.py's, which imports this."""
    quick = bench.options.quick
    for name, (layers_of_model, kind, config) in MODELS.items():
        layers = 1 if quick else 4
        torch.manual_seed(1)
        model = kind(config(layers)).eval()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            for shape, lengths in {"chunks of 512": [512] * (2 if quick else 8), "ragged chunks": RAGGED[: 3 if quick else 8]}.items():
                case = Case(bench, model, Path(folder), lengths)
                tokens = sum(lengths)
                for precision, goal, peers in [
                    ("f32", "1.15 x torch, ahead of ONNX Runtime",
                     {"torch": case.torch(torch.float32), "ONNX Runtime": case.onnx(False)}),
                    ("bf16", "ahead of torch", {"torch": case.torch(torch.bfloat16)}),
                    ("i8", "1.5 x ONNX Runtime", {"ONNX Runtime": case.onnx(True)}),
                ]:
                    ours = case.ours(precision)
                    t = interleave({"ours": ours, **peers}, seconds=bench.options.seconds, least=1 if quick else 5)
                    peer = next(iter(peers))
                    flop = layers * sum(
                        2 * n * (4 * model.config.hidden_size**2 + 2 * model.config.hidden_size * model.config.intermediate_size)
                        + 4 * n * n * model.config.hidden_size for n in lengths)
                    bench.add(row(
                        "Encoder", f"{name}, {layers} of {layers_of_model} layers, {len(lengths)} {shape} ({tokens} tokens), {precision}",
                        t["ours"].min, t["ours"].median, f"{peer} {precision}", t[peer].min, t[peer].median,
                        {p: t[p].median / t["ours"].median for p in peers}, goal, flop / t["ours"].median / 1e6, "GOP/s",
                        error=case.error(ours),
                        note=f"{1e3 * tokens / t['ours'].median:.0f} tokens/s; whole model "
                             f"{1e3 * tokens / t['ours'].median * layers / layers_of_model:.0f}"))
