"""Token sequences on their way to C: lists of anything hashable, padded arrays with lengths, values with offsets."""

from __future__ import annotations

import ctypes
import itertools
import struct
from array import array
from collections import defaultdict
from collections.abc import Hashable, Sequence
from ctypes import c_int32, c_int64
from typing import Any

import numpy as np

from .. import _ffi
from .._arrays import pointer
from ..errors import InvalidArgumentError


class TokenLists:
    """Sequences of token ids, int32, as C takes them: ragged (`offsets` int64 [n + 1]) or padded (`ids` [n, width] and `lengths`)."""

    def __init__(self, ids: np.ndarray, offsets: np.ndarray | None = None, lengths: np.ndarray | None = None) -> None:
        self.ids, self.offsets, self.lengths = ids, offsets, lengths
        self.count = len(ids) if offsets is None else len(offsets) - 1

    def c(self) -> Any:
        """The struct; it points into this object's arrays."""
        raw = _ffi.tamis_token_lists()
        raw.ids = pointer(self.ids, c_int32) if self.ids.size else None
        if self.offsets is None:
            raw.width = self.ids.shape[1]
            if self.lengths is not None:
                raw.lengths = pointer(self.lengths, c_int64)
        else:
            raw.starts = pointer(self.offsets, c_int64)
        raw.count = self.count
        return raw

    def ref(self) -> Any:
        self._c = self.c()
        return ctypes.byref(self._c)


class Ragged:
    """Sequences one after another: sequence i is ``values[offsets[i]:offsets[i + 1]]``. values: integers; offsets: [n + 1]."""

    def __init__(self, values: Any, offsets: Any) -> None:
        self.values, self.offsets = values, offsets


def host(value: Any) -> Any:
    """A torch tensor as its numpy array; anything else as it is."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def int32_ids(values: Any, argument: str) -> np.ndarray:
    """Integers as int32, contiguous. Raises InvalidArgumentError for what does not fit."""
    ids = np.asarray(host(values))
    if ids.size == 0:
        return np.empty(ids.shape, np.int32)
    if ids.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{argument} is {ids.dtype}{list(ids.shape)}, expected integers")
    if ids.dtype != np.int32 and (ids.min() < -(2**31) or ids.max() >= 2**31):
        bad = ids[(ids < -(2**31)) | (ids >= 2**31)].flat[0]
        raise InvalidArgumentError(f"{argument} holds {bad}, expected ids that fit 32 bits")
    return np.ascontiguousarray(ids, np.int32)


def int64_vector(values: Any, argument: str, count: int | None = None) -> np.ndarray:
    vector = np.asarray(host(values))
    if vector.size == 0:
        vector = vector.astype(np.int64)
    if vector.dtype.kind not in "iu" or (count is not None and vector.size != count):
        wanted = "n" if count is None else count
        raise InvalidArgumentError(f"{argument} is {vector.dtype}{list(vector.shape)}, expected integers [{wanted}]")
    return np.ascontiguousarray(vector.reshape(-1), np.int64)


def is_array(value: Any, dims: int) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and len(value.shape) == dims


def pack(groups: Sequence[Sequence[Any]], arguments: Sequence[str]) -> list[TokenLists]:
    """Lists of sequences of hashable tokens, which share one numbering. Sequences of int32 go as they are."""
    try:
        return [_pack_integers(group) for group in groups]
    except (TypeError, OverflowError, struct.error):
        pass
    # Numbers by first appearance; the look-up of a token that is there never leaves C.
    numbers: defaultdict[Hashable, int] = defaultdict(itertools.count().__next__)
    packed = []
    for group, argument in zip(groups, arguments):
        parts, offsets = [], np.zeros(len(group) + 1, np.int64)
        for i, sequence in enumerate(group):
            try:
                parts.append(array("i", list(map(numbers.__getitem__, host(sequence)))))
            except TypeError:
                raise InvalidArgumentError(
                    f"{argument}[{i}] is {type(sequence).__name__}, expected a sequence of hashable tokens") from None
        np.cumsum(list(map(len, parts)), out=offsets[1:])
        packed.append(TokenLists(_joined(parts), offsets))
    return packed


def _joined(parts: Sequence[Any]) -> np.ndarray:
    return np.frombuffer(bytearray().join(parts), np.int32) if any(parts) else np.empty(0, np.int32)


def _pack_integers(group: Sequence[Any]) -> TokenLists:
    """Raises struct.error, TypeError or OverflowError where there is something else than int32."""
    parts, offsets = [], np.zeros(len(group) + 1, np.int64)
    packers: dict[int, Any] = {}
    for sequence in group:
        if isinstance(sequence, np.ndarray) or hasattr(sequence, "detach"):
            sequence = host(sequence)
            if sequence.dtype.kind not in "iu" or sequence.ndim != 1:
                raise TypeError
            if sequence.dtype == np.int32:
                parts.append(sequence.tobytes())
                continue
            sequence = sequence.tolist()
        elif isinstance(sequence, (str, bytes)):
            raise TypeError
        elif not isinstance(sequence, (list, tuple)):
            sequence = list(sequence)
        packer = packers.get(len(sequence))
        if packer is None:
            packer = packers[len(sequence)] = struct.Struct(f"{len(sequence)}i").pack
        parts.append(packer(*sequence))
    np.cumsum(list(map(len, parts)), out=offsets[1:])
    offsets //= 4
    return TokenLists(_joined(parts), offsets)


def token_lists(sequences: Any, argument: str, lengths: Any = None) -> TokenLists | None:
    """An array [n, width] (with `lengths` [n] or whole), a `Ragged`, or a `TokenLists`; None: a list of sequences, for `pack`."""
    if isinstance(sequences, TokenLists):
        return sequences
    if isinstance(sequences, Ragged):
        offsets = int64_vector(sequences.offsets, f"{argument}.offsets")
        ids = int32_ids(sequences.values, f"{argument}.values").reshape(-1)
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] > len(ids):
            raise InvalidArgumentError(f"{argument}.offsets is {offsets[:4]}.., expected ascending offsets from 0 to {len(ids)}")
        return TokenLists(ids, offsets)
    if is_array(sequences, 2):
        ids = int32_ids(sequences, argument)
        used = None if lengths is None else int64_vector(lengths, f"{argument}_lengths", len(ids))
        return TokenLists(ids, None, used)
    if lengths is not None:
        raise InvalidArgumentError(f"{argument}_lengths is given, but {argument} is no array [n, width]")
    return None
