"""Losses, masks and labels on their way to C: packed float64, uint8, int64; [tokens] or [batch, tokens]."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidArgumentError

Shape = tuple[int, ...]


def _host(x: Any) -> Any:
    """A torch tensor as its numpy array (bfloat16 and float16 widened); anything else as it is."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        return (x.double() if x.is_floating_point() else x).numpy()
    return x


def _packed(
    x: Any, argument: str, kinds: str, dtype: Any, shape: Shape | None, dims: tuple[int, ...], expected: str,
) -> np.ndarray:
    array = np.asarray(_host(x))
    if array.size == 0 and array.dtype.kind == "f":  # an empty list
        array = array.astype(dtype or np.int64)
    if array.dtype.kind not in kinds or (array.ndim not in dims if shape is None else array.shape != shape):
        want = "[tokens] or [batch, tokens]" if shape is None and 2 in dims else "[n]" if shape is None else list(shape)
        raise InvalidArgumentError(f"{argument} is {array.dtype}{list(array.shape)}, expected {expected}{want}")
    return np.ascontiguousarray(array, dtype)


def values(x: Any, argument: str, shape: Shape | None = None, dims: tuple[int, ...] = (1, 2)) -> np.ndarray:
    """Numbers as float64; float32, float16 and integers widen."""
    return _packed(x, argument, "fiu", np.float64, shape, dims, "float64")


def flags(x: Any, argument: str, shape: Shape | None = None, dims: tuple[int, ...] = (1, 2)) -> np.ndarray:
    """A mask as uint8: booleans or integers 0 and 1, which C checks."""
    array = _packed(x, argument, "biu", None, shape, dims, "bool")
    if array.dtype.kind != "b" and array.size and (array.min() < 0 or array.max() > 255):
        raise InvalidArgumentError(f"{argument} holds {array.min()} to {array.max()}, expected 0 and 1")
    return np.ascontiguousarray(array, np.uint8)


def optional_flags(x: Any, argument: str, shape: Shape) -> np.ndarray | None:
    return None if x is None else flags(x, argument, shape)


def integers(x: Any, argument: str, shape: Shape | None = None, dims: tuple[int, ...] = (1, 2)) -> np.ndarray:
    """Labels, counts or lengths as int64."""
    array = _packed(x, argument, "iu", None, shape, dims, "int64")
    if array.dtype == np.uint64 and array.size and array.max() >= 2**63:
        raise InvalidArgumentError(f"{argument} holds {array.max()}, expected integers below 2^63")
    return np.ascontiguousarray(array, np.int64)


def ids(x: Any, argument: str) -> np.ndarray:
    """Token ids as int32 [n]."""
    array = integers(x, argument, dims=(1,))
    if array.size and (array.min() < -(2**31) or array.max() >= 2**31):
        raise InvalidArgumentError(f"{argument} holds {array.min()} to {array.max()}, expected ids that fit 32 bits")
    return array.astype(np.int32)


def extents(shape: Shape) -> tuple[int, int]:
    """batch and tokens of an array [tokens] or [batch, tokens]."""
    return (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])
