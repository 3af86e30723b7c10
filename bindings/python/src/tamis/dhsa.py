"""DHSA v1 (arXiv 2510.24606 v1) in parts: where chunks of keys end, and attention over the best chunks at decode.

>>> predictor = tamis.BoundaryPredictor.load("boundary_predictor.safetensors")
>>> boundaries = tamis.boundaries_from_logits(predictor.run(k), query_block=128)    # k of layer 0; serve every layer
>>> index = tamis.ChunkIndex(kv_heads=8, head_dim=128)                              # one per layer
>>> index.append(k, boundaries)                                                     # the prompt
>>> index.append(k_new)                                                             # a step
>>> out = selector.attend_tokens(text, q, index.select(q, budget=2048))
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np

from . import _ffi
from ._arguments import choice, int32, integer, real
from ._arrays import ArrayLike, Tensor, pointer, read, result
from ._lib import Handle, library
from ._progress import Progress, ProgressCallback
from .context import Context, default_context
from .encoder import _PRECISIONS
from .errors import InvalidArgumentError

POOLINGS = {"sqrt": _ffi.TAMIS_CHUNK_SQRT, "mean": _ffi.TAMIS_CHUNK_MEAN}


class BoundaryPredictor:
    """DHSA's network that marks where a chunk of keys ends. Use :meth:`load`.

    Runs once per prompt: the boundaries of layer 0 serve every layer.
    """

    #: kv_heads * head_dim of the keys it takes.
    width: int
    #: Tokens on each side of a gap that it looks at.
    window: int
    #: Of its attention within a window.
    heads: int

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        width, window, heads = ctypes.c_int32(), ctypes.c_int32(), ctypes.c_int32()
        library().tamis_boundary_predictor_info(
            handle.pointer, ctypes.byref(width), ctypes.byref(window), ctypes.byref(heads))
        self.width, self.window, self.heads = width.value, window.value, heads.value

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], heads: int = 0, *, precision: str = "f32", ctx: Context | None = None
    ) -> BoundaryPredictor:
        """Reads weights: a safetensors file, the published torch state dict (nothing in it is executed), or a folder that holds
        boundary_predictor.safetensors.

        heads: of its attention, which a file does not tell unless its metadata does; 0: the metadata's, else 8.
        precision: "f32", "bf16" or "i8", of the projections and the MLP. ctx: None is :func:`default_context`.
        Raises FileMissingError, FileError, FormatError, UnsupportedError, InvalidArgumentError, OutOfMemoryError.
        """
        context = default_context() if ctx is None else ctx
        made = ctypes.POINTER(_ffi.tamis_boundary_predictor)()
        library().tamis_boundary_predictor_load(
            context._handle.pointer, os.fsencode(path), int32(heads, "heads"), choice(precision, _PRECISIONS, "precision"),
            ctypes.byref(made))
        return cls(Handle(made, "tamis_boundary_predictor_destroy", "BoundaryPredictor", keep=context._handle.keep))

    def run(self, k: ArrayLike, *, progress: Progress = False) -> Any:
        """How strongly a chunk ends after each token.

        k: rotated keys [kv_heads, n, head_dim], float32, float16, bfloat16 or a scaled int8 Tensor.
        Returns logits, float32 [n]; a torch tensor if k is one. Raises InvalidArgumentError (another width), CancelledError.
        """
        keys = read(k, "k")
        if keys.ndim != 3:
            raise InvalidArgumentError(f"k is {list(keys.shape)}, expected [kv_heads, n, head_dim]")
        logits = Tensor.empty((keys.shape[1],))
        with ProgressCallback(progress, "boundaries") as callback:
            library().tamis_boundary_predictor_run(
                self._handle.pointer, ctypes.byref(keys.c()), ctypes.byref(logits.c()), callback, None)
        return result(logits, k)

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> BoundaryPredictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def boundaries_from_logits(
    logits: Any, *, threshold: float = 1.1, min_gap: int = 8, max_per_block: int = 8, query_block: int = 128, window: int = 4,
    instruction_tokens: int = 64,
) -> np.ndarray:
    """Ends of chunks from logits [n]: those above the threshold, best first, each more than `min_gap` tokens from those before
    it, at most n // query_block * max_per_block of them.

    A chunk ends after token n - instruction_tokens (0: no such end), and none that begins later. Ties go to the lower position;
    NaN is no candidate. Returns ascending int64, the first 0, the last n. Raises InvalidArgumentError.
    """
    if hasattr(logits, "detach"):
        logits = logits.detach()
    values = np.ascontiguousarray(logits, np.float32)
    if values.ndim != 1 or values.size == 0:
        raise InvalidArgumentError(f"logits is {list(values.shape)}, expected [n], n from 1")
    options = boundary_options(
        threshold=threshold, min_gap=min_gap, max_per_block=max_per_block, query_block=query_block, window=window,
        instruction_tokens=instruction_tokens)
    found = np.empty(values.size + 1, np.int64)
    count = ctypes.c_int64()
    library().tamis_boundaries_from_logits(
        ctypes.byref(options), pointer(values, ctypes.c_float), values.size, pointer(found, ctypes.c_int64), found.size,
        ctypes.byref(count))
    return found[: count.value].copy()


def boundary_options(**fields: Any) -> _ffi.tamis_boundary_options:
    """The C options with these fields set."""
    options = _ffi.tamis_boundary_options()
    library().tamis_boundary_options_init(ctypes.byref(options))
    for name, value in fields.items():
        if name == "threshold":
            options.threshold = real(value, name)
        elif name == "instruction_tokens":
            options.instruction_tokens = integer(value, name)
        else:
            setattr(options, name, int32(value, name))
    return options


def boundary_list(boundaries: Any) -> np.ndarray:
    """Boundaries as contiguous int64."""
    array = np.asarray(boundaries)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidArgumentError(f"boundaries is {array.dtype}{list(array.shape)}, expected integers [n]")
    return np.ascontiguousarray(array, np.int64)


class ChunkIndex:
    """Chunks of one layer's cached keys that grow with the sequence, for decode with a budget of tokens.

    kv_heads, head_dim
        Of the keys.
    open_tokens
        Generated tokens form a chunk each so many.
    pooling
        "sqrt": a chunk is the sum of its keys over sqrt(length), "mean": over the length.
    sinks, local
        The first tokens, at most a quarter of a budget, and the last ones, which are always selected.

    Raises InvalidArgumentError, OutOfMemoryError.
    """

    def __init__(
        self, *, kv_heads: int = 1, head_dim: int = 64, open_tokens: int = 64, pooling: str = "sqrt", sinks: int = 128,
        local: int = 128, ctx: Context | None = None,
    ) -> None:
        context = default_context() if ctx is None else ctx
        options = _ffi.tamis_chunk_index_options()
        library().tamis_chunk_index_options_init(ctypes.byref(options))
        options.kv_heads, options.head_dim = int32(kv_heads, "kv_heads"), int32(head_dim, "head_dim")
        options.open_tokens, options.pooling = int32(open_tokens, "open_tokens"), choice(pooling, POOLINGS, "pooling")
        options.sinks, options.local = int32(sinks, "sinks"), int32(local, "local")
        made = ctypes.POINTER(_ffi.tamis_chunk_index)()
        library().tamis_chunk_index_create(context._handle.pointer, ctypes.byref(options), ctypes.byref(made))
        self._handle = Handle(made, "tamis_chunk_index_destroy", "ChunkIndex", keep=context._handle.keep)
        self._tokens = 0

    def __len__(self) -> int:
        """Tokens."""
        return self._tokens

    def append(self, k: ArrayLike, boundaries: Any = None) -> None:
        """Adds keys [kv_heads, n, head_dim], of any storage dtype.

        boundaries: ascending from 0 to n, the chunks of these keys (a prompt), which close what was open; None: the keys join
        the open chunk. Raises InvalidArgumentError.
        """
        keys = read(k, "k")
        edges = None if boundaries is None else boundary_list(boundaries)
        library().tamis_chunk_index_append(
            self._handle.pointer, ctypes.byref(keys.c()), pointer(edges, ctypes.c_int64), 0 if edges is None else edges.size)
        self._tokens += keys.shape[1]

    def truncate(self, n_tokens: int) -> None:
        """Forgets tokens from n_tokens on. Raises InvalidArgumentError."""
        n_tokens = integer(n_tokens, "n_tokens")
        library().tamis_chunk_index_truncate(self._handle.pointer, n_tokens)
        self._tokens = n_tokens

    def select(self, q: ArrayLike, budget: int = -1) -> np.ndarray:
        """Tokens for the query q [q_heads, 1, head_dim]: the first, those of the best chunks, the last; ascending int32,
        `budget` of them (all when it is -1 or no less than there are). Raises InvalidArgumentError."""
        query = read(q, "q")
        budget = integer(budget, "budget")
        capacity = self._tokens if budget < 0 else min(budget, self._tokens)
        tokens = np.empty(capacity, np.int32)
        n = ctypes.c_int64()
        library().tamis_chunk_index_select(
            self._handle.pointer, ctypes.byref(query.c()), budget, pointer(tokens, ctypes.c_int32), capacity, ctypes.byref(n))
        return tokens[: n.value]

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> ChunkIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
