"""Tamis: token selection for long-context language models.

A paged KV cache, exact attention, and attention over the few cached tokens that a query needs (StreamingLLM, TokenSelect); prompt
compression (LLMLingua-2 and others), tokenizers and encoders. numpy arrays in and out; torch tensors go in and come out without
a copy, through DLPack.

>>> cache = tamis.KVCache(kv_heads=8, head_dim=128, max_tokens=65536)
>>> text = cache.sequence()
>>> text.append(k, v)                                       # [8, n, 128]
>>> selector = tamis.Selector(cache, tamis.TokenSelect(top_k=2048), q_heads=32)
>>> out = selector.attend(text, q)                          # [32, 1, 128]: the last token's queries

>>> tamis.PromptCompressor().compress_prompt(text, rate=0.5)["compressed_prompt"]
"""

from . import metrics, signals
from ._arrays import Tensor
from .annotation import Annotation, AnnotationReport, annotate, annotate_file, filter_annotations
from .attention import attention, merge
from .clusters import Clusters, cluster
from .compression import CompressedContext, Compression, PromptCompressor, default_model_path
from .context import Context, build_info, default_context, version
from .dhsa import BoundaryPredictor, ChunkIndex, boundaries_from_logits
from .encoder import Encoder, EncoderInfo
from .errors import (
    BufferTooSmallError, CacheFullError, CancelledError, DeviceError, FileError, FileMissingError, FormatError, InternalError,
    InvalidArgumentError, LibraryNotFoundError, NoDeviceError, NotFoundError, OutOfMemoryError, TamisError, UnsupportedError,
)
from .kv import KVCache, KVMemory, KVOptions, RoPE, Sequence, SnapshotInfo, snapshot_info
from .ops import convert, rope, top_k
from .retrieval import DenseAttention, Method, Selector, Stats, StreamingLLM, TokenSelect
from .sinks import (
    ActResult, ActState, ZeroTuningResult, act_attention, act_search, zero_tuning_bias, zero_tuning_search,
)
from .sparse_attention import SparseMask, SparseStats, TileLists, sparse_attention
from .sparse_prefill import SparseOptions, sparse_prefill, sparse_select
from .text_scores import (
    SpecPC, TextSelection, byte_spans, keep_informative, kept_spans, kept_text, selective_context, self_information, split_text,
    unit_scores,
)
from .tokenizer import Encoding, Tokenizer, TokenStream
from .weights import SafeTensors, open_safetensors

__version__ = "0.1.0"

__all__ = [
    "ActResult", "ActState", "Annotation", "AnnotationReport", "BoundaryPredictor", "BufferTooSmallError", "CacheFullError",
    "CancelledError", "ChunkIndex", "Clusters", "CompressedContext", "Compression", "Context", "DenseAttention",
    "DeviceError", "Encoder", "EncoderInfo", "Encoding", "FileError", "FileMissingError", "FormatError", "InternalError",
    "InvalidArgumentError", "KVCache", "KVMemory", "KVOptions", "LibraryNotFoundError", "Method", "NoDeviceError",
    "NotFoundError", "OutOfMemoryError", "PromptCompressor", "RoPE", "SafeTensors", "Selector", "Sequence", "SnapshotInfo",
    "SparseMask", "SparseOptions", "SparseStats", "SpecPC", "Stats", "StreamingLLM", "TamisError", "Tensor", "TextSelection",
    "TileLists", "TokenSelect", "TokenStream", "Tokenizer", "UnsupportedError", "ZeroTuningResult", "act_attention",
    "act_search", "annotate", "annotate_file", "attention", "boundaries_from_logits", "build_info", "byte_spans", "cluster",
    "convert", "default_context", "default_model_path", "filter_annotations", "keep_informative", "kept_spans", "kept_text",
    "merge", "metrics", "open_safetensors", "rope", "selective_context", "self_information", "signals", "snapshot_info",
    "sparse_attention", "sparse_prefill", "sparse_select", "split_text", "top_k", "unit_scores", "version",
    "zero_tuning_bias", "zero_tuning_search",
]
