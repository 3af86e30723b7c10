"""A paged KV cache for many sequences, and its snapshots."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import _ffi
from ._arguments import choice, int32, integer
from ._arrays import ArrayLike, Tensor, dtype_code, name_of_code, read, result
from ._lib import Handle, library
from ._progress import Progress, ProgressCallback
from .context import Context, default_context
from .errors import BufferTooSmallError, InvalidArgumentError, TamisError

_STYLES = {"none": _ffi.TAMIS_ROPE_NONE, "half": _ffi.TAMIS_ROPE_HALF, "interleaved": _ffi.TAMIS_ROPE_INTERLEAVED}
_STYLE_NAMES = {number: name for name, number in _STYLES.items()}


@dataclass(frozen=True)
class RoPE:
    """Rotary position embedding (arXiv 2104.09864): pair i is rotated by ``position * scale * base**(-2 i / rotary_dims)``.

    style
        "half": pairs (i, i + rotary_dims / 2), as Hugging Face and GPT-NeoX; "interleaved": pairs (2 i, 2 i + 1), as GPT-J;
        "none": no rotation.
    rotary_dims
        Dimensions that turn; 0: the whole head; else even. The rest passes.
    base
        10000 in LLaMA 1 and 2, 500000 in Llama 3, 1e6 in Qwen2.
    scale
        Position interpolation by factor f is 1 / f.
    """

    style: str = "half"
    rotary_dims: int = 0
    base: float = 10000.0
    scale: float = 1.0

    def c(self) -> _ffi.tamis_rope:
        return _ffi.tamis_rope(
            choice(self.style, _STYLES, "rope.style"), int32(self.rotary_dims, "rope.rotary_dims"), self.base, self.scale)


@dataclass(frozen=True)
class KVOptions:
    """Shape and storage of a cache. Fields as the arguments of :class:`KVCache`."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: str
    page_tokens: int
    max_tokens: int
    rope: RoPE | None
    scoring_copy: str | None


@dataclass(frozen=True)
class KVMemory:
    """Use of a cache's memory. Pages hold page_tokens tokens of every layer; bytes include scales and the scoring copy."""

    sequences: int
    pages_total: int
    #: By at least one sequence.
    pages_used: int
    #: By two or more.
    pages_shared: int
    page_bytes: int
    bytes_used: int
    bytes_scoring_copy: int
    #: Sum over sequences of the longest layer; shared tokens count once per sequence.
    tokens: int


@dataclass(frozen=True)
class SnapshotInfo:
    """What the head of a snapshot says: the options a cache needs to restore it, and the number of sequences."""

    options: KVOptions
    sequences: int


