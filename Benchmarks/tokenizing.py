"""The tokenizer area of bench.py: encode with offsets, one thread, against `tokenizers`, `sentencepiece` and `tiktoken` on one text.

Vocabularies are trained here on the text of the parity tests, in the layouts of published models (Tests/parity/layouts.py);
$TAMIS_TEST_DATA/tokenizers adds a published one.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from pathlib import Path

import tamis

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "Tests" / "parity"))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def texts(quick):
    """400 KB of prose and some 100 KB in all scripts, in texts of 2000 characters, as prompts are cut."""
    import corpus

    size = 40_000 if quick else 400_000
    for name, text in (("English", corpus.english()[:size]), ("22 scripts", corpus.mixed(size // 40))):
        yield name, [text[i : i + 2000] for i in range(0, len(text), 2000)]


def published(name):
    path = Path(os.environ.get("TAMIS_TEST_DATA") or ROOT.parent / "shared" / "data") / "tokenizers" / name
    return path if path.is_file() else None


def pairs():
    """(case, our tokenizer, peer's name, peer's encode)"""
    import layouts
    import tokenizers

    vocab = published("bert-base-uncased-vocab.txt")
    if vocab:
        theirs = tokenizers.BertWordPieceTokenizer(str(vocab))
        yield "WordPiece, BERT uncased, 30522 pieces", tamis.Tokenizer(vocab), "tokenizers", theirs.encode
    for case, layout in [
        ("WordPiece, BERT layout", "bert_cased"), ("Unigram, XLM-R layout", "xlmr"), ("BPE, GPT-2 layout", "gpt2"),
        ("BPE, Llama-3 layout", "llama3"), ("BPE, Qwen2 layout", "qwen2"), ("BPE, Gemma layout", "gemma"),
    ]:
        text = layouts.make(layout).to_str()
        yield case, tamis.Tokenizer.from_str(text), "tokenizers", tokenizers.Tokenizer.from_str(text).encode
    yield sentencepiece("unigram")
    yield sentencepiece("bpe")
    yield tiktoken()


def sentencepiece(kind):
    import layouts
    import sentencepiece

    model = io.BytesIO()
    lines = [line for text in layouts.training_text() for line in text.split("\n")]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=4000, model_type=kind, character_coverage=0.985, minloglevel=2,
        num_threads=1, hard_vocab_limit=False)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ours = tamis.Tokenizer.from_bytes(model.getvalue(), "sentencepiece")
    return f"SentencePiece {kind}", ours, "sentencepiece (ids only)", theirs.encode


def tiktoken():
    import layouts
    import tiktoken

    order = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    bytes_of = {chr(b): b for b in order}
    bytes_of.update({chr(0x100 + i): b for i, b in enumerate(b for b in range(256) if b not in order)})
    vocab = json.loads(layouts.trained_byte_level(layouts.CL100K))["model"]["vocab"]
    ranks = {bytes(bytes_of[c] for c in piece): id for piece, id in vocab.items()}
    file = "".join(f"{base64.b64encode(piece).decode()} {rank}\n" for piece, rank in ranks.items())
    theirs = tiktoken.Encoding("toy", pat_str=layouts.CL100K, mergeable_ranks=ranks, special_tokens={})
    ours = tamis.Tokenizer.from_bytes(file.encode(), "tiktoken", pattern=layouts.CL100K)
    return "tiktoken, cl100k pattern", ours, "tiktoken (ids only)", theirs.encode_ordinary


def run(bench, Row, interleave) -> None:
    tokenizers = list(pairs())
    for language, cut in texts(bench.options.quick):
        size = sum(len(text.encode()) for text in cut)
        for case, ours, peer, encode in tokenizers:
            t = interleave({
                "ours": lambda: [ours.encode(text) for text in cut],
                peer: lambda: [encode(text) for text in cut],
            }, seconds=min(bench.options.seconds, 1.5), least=3)
            found = [ours.encode(text).ids.tolist() for text in cut]
            expected = [getattr(e, "ids", e) for e in map(encode, cut)]
            wrong = sum(a != b for a, b in zip(found, expected))
            bench.add(Row(
                "Tokenizers, one thread", f"{case}: {language}", t["ours"].min, t["ours"].median, peer, t[peer].min, t[peer].median,
                {peer.split()[0]: t[peer].median / t["ours"].median}, "2 x tokenizers" if peer == "tokenizers" else "",
                size / t["ours"].median / 1e3, "MB/s", error=float(wrong),
                note=f"{sum(map(len, found))} tokens; peer {size / t[peer].median / 1e3:.1f} MB/s; error: texts that differ"))
