"""The metrics area of bench.py: ours against nltk, sacrebleu, torchmetrics, rouge-score, jiwer and rapidfuzz in the same run; these
use one thread.

Ids and lines come from real text (Tests/parity/corpus.py); hypotheses are the references with one token in four changed.
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import tamis
from tamis import metrics

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "Tests" / "parity"))


def words(count):
    """The words of real text, and their ids by first appearance."""
    import corpus

    tokens = corpus.english().split()
    tokens = (tokens * (count // len(tokens) + 1))[:count]
    numbers: dict[str, int] = {}
    return tokens, np.array([numbers.setdefault(t, len(numbers)) for t in tokens], np.int32)


def changed(ids, rng):
    """One token in four becomes another one of the text, and a few are dropped at the end."""
    return np.where(rng.random(ids.shape) < 0.25, rng.permutation(ids.reshape(-1)).reshape(ids.shape), ids)


def run(bench, Row, interleave) -> None:
    warnings.simplefilter("ignore")
    ctx = bench.ctx
    batches(bench, Row, interleave, ctx)
    corpora(bench, Row, interleave, ctx)
    growth(bench, Row, interleave, ctx)


def add(bench, Row, case, times, peers, goal, tokens, wrong, note=""):
    ours = times["ours"]
    first = peers[0]
    bench.add(Row(
        f"Metrics, {bench.options.threads} threads", case, ours.min, ours.median, first, times[first].min, times[first].median,
        {p: times[p].median / ours.median for p in peers}, goal, 1e6 * ours.median / tokens, "ns/token", error=wrong, note=note))


def steady(run, least=0.004):
    """A turn of as many calls as take 4 ms, and their number: a call of 0.1 ms after a peer's of 100 would measure cold caches."""
    run()
    start = time.perf_counter()
    run()
    calls = max(1, round(least / (time.perf_counter() - start)))

    def turn():
        for _ in range(calls):
            run()

    return turn, calls


def each(times, calls):
    """Times of turns as those of one call."""
    times.all = [t / calls for t in times.all]


def batches(bench, Row, interleave, ctx) -> None:
    """Sentence BLEU of ids, as rewards are scored."""
    import nltk.translate.bleu_score as nltk_bleu
    import sacrebleu.metrics
    import torchmetrics.functional.text as torch_text

    rng = np.random.default_rng(1)
    theirs = nltk_bleu.SmoothingFunction().method1
    ours = metrics.SmoothingFunction().method1
    sizes = [(32, 64)] if bench.options.quick else [(32, 64), (32, 256), (32, 1024), (256, 256), (256, 1024), (512, 1024)]
    for count, length in sizes:
        ids = words(count * length)[1].reshape(count, length)
        hypotheses = changed(ids, rng)
        lists = hypotheses.tolist(), [[r] for r in ids.tolist()]
        references = ids[:, None]
        scores = lambda: metrics.sentence_bleus(references, hypotheses, smoothing_function=ours, ctx=ctx)  # noqa: E731
        contestants = {
            "ours": scores,
            "nltk": lambda: [nltk_bleu.sentence_bleu(r, h, smoothing_function=theirs) for h, r in zip(*lists)],
        }
        if count * length <= 1 << 14:
            lines = [" ".join(map(str, h)) for h in lists[0]], [[" ".join(map(str, r)) for r in g] for g in lists[1]]
            contestants["torchmetrics"] = lambda: [torch_text.bleu_score([h], [r]) for h, r in zip(*lines)]
        contestants["ours"], calls = steady(contestants["ours"])
        t = interleave(contestants, seconds=min(bench.options.seconds, 2), least=3)
        each(t["ours"], calls)
        contestants["ours"] = scores
        wrong = float(np.abs(contestants["ours"]() - np.array(contestants["nltk"]())).max())
        add(bench, Row, f"sentence BLEU, {count} x {length} ids", t, [c for c in contestants if c != "ours"],
            "100 x nltk, 300 x torchmetrics", count * length, wrong)
        turn, calls = steady(lambda: metrics.sentence_bleus(lists[1], lists[0], smoothing_function=ours, ctx=ctx))
        lists_only = interleave({"ours": turn, "nltk": contestants["nltk"]}, seconds=min(bench.options.seconds, 1), least=3)
        each(lists_only["ours"], calls)
        add(bench, Row, f"the same from Python lists, {count} x {length}", lists_only, ["nltk"], "", count * length, None)
    count, length = (32, 64) if bench.options.quick else (2000, 30)
    ids = words(count * length)[1].reshape(count, length)
    hypotheses = changed(ids, rng)
    lines = [" ".join(map(str, h)) for h in hypotheses.tolist()], [[" ".join(map(str, r)) for r in ids.tolist()]]
    metric = sacrebleu.metrics.BLEU(tokenize="none", force=True)
    contestants = {
        "ours": lambda: metrics.bleu(hypotheses, ids, corpus=True, ctx=ctx),
        "sacrebleu": lambda: metric.corpus_score(*lines).score,
    }
    t = interleave(contestants, seconds=min(bench.options.seconds, 2), least=3)
    add(bench, Row, f"corpus BLEU without tokenisation, {count} x {length} ids", t, ["sacrebleu"], "50 x sacrebleu", count * length,
        abs(contestants["ours"]() - contestants["sacrebleu"]()))


