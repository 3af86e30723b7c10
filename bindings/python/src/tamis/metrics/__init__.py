"""Token metrics: every score equal to its reference package, from one core of integer n-gram statistics.

>>> from tamis.metrics import sentence_bleu, SmoothingFunction          # NLTK's arguments and bits
>>> sentence_bleu([reference_ids], ids, smoothing_function=SmoothingFunction().method1)
>>> tamis.metrics.BLEU().corpus_score(hypotheses, [references])         # sacreBLEU's objects, numbers and signatures
>>> tamis.metrics.bleu(candidates, references)                          # rewards: [B, K, T] against [B, R, T] in one call
>>> tamis.metrics.logit_metrics(logits, targets, "nll", "entropy")      # [T, V] of any float dtype, one pass
"""

from ._bleu import Ragged, TokenBatch, bleu, ngram_statistics, tensor_corpus_bleu, tensor_sentence_bleu
from ._running import BootstrapAggregator, CharErrorRate, ROUGEScore, WordErrorRate, novelty, prefix_matches
from ._logits import (
    LogitSummary, Perplexity, adaptive_calibration_error, contrastive_log_probs, fit_temperature, logit_divergence,
    logit_metrics, sliding_windows,
)
from ._sequence import (
    ErrorRates, RougeScorer, alignment, cer, distinct_n, edit_distance, error_rates, mer, meteor_ids, process_characters,
    process_words, repetition, rouge_ids, rouge_lsum_ids, self_bleu, squad, token_f1, wer, wil, wip,
)
from ._tokenization import TokenReport, TokenStatistics, TokenSums, tokenization_score
from ._words import WordIDs
from .charbench import CharBench
from .nltk import SmoothingFunction, corpus_bleu, sentence_bleu, sentence_bleus
from .sacrebleu import BLEU, CHRF, TER

__all__ = [
    "BLEU", "BootstrapAggregator", "CHRF", "CharBench", "CharErrorRate", "ErrorRates", "LogitSummary", "Perplexity",
    "ROUGEScore", "Ragged", "RougeScorer", "SmoothingFunction", "TER", "TokenBatch", "TokenReport", "TokenStatistics",
    "TokenSums", "WordErrorRate", "WordIDs", "adaptive_calibration_error", "alignment", "bleu", "cer",
    "contrastive_log_probs", "corpus_bleu", "distinct_n", "edit_distance", "error_rates", "fit_temperature",
    "logit_divergence", "logit_metrics", "mer", "meteor_ids", "ngram_statistics", "novelty", "prefix_matches",
    "process_characters", "process_words", "repetition", "rouge_ids", "rouge_lsum_ids", "self_bleu", "sentence_bleu",
    "sentence_bleus", "sliding_windows", "squad", "tensor_corpus_bleu", "tensor_sentence_bleu", "token_f1",
    "tokenization_score", "wer", "wil", "wip",
]
