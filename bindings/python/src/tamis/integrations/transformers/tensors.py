"""torch tensors as views for the library: a microsecond each, where a DLPack capsule takes ten."""

from __future__ import annotations

import torch

from ..._arrays import Tensor
from ...errors import UnsupportedError

_DTYPES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}


def view(tensor: torch.Tensor, argument: str) -> Tensor:
    """The memory of a float tensor on the CPU, which the view keeps alive. Raises UnsupportedError."""
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None or tensor.device.type != "cpu":
        raise UnsupportedError(
            f"{argument} is {tensor.dtype} on {tensor.device}, expected float32, float16 or bfloat16 on the CPU")
    seen = Tensor.__new__(Tensor)
    seen.dtype, seen.shape, seen.strides = dtype, tuple(tensor.shape), tensor.stride()
    seen.readonly, seen.scale = False, None
    seen._address, seen._owner = tensor.data_ptr(), tensor
    return seen


def rows(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with contiguous rows, as keys and values need them; copied only where they are not."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def cut(tensor: torch.Tensor, element: int | None, start: int, stop: int) -> torch.Tensor:
    """Rows [start, stop) of the last but one dimension, of one batch element or (None) of all; the tensor itself where that is
    all."""
    if element is not None:
        tensor = tensor.select(0, element)
    return tensor if start == 0 and stop == tensor.shape[-2] else tensor.narrow(-2, start, stop - start)