def corpora(bench, Row, interleave, ctx) -> None:
    """Corpora of lines of text, tokenisation and all."""
    import jiwer
    import sacrebleu.metrics
    from rapidfuzz.distance import Levenshtein
    from rouge_score import rouge_scorer

    rng = random.Random(2)
    count = 60 if bench.options.quick else 1000
    tokens = words(count * 25)[0]
    references = [" ".join(tokens[25 * i : 25 * i + 25]) for i in range(count)]
    hypotheses = [" ".join(rng.choice(tokens) if rng.random() < 0.25 else w for w in r.split()) for r in references]
    total = 25 * count
    seconds = min(bench.options.seconds, 2)

    def compare(case, peer, ours, theirs, goal, error=None):
        t = interleave({"ours": ours, peer: theirs}, seconds=seconds, least=2)
        add(bench, Row, f"{case}, {count} lines", t, [peer], goal, total, error)

    for ours, theirs, case, goal in (
        (metrics.BLEU(ctx=ctx), sacrebleu.metrics.BLEU(), "corpus BLEU with 13a", "20 x sacrebleu"),
        (metrics.CHRF(ctx=ctx), sacrebleu.metrics.CHRF(), "chrF", "50 x sacrebleu"),
        (metrics.CHRF(word_order=2, ctx=ctx), sacrebleu.metrics.CHRF(word_order=2), "chrF++", "50 x sacrebleu"),
        (metrics.TER(ctx=ctx), sacrebleu.metrics.TER(), "TER", ""),
    ):
        def forgetful(theirs=theirs):
            for cached in (getattr(theirs, "tokenizer", None), getattr(theirs, "_tokenizer", None)):
                if hasattr(type(cached).__call__, "cache_clear"):
                    type(cached).__call__.cache_clear()
                inner = getattr(cached, "_post_tokenizer", None)
                if inner is not None and hasattr(type(inner).__call__, "cache_clear"):
                    type(inner).__call__.cache_clear()
            return theirs.corpus_score(hypotheses, [references])

        wrong = abs(ours.corpus_score(hypotheses, [references]).score - forgetful().score)
        compare(case, "sacrebleu", lambda ours=ours: ours.corpus_score(hypotheses, [references]), forgetful, goal, wrong)

    for kind in ("rouge2", "rougeL", "rougeLsum"):
        ours, theirs = metrics.RougeScorer([kind], ctx=ctx), rouge_scorer.RougeScorer([kind])
        compare(kind, "rouge-score", lambda: ours.score_batch(references, hypotheses),
                lambda: [theirs.score(r, h) for r, h in zip(references, hypotheses)], "50 x rouge-score" if kind == "rougeL" else "")
    compare("WER", "jiwer", lambda: metrics.wer(references, hypotheses), lambda: jiwer.wer(references, hypotheses), "2 x jiwer",
            abs(metrics.wer(references, hypotheses) - jiwer.wer(references, hypotheses)))
    compare("CER", "jiwer", lambda: metrics.cer(references, hypotheses), lambda: jiwer.cer(references, hypotheses), "2 x jiwer")
    compare("Levenshtein distances of lines", "rapidfuzz", lambda: metrics.edit_distance(
        metrics.WordIDs(references, "code-points").lists(), metrics.WordIDs(hypotheses, "code-points").lists(), ctx=ctx),
        lambda: [Levenshtein.distance(r, h) for r, h in zip(references, hypotheses)], "")


def growth(bench, Row, interleave, ctx) -> None:
    """Cost against size: linear up to ten million tokens."""
    rng = np.random.default_rng(3)
    for tokens in (100_000,) if bench.options.quick else (1_000_000, 3_000_000, 10_000_000):
        ids = words(tokens)[1].reshape(-1, 100)
        hypotheses = changed(ids, rng)
        t = interleave({"ours": lambda: metrics.bleu(hypotheses, ids, corpus=True, ctx=ctx)}, seconds=1, least=2)["ours"]
        bench.add(Row(
            f"Metrics, {bench.options.threads} threads", f"corpus BLEU of {tokens} ids, 100 a line", t.min, t.median,
            rate=1e6 * t.median / tokens, unit="ns/token"))
