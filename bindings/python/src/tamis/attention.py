"""Exact attention over arrays, and the merge of partial results."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from . import _ffi
from ._arguments import choice, integer, number
from ._arrays import ArrayLike, Tensor, floats, pointer, read, result, write
from ._lib import library
from ._progress import Progress, ProgressCallback
from .context import Context, pointer_of
from .errors import InvalidArgumentError

_COMPUTE = {"auto": _ffi.TAMIS_COMPUTE_AUTO, "f32": _ffi.TAMIS_COMPUTE_F32, "blas": _ffi.TAMIS_COMPUTE_BLAS}


def attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, causal: bool = True, q_offset: int | None = None, window: int | None = None,
    scale: float | None = None, softcap: float | None = None, key0_bias: ArrayLike | None = None, return_lse: bool = False,
    out: ArrayLike | None = None, compute: str = "auto", progress: Progress = False, ctx: Context | None = None,
) -> Any:
    """Exact attention.

    ::

        o_i = sum_j p_ij v_j,   p_i = softmax_j(z_ij),   z_ij = cap(scale * q_i . k_j) + [j = 0] * key0_bias[head]

    over the legal keys j of query i; ``cap(z) = softcap * tanh(z / softcap)``. Query head h uses KV head
    ``h // (q_heads // kv_heads)``. Computed in tiles with an online softmax (FlashAttention-2, arXiv 2307.08691, Algorithm 1).

    Parameters
    ----------
    q
        [batch, q_heads, q_len, head_dim] or [q_heads, q_len, head_dim]; float32, float16 or bfloat16. Any strides.
    k, v
        [(batch,) kv_heads, k_len, head_dim]; float32, float16, bfloat16 or int8 with scales (:class:`Tensor`), of one dtype.
        Rows are contiguous.
    causal
        Query i sees keys ``j <= q_offset + i``; False: all keys.
    q_offset
        Position of query 0 among the keys; None: ``k_len - q_len``, the last query stands at the last key.
    window
        Key j also needs ``j > q_offset + i - window``.
    scale
        None: ``1 / sqrt(head_dim)``.
    softcap
        None: no soft cap.
    key0_bias
        [q_heads] float, added to the logit of key 0 after the soft cap.
    return_lse
        Also return the natural log of ``sum_j exp(z_ij)``, float32 [(batch,) q_heads, q_len].
    out
        Array of q's shape to write into, float32, float16 or bfloat16; None: a new one of q's dtype.
    compute
        "auto": bf16 products where q, k and v are bfloat16, else f32; "f32"; "blas": the plain form through OpenBLAS.
    progress
        Function of the share done; returning False cancels.
    ctx
        None: :func:`default_context`.

    Returns
    -------
    out, or (out, lse)
        numpy arrays; torch tensors if q is one. A query with no legal key gives 0 and lse -inf.

    Raises InvalidArgumentError, UnsupportedError (dtype or head_dim), OutOfMemoryError, CancelledError.
    """
    tq, tk, tv = read(q, "q"), read(k, "k"), read(v, "v")
    lib = library()
    options, bias = attention_options(
        tq, causal=causal, q_offset=q_offset, window=window, scale=scale, softcap=softcap, key0_bias=key0_bias)
    options.compute = choice(compute, _COMPUTE, "compute")
    to, o = output(out, q, tq.shape, tq.dtype)
    tl = Tensor.empty(tq.shape[:-1]) if return_lse else None
    with ProgressCallback(progress, "attention", bar=False) as callback:
        options.progress = callback
        lib.tamis_attention(
            pointer_of(ctx), ctypes.byref(options), ctypes.byref(tq.c()), ctypes.byref(tk.c()), ctypes.byref(tv.c()),
            ctypes.byref(to.c()), None if tl is None else ctypes.byref(tl.c()))
    del bias  # lives as long as the call
    return o() if tl is None else (o(), result(tl, q))


def merge(
    parts: Sequence[ArrayLike], lse: Sequence[ArrayLike], *, out: ArrayLike | None = None, out_lse: ArrayLike | None = None,
    ctx: Context | None = None,
) -> tuple[Any, Any]:
    """Merges attention over disjoint sets of keys (shards, tiers, machines) into attention over their union.

    ``lse = log sum_s exp(lse_s)``, ``o = sum_s exp(lse_s - lse) o_s``.

    Parameters
    ----------
    parts
        Arrays of one shape [.., rows, head_dim], float32: the outputs of :func:`attention`.
    lse
        As many arrays [.., rows], float32: their log-sum-exps. -inf contributes nothing.
    out, out_lse
        Where to write; either may be one of the inputs. None: new arrays.

    Returns (out, lse). Raises InvalidArgumentError.
    """
    if len(parts) != len(lse):
        raise InvalidArgumentError(f"lse has {len(lse)} arrays, expected as many as parts, {len(parts)}")
    if not parts:
        raise InvalidArgumentError("parts is empty, expected at least one array")
    part_tensors = [read(x, f"parts[{i}]") for i, x in enumerate(parts)]
    lse_tensors = [read(x, f"lse[{i}]") for i, x in enumerate(lse)]
    n = len(part_tensors)
    c_parts = (_ffi.tamis_tensor * n)(*[t.c() for t in part_tensors])
    c_lse = (_ffi.tamis_tensor * n)(*[t.c() for t in lse_tensors])
    to, o = output(out, parts[0], part_tensors[0].shape, "f32")
    tl, l = output(out_lse, parts[0], part_tensors[0].shape[:-1], "f32", "out_lse")
    library().tamis_attention_merge(pointer_of(ctx), n, c_parts, c_lse, ctypes.byref(to.c()), ctypes.byref(tl.c()))
    return o(), l()


def attention_options(
    q: Tensor | None, *, causal: bool = True, q_offset: int | None = None, window: int | None = None,
    scale: float | None = None, softcap: float | None = None, key0_bias: ArrayLike | None = None,
) -> tuple[_ffi.tamis_attention_options, Any]:
    """The C options, and what must stay alive while they are used. `q` tells how many biases there are."""
    options = _ffi.tamis_attention_options()
    library().tamis_attention_options_init(ctypes.byref(options))
    options.causal = 1 if causal else 0
    if q_offset is not None:
        options.q_offset = integer(q_offset, "q_offset")
    if window is not None:
        options.window = integer(window, "window")
    options.scale, options.softcap = number(scale, "scale"), number(softcap, "softcap")
    bias = None
    if key0_bias is not None:
        bias = floats(key0_bias, "key0_bias", q.shape[-3] if q is not None and q.ndim >= 3 else 0)
        options.key0_bias = pointer(bias, ctypes.c_float)
    return options, bias


def output(out: Any, like: Any, shape: tuple[int, ...], dtype: str, argument: str = "out") -> tuple[Tensor, Any]:
    """The tensor to write to, and a function that gives what the caller receives: their own array, or a new one."""
    if out is not None:
        return write(out, argument), lambda: out
    tensor = Tensor.empty(shape, dtype)
    return tensor, lambda: result(tensor, like)
