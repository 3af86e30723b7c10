"""The numeric pieces by themselves, for hosts that build their own methods and for tests."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ._arguments import integer
from ._arrays import ArrayLike, Tensor, dtype_name, pointer, read, result, write
from ._lib import library
from .attention import output
from .context import Context, pointer_of
from .errors import InvalidArgumentError
from .kv import RoPE


def convert(x: ArrayLike, dtype: Any = None, *, out: ArrayLike | None = None, ctx: Context | None = None) -> Any:
    """`x` in another dtype: f32, f16, bf16 and i8 in any pair. Rounds to nearest even; f16 overflow gives infinity; NaN stays
    NaN. To i8 each row gets the scale max|x| / 127 over its finite values, and a non-finite value becomes 0.

    Parameters
    ----------
    x
        Array of up to 6 dimensions, or a :class:`Tensor` (int8 with scales).
    dtype
        Of the result; not with `out`.
    out
        Array of x's shape to write into; for int8 a :class:`Tensor` with room for scales (``Tensor.empty(shape, "i8")``).

    Returns
    -------
    A numpy array, or a torch tensor if x is one; for int8 a :class:`Tensor` (`.numpy()` and `.scale`).

    Raises InvalidArgumentError, UnsupportedError.
    """
    if (dtype is None) == (out is None):
        raise InvalidArgumentError("dtype and out: expected exactly one of them")
    tx = read(x, "x")
    if out is None:
        to, o = output(None, x, tx.shape, dtype_name(dtype))
    else:
        to, o = write(out, "out"), lambda: out
    library().tamis_convert(pointer_of(ctx), ctypes.byref(tx.c()), ctypes.byref(to.c()))
    return o()


def rope(
    x: ArrayLike, rule: RoPE | None = None, *, positions: ArrayLike | None = None, first: int = 0, out: ArrayLike | None = None,
    ctx: Context | None = None,
) -> Any:
    """Rotates rows: row t of every leading index stands at ``positions[t]``, or at ``first + t``.

    Parameters
    ----------
    x
        [.., n, head_dim], float32, float16 or bfloat16.
    rule
        None: ``RoPE()``.
    positions
        [n] integers.
    out
        Array of x's shape, may be x; None: a new one of x's dtype.

    Raises InvalidArgumentError, UnsupportedError.
    """
    tx = read(x, "x")
    places = None
    if positions is not None:
        array = np.asarray(positions)
        expected = tx.shape[-2] if tx.ndim >= 2 else 0
        if array.shape != (expected,) or array.dtype.kind not in "iu":
            raise InvalidArgumentError(f"positions is {array.dtype}{list(array.shape)}, expected integers [{expected}]")
        places = np.ascontiguousarray(array, np.int64)
    to, o = output(out, x, tx.shape, tx.dtype)
    library().tamis_rope_apply(
        pointer_of(ctx), ctypes.byref((rule or RoPE()).c()), ctypes.byref(tx.c()), pointer(places, ctypes.c_int64),
        integer(first, "first"), ctypes.byref(to.c()))
    return o()


def top_k(scores: ArrayLike, k: int, *, ctx: Context | None = None) -> Any:
    """The k largest scores, as int32 indices in ascending order (not in order of score). Ties go to the lower index; NaN
    counts as -inf; k >= n gives all n. O(n).

    scores: float32 [n], contiguous. Raises InvalidArgumentError.
    """
    ts = read(scores, "scores")
    if ts.dtype != "f32" or ts.ndim != 1 or (ts.shape[0] > 1 and ts.strides[0] != 1):
        raise InvalidArgumentError(f"scores is {ts.dtype}{list(ts.shape)}, expected contiguous f32 [n]")
    n, k = ts.shape[0], integer(k, "k")
    indices = Tensor.empty((max(0, min(n, k)),), "i32")
    count = ctypes.c_int64()
    library().tamis_top_k(
        pointer_of(ctx), ctypes.cast(ts.data_ptr, ctypes.POINTER(ctypes.c_float)), n, k,
        ctypes.cast(indices.data_ptr, ctypes.POINTER(ctypes.c_int32)), ctypes.byref(count))
    return result(indices, scores)
