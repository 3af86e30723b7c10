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