class KVCache:
    """Keys and values of all layers of one model, for many sequences.

    With a `rope` the cache expects *un-rotated* keys, and attention rotates queries and keys at use, so that a method may
    place a retrieved key wherever it wants (TokenSelect, arXiv 2411.02886).

    Parameters
    ----------
    layers, kv_heads, head_dim
        Of the model; head_dim is a multiple of 8 from 8 to 256.
    dtype
        "f32", "f16", "bf16" or "i8" (one scale per row, chosen at append: max|x| / 127).
    page_tokens
        A multiple of 16 from 16 to 4096.
    max_tokens
        Capacity over all sequences, rounded up to pages. Memory is taken page by page.
    rope
        None: keys and queries are taken as given.
    scoring_copy
        "bf16" or "i8": a second copy of the keys, read only when tokens are scored; attention always reads the keys.
    ctx
        None: :func:`default_context`.

    Raises InvalidArgumentError, UnsupportedError, OutOfMemoryError, DeviceError.
    """

    def __init__(
        self, *, layers: int = 1, kv_heads: int = 1, head_dim: int = 64, dtype: Any = "f32", page_tokens: int = 64,
        max_tokens: int = 4096, rope: RoPE | None = None, scoring_copy: Any = None, ctx: Context | None = None,
    ) -> None:
        lib = library()
        options = _ffi.tamis_kv_options()
        lib.tamis_kv_options_init(ctypes.byref(options))
        options.layers = int32(layers, "layers")
        options.kv_heads = int32(kv_heads, "kv_heads")
        options.head_dim = int32(head_dim, "head_dim")
        options.dtype = dtype_code(dtype)
        options.page_tokens = int32(page_tokens, "page_tokens")
        options.max_tokens = integer(max_tokens, "max_tokens")
        if rope is not None:
            options.rope = rope.c()
        if scoring_copy is not None:
            options.scoring_copy = dtype_code(scoring_copy, "scoring_copy")
        context = default_context() if ctx is None else ctx
        pointer = ctypes.POINTER(_ffi.tamis_kv_cache)()
        lib.tamis_kv_create(context._handle.pointer, ctypes.byref(options), ctypes.byref(pointer))
        # The cache keeps the context's core alive in C, which may log: so the callback must outlive the cache.
        self._handle = Handle(pointer, "tamis_kv_destroy", "KVCache", keep=context._handle.keep)
        self.context = context

    @classmethod
    def from_snapshot(
        cls, path: str | os.PathLike[str], *, max_tokens: int | None = None, scoring_copy: Any = "as saved",
        progress: Progress = None, ctx: Context | None = None,
    ) -> tuple[KVCache, list[Sequence]]:
        """A cache made for a snapshot, with its sequences. max_tokens: None is what the snapshot takes."""
        found = snapshot_info(path).options
        cache = cls(
            layers=found.layers, kv_heads=found.kv_heads, head_dim=found.head_dim, dtype=found.dtype,
            page_tokens=found.page_tokens, max_tokens=max_tokens or max(found.max_tokens, found.page_tokens), rope=found.rope,
            scoring_copy=found.scoring_copy if scoring_copy == "as saved" else scoring_copy, ctx=ctx)
        return cache, cache.restore(path, progress=progress)

    @property
    def options(self) -> KVOptions:
        """The options in effect, as asked for and rounded."""
        options = _ffi.tamis_kv_options(struct_size=ctypes.sizeof(_ffi.tamis_kv_options))
        library().tamis_kv_get_options(self._handle.pointer, ctypes.byref(options))
        return _options(options)

    def sequence(self) -> Sequence:
        """A new, empty sequence. Its pages are freed when the object is closed or collected."""
        identity = _ffi.tamis_sequence()
        library().tamis_kv_sequence_create(self._handle.pointer, ctypes.byref(identity))
        return Sequence(self, identity.value)

    def memory(self) -> KVMemory:
        """What the cache takes now."""
        report = _ffi.tamis_kv_memory(struct_size=ctypes.sizeof(_ffi.tamis_kv_memory))
        library().tamis_kv_memory_report(self._handle.pointer, ctypes.byref(report))
        return KVMemory(**{name: getattr(report, name) for name in KVMemory.__dataclass_fields__})

    def save(
        self, path: str | os.PathLike[str], sequences: Iterable[Sequence] | None = None, *, level: int = 3,
        progress: Progress = None,
    ) -> None:
        """Writes sequences to a file of zstd frames with checksums; `path` is replaced by the whole new file or not at all.

        sequences: None is all, in order of creation. level: of zstd, 1 to 19. Shared pages are written once.
        Raises InvalidArgumentError, NotFoundError, FileError, OutOfMemoryError, CancelledError.
        """
        names, count = None, 0
        if sequences is not None:
            listed = [self._name_of(s) for s in sequences]
            if not listed:
                raise InvalidArgumentError("sequences is empty, expected None (all) or at least one")
            names, count = (_ffi.tamis_sequence * len(listed))(*listed), len(listed)
        with ProgressCallback(progress, "save") as callback:
            library().tamis_kv_save(
                self._handle.pointer, names, count, os.fsencode(path), int32(level, "level"), callback, None)

    def restore(self, path: str | os.PathLike[str], *, progress: Progress = None) -> list[Sequence]:
        """Adds the sequences of a snapshot to this cache, which has the same layers, kv_heads, head_dim, dtype, page_tokens
        and rope; returns them in the order in which they were saved. All or nothing.

        Raises InvalidArgumentError, FileMissingError (a FileNotFoundError), FileError, FormatError, CacheFullError,
        CancelledError.
        """
        n = ctypes.c_int32(0)
        capacity = 16
        with ProgressCallback(progress, "restore") as callback:
            while True:
                names = (_ffi.tamis_sequence * capacity)()
                try:
                    library().tamis_kv_restore(
                        self._handle.pointer, os.fsencode(path), names, capacity, ctypes.byref(n), callback, None)
                    break
                except BufferTooSmallError:
                    if n.value <= capacity:
                        raise
                    capacity = n.value
        return [Sequence(self, names[i]) for i in range(n.value)]

    def close(self) -> None:
        """Frees the cache; selectors made from it stay usable, its sequences do not."""
        self._handle.close()

    def __enter__(self) -> KVCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _name_of(self, sequence: Sequence) -> int:
        if not isinstance(sequence, Sequence):
            raise InvalidArgumentError(f"sequence is a {type(sequence).__name__}, expected a tamis.Sequence")
        if sequence.cache is not self:
            raise InvalidArgumentError(f"sequence {sequence.id} belongs to another cache")
        return sequence.id


