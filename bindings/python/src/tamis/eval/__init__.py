"""Evaluation of sparse prefill on a model: needle accuracy by depth and length, attention mass kept against the best
selection of the same size, error of the output, density, time and memory.

    python -m tamis.eval --model haystack --methods dense dhsa_topk dhsa block --lengths 256 512 --out build/eval
    tamis eval ...                                                       the same through the command line of the library

The haystack model needs numpy only. Any other model is a transformers one and needs torch and transformers
(:mod:`tamis.integrations.transformers`). Tasks that are asked in words: ``--task needle-threading`` (:class:`NeedleTask`, arXiv
2411.05000) and ``--task charbench``. docs/eval.md of the project says what every figure means.
"""

from .evaluation import Evaluation, LayerResult, Picture, evaluate
from .haystack_model import HaystackModel, find_haystack
from .mass import Comparison, compare, oracle_mass, row_mass, tile_mass
from .memory import PeakMemory
from .methods import EvalMethod, PromptAttention, parse_methods
from .needle_threading import NeedleScore, NeedleTask, effective_context_length, wilson_interval
from .needles import Question, Recall, RecallTable, SentenceNeedles, TokenNeedles, wilson
from .tasks import CharBenchRun, Configuration, TaskRun, configurations, run_charbench, run_needle_threading, run_own_wording

__all__ = [
    "CharBenchRun", "Comparison", "Configuration", "EvalMethod", "Evaluation", "HaystackModel", "LayerResult", "NeedleScore",
    "NeedleTask", "PeakMemory", "Picture", "PromptAttention", "Question", "Recall", "RecallTable", "SentenceNeedles", "TaskRun",
    "TokenNeedles", "compare", "configurations", "effective_context_length", "evaluate", "find_haystack", "oracle_mass",
    "parse_methods", "row_mass", "run_charbench", "run_needle_threading", "run_own_wording", "tile_mass", "wilson",
    "wilson_interval",
]
