"""The compress area of bench.py: PromptCompressor.compress_prompt against llmlingua 0.2.2 on the same random-weight model, what
is spent outside the encoder, what low precision changes, and the speed of the compressor that ships.

The model has multilingual BERT's layers and a toy vocabulary (Tests/parity/compression_models.py); both count with the same ranks.
Weights are random, so texts are compressed to nonsense: only the time means something, and the agreement between precisions.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import tamis

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests" / "parity"))

#: One long text, and the documents of a retrieval, of which llmlingua's default drops some whole.
CONTEXTS = {"one text": lambda text: text * 3, "six documents": lambda text: [text[i * 90: i * 90 + 700] for i in range(6)]}


def make(root: Path, layers: int):
    import compression_models
    import llmlingua
    import tiktoken
    import transformers

    folder = root / "toy-bert-base-multilingual-cased"
    vocabulary = compression_models.word_piece(folder)
    config = transformers.BertConfig(vocab_size=vocabulary, num_hidden_layers=layers, max_position_embeddings=512, num_labels=2)
    compression_models.save_model(folder, config, transformers.BertForTokenClassification)
    ranks = root / "cl100k_base.tiktoken"
    encoding = compression_models.ranks(ranks)
    real, tiktoken.encoding_for_model = tiktoken.encoding_for_model, lambda name: encoding
    try:
        logging.disable(logging.WARNING)
        theirs = llmlingua.PromptCompressor(str(folder), device_map="cpu", use_llmlingua2=True)
    finally:
        tiktoken.encoding_for_model = real
        logging.disable(logging.NOTSET)
    return folder, ranks, theirs, compression_models.TEXT


def run(bench, row, interleave) -> None:
    """`row` and `interleave` are bench.py's, which imports this."""
    quick = bench.options.quick
    layers = 1 if quick else 12
    with tempfile.TemporaryDirectory() as root:
        folder, ranks, theirs, text = make(Path(root), layers)
        for name, cut in CONTEXTS.items():
            context = cut(text)
            kept = {}
            for precision in ("f32", "bf16", "i8"):
                ours = tamis.PromptCompressor(folder, counting=ranks, precision=precision, ctx=bench.ctx)
                t = interleave(
                    {"ours": lambda: ours.compress_prompt(context), "llmlingua": lambda: theirs.compress_prompt(context)},
                    seconds=bench.options.seconds, least=1 if quick else 3)
                done = ours.compress(context)
                kept[precision] = np.concatenate([c.word_kept for c in done.contexts])
                changed = float((kept[precision] != kept["f32"]).mean())
                outside = 1 - done.encoder_seconds / done.seconds
                note = f"outside the encoder {100 * outside:.1f} %; words decided otherwise than f32 {100 * changed:.1f} %"
                bench.add(row(
                    "Compress", f"{name}, mBERT with {layers} layers, {done.encoder_tokens} tokens, {precision}", t["ours"].min,
                    t["ours"].median, "llmlingua 0.2.2 f32", t["llmlingua"].min, t["llmlingua"].median,
                    {"llmlingua": t["llmlingua"].median / t["ours"].median}, "4 x llmlingua",
                    done.encoder_tokens / t["ours"].median, "tokens/ms", note=note))
    shipped(bench, row)


def shipped(bench, row) -> None:
    try:
        compressor = tamis.PromptCompressor(ctx=bench.ctx)
    except tamis.FileMissingError:
        return
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    text *= 1 if bench.options.quick else 4
    times = []
    for _ in range(6):
        start = time.perf_counter()
        done = compressor.compress(text, rate=0.33, progress=False)
        times.append(1e3 * (time.perf_counter() - start))
    median = float(np.median(times[1:]))
    outside = 1 - done.encoder_seconds / done.seconds
    bench.add(row(
        "Compress", f"compressor-en, {done.encoder_tokens} tokens, i8", min(times), median, goal="30 000 tokens/s",
        rate=done.encoder_tokens / median, unit="tokens/ms",
        note=f"{1e3 * done.encoder_tokens / median:.0f} tokens/s; outside the encoder {100 * outside:.1f} %"))
