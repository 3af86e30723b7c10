"""Hugging Face transformers with libtamis attention: any decoder that calls its attention through ``AttentionInterface``
(Llama, Mistral, Qwen2, Qwen3, Gemma2, Gemma3 and others), on the CPU. Needs torch and transformers 5.

>>> import tamis.integrations.transformers as tt
>>> tt.configure(model, tt.TamisConfig(prefill="dhsa_topk", density=0.125, decode="tokenselect"))
>>> model.set_attn_implementation("tamis")
>>> model.generate(**inputs, cache=tt.TamisCache(model, dtype="bf16"))
>>> print(tt.statistics(model))

Importing this module registers the name "tamis" with transformers. docs/transformers.md of the project says what is supported.
"""

from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from .attention import attend
from .cache import TamisCache
from .calls import Call, Statistics
from .config import DECODE, PREFILL, TamisConfig, configure, statistics
from .masks import make_mask

AttentionInterface.register("tamis", attend)
AttentionMaskInterface.register("tamis", make_mask)

__all__ = ["Call", "DECODE", "PREFILL", "Statistics", "TamisCache", "TamisConfig", "configure", "statistics"]
