import numpy as np
import oracle
import pytest

import tamis

_contexts = {}


@pytest.fixture(params=["cpu", "opencl"])
def ctx(request):
    """Every device of this machine, two threads."""
    if request.param not in _contexts:
        try:
            _contexts[request.param] = tamis.Context(request.param, threads=2)
        except tamis.NoDeviceError as error:
            _contexts[request.param] = error
    found = _contexts[request.param]
    if isinstance(found, Exception):
        pytest.skip(str(found))
    return found


@pytest.fixture
def cpu():
    return tamis.Context("cpu", threads=2)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def stored(x, dtype):
    """x as an array of `dtype` for the library, and the values it then holds, in float64."""
    x = np.asarray(x, np.float32)
    if dtype == "f32":
        return x, x.astype(np.float64)
    if dtype == "f16":
        return x.astype(np.float16), x.astype(np.float16).astype(np.float64)
    if dtype == "bf16":
        bits = oracle.bfloat16_bits(x)
        return tamis.Tensor(bits, dtype="bf16"), oracle.from_bfloat16(bits).astype(np.float64)
    scale = np.abs(x).max(-1) / np.float32(127)
    values = np.rint(x / np.where(scale == 0, 1, scale)[..., None]).astype(np.int8)
    return tamis.Tensor(values, scale=scale), values * scale[..., None].astype(np.float64)


def plain(x):
    """An output as float64, whatever its dtype."""
    if isinstance(x, tamis.Tensor):
        x = x.numpy()
        if x.dtype == np.uint16:
            return oracle.from_bfloat16(x).astype(np.float64)
    if x.dtype.name == "bfloat16":
        return oracle.from_bfloat16(x.view(np.uint16)).astype(np.float64)
    return np.asarray(x, np.float64)


#: Largest absolute error of an attention output over values of size 1, per dtype of the output.
TOLERANCE = {"f32": 2e-5, "f16": 2e-3, "bf16": 2e-2}