class Sequence:
    """The tokens of one text in a cache. Made by :meth:`KVCache.sequence`, :meth:`fork` and :meth:`KVCache.restore`."""

    def __init__(self, cache: KVCache, identity: int) -> None:
        self.cache = cache
        #: Its name in the cache; never reused.
        self.id = identity
        self._finalizer = weakref.finalize(self, _destroy_sequence, cache._handle, identity)

    def append(self, k: ArrayLike, v: ArrayLike, layer: int = 0) -> None:
        """Appends n tokens to one layer.

        k, v: [kv_heads, n, head_dim], float32, float16, bfloat16 or int8 with scales; rows contiguous. Layers may be
        appended in any order. Raises InvalidArgumentError, NotFoundError, CacheFullError (nothing was appended),
        OutOfMemoryError, DeviceError.
        """
        tk, tv = read(k, "k"), read(v, "v")
        library().tamis_kv_append(
            self.cache._handle.pointer, self.id, int32(layer, "layer"), ctypes.byref(tk.c()), ctypes.byref(tv.c()))

    def length(self, layer: int = 0) -> int:
        """Tokens held by one layer."""
        n = ctypes.c_int64()
        library().tamis_kv_length(self.cache._handle.pointer, self.id, int32(layer, "layer"), ctypes.byref(n))
        return n.value

    def __len__(self) -> int:
        return self.length(0)

    def fork(self, n_tokens: int | None = None) -> Sequence:
        """A new sequence that shares the first n_tokens (None: all that every layer has) without copying whole pages.
        Raises InvalidArgumentError (n_tokens beyond the shortest layer), NotFoundError."""
        n = -1 if n_tokens is None else integer(n_tokens, "n_tokens")
        if n_tokens is not None and n < 0:
            raise InvalidArgumentError(f"n_tokens is {n}, expected at least 0")
        identity = _ffi.tamis_sequence()
        library().tamis_kv_sequence_fork(self.cache._handle.pointer, self.id, n, ctypes.byref(identity))
        return Sequence(self.cache, identity.value)

    def truncate(self, n_tokens: int) -> None:
        """Drops every token from n_tokens on, in every layer; selectors forget what they cached for it."""
        library().tamis_kv_truncate(self.cache._handle.pointer, self.id, integer(n_tokens, "n_tokens"))

    def read(self, start: int = 0, stop: int | None = None, layer: int = 0, dtype: Any = "f32") -> tuple[Any, Any]:
        """Keys and values of tokens [start, stop) as stored (un-rotated): two arrays [kv_heads, n, head_dim] of float32,
        float16 or bfloat16. stop: None is the end of the layer."""
        end = self.length(layer) if stop is None else integer(stop, "stop")
        start = integer(start, "start")
        if not 0 <= start <= end:
            raise InvalidArgumentError(f"start is {start}, expected 0 to stop, {end}")
        options = self.cache.options
        shape = (options.kv_heads, end - start, options.head_dim)
        k, v = Tensor.empty(shape, dtype), Tensor.empty(shape, dtype)
        if start == end:
            self.length(layer)
            return result(k, None), result(v, None)
        library().tamis_kv_read(
            self.cache._handle.pointer, self.id, int32(layer, "layer"), start, ctypes.byref(k.c()), ctypes.byref(v.c()))
        return result(k, None), result(v, None)

    def close(self) -> None:
        """Frees the pages that no other sequence shares."""
        self._finalizer()

    def __enter__(self) -> Sequence:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"tamis.Sequence(id={self.id})"


def snapshot_info(path: str | os.PathLike[str]) -> SnapshotInfo:
    """Reads the head of a snapshot. max_tokens of the options is what its pages take.
    Raises FileMissingError, FileError, FormatError."""
    options = _ffi.tamis_kv_options(struct_size=ctypes.sizeof(_ffi.tamis_kv_options))
    n = ctypes.c_int32()
    library().tamis_kv_snapshot_info(os.fsencode(path), ctypes.byref(options), ctypes.byref(n))
    return SnapshotInfo(_options(options), n.value)


def _options(o: _ffi.tamis_kv_options) -> KVOptions:
    rope = None
    if o.rope.style != _ffi.TAMIS_ROPE_NONE:
        rope = RoPE(_STYLE_NAMES[o.rope.style], o.rope.rotary_dims, o.rope.base, o.rope.scale)
    copy = None if o.scoring_copy < 0 else name_of_code(o.scoring_copy)
    return KVOptions(o.layers, o.kv_heads, o.head_dim, name_of_code(o.dtype), o.page_tokens, o.max_tokens, rope, copy)


def _destroy_sequence(handle: Handle, identity: int) -> None:
    if handle.alive:
        try:
            library().tamis_kv_sequence_destroy(handle.pointer, identity)
        except (TamisError, ValueError):  # nobody is there to be told
            pass
