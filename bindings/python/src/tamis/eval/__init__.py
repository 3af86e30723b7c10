"""Evaluation of sparse prefill on a model: needle accuracy by depth and length, attention mass kept against the best
selection of the same size, error of the output, density, time and memory.

    python -m tamis.eval --model haystack --methods dense dhsa_topk dhsa block --lengths 256 512 --out build/eval
    tamis eval ...                                                       the same through the command line of the library

The haystack model needs numpy only. Any other model is a transformers one and needs torch and transformers
(:mod:`tamis.integrations.transformers`). docs/eval.md of the project says what every figure means.
"""

from .evaluation import Evaluation, LayerResult, Picture, evaluate
from .haystack_model import HaystackModel, find_haystack
from .mass import Comparison, compare, oracle_mass, row_mass, tile_mass
from .memory import PeakMemory
from .methods import EvalMethod, PromptAttention, parse_methods
from .needles import Question, Recall, RecallTable, SentenceNeedles, TokenNeedles, wilson

__all__ = [
    "Comparison", "EvalMethod", "Evaluation", "HaystackModel", "LayerResult", "PeakMemory", "Picture", "PromptAttention",
    "Question", "Recall", "RecallTable", "SentenceNeedles", "TokenNeedles", "compare", "evaluate", "find_haystack", "oracle_mass",
    "parse_methods", "row_mass", "tile_mass", "wilson",
]
