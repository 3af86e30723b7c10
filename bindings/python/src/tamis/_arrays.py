"""Array-likes as tamis_tensor, without copying.

Read in this order: a `Tensor`; a numpy array; `__dlpack__` (torch, jax, ..; DLPack 0.x and 1.x, own reader, so that bfloat16
works, which numpy lacks); `__array_interface__`; the buffer protocol.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _ffi
from .errors import InvalidArgumentError, UnsupportedError

#: Anything with `__dlpack__`, `__array_interface__` or the buffer protocol, or a `Tensor`.
ArrayLike = Any

_CODES = {"f32": _ffi.TAMIS_F32, "f16": _ffi.TAMIS_F16, "bf16": _ffi.TAMIS_BF16, "i8": _ffi.TAMIS_I8, "i32": _ffi.TAMIS_I32}
_NAMES = {code: name for name, code in _CODES.items()}
_ALIASES = {
    "float32": "f32", "float": "f32", "float16": "f16", "half": "f16", "bfloat16": "bf16", "int8": "i8", "int32": "i32",
}
#: How numpy holds each dtype when we allocate; bf16 as its bits.
_STORAGE = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16, "i8": np.int8, "i32": np.int32}
_ITEM_SIZE = {"f32": 4, "f16": 2, "bf16": 2, "i8": 1, "i32": 4}


def dtype_name(dtype: Any, argument: str = "dtype") -> str:
    """"f32", "f16", "bf16", "i8" or "i32" of a name, a numpy dtype or a torch dtype."""
    if isinstance(dtype, str):
        name = dtype
    elif type(dtype).__module__.split(".")[0] == "torch":
        name = str(dtype).rsplit(".", 1)[-1]
    else:
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = str(dtype)
    name = _ALIASES.get(name, name)
    if name not in _CODES:
        raise InvalidArgumentError(f"{argument} is {dtype!r}, expected f32, f16, bf16, i8 or i32")
    return name


def dtype_code(dtype: Any, argument: str = "dtype") -> int:
    return _CODES[dtype_name(dtype, argument)]


def name_of_code(code: int) -> str:
    return _NAMES[code]


# ------------------------------------------------------------------------------------------------------ DLPack
# https://dmlc.github.io/dlpack/latest/c_api.html


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _DLManagedTensor(ctypes.Structure):
    _fields_ = [("dl_tensor", _DLTensor), ("manager_ctx", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _DLManagedTensorVersioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("dl_tensor", _DLTensor),
    ]


_READ_ONLY = 1
_HOST_DEVICES = (1, 3)  # kDLCPU, kDLCUDAHost
_DL_INT, _DL_FLOAT, _DL_BFLOAT = 0, 2, 4
_DL_DTYPES = {
    (_DL_FLOAT, 32): "f32", (_DL_FLOAT, 16): "f16", (_DL_BFLOAT, 16): "bf16", (_DL_INT, 8): "i8", (_DL_INT, 32): "i32",
}
_DL_KINDS = {0: "int", 1: "uint", 2: "float", 3: "opaque", 4: "bfloat", 5: "complex", 6: "bool"}

# An own handle on the interpreter: argtypes set on ctypes.pythonapi would be seen by everyone.
_python = ctypes.PyDLL(None)
_python.PyCapsule_IsValid.restype = ctypes.c_int
_python.PyCapsule_IsValid.argtypes = (ctypes.py_object, ctypes.c_char_p)
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
_python.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


def _open_capsule(capsule: Any, argument: str) -> tuple[_DLTensor, bool]:
    """The DLTensor of a capsule and whether it is read-only. The capsule is borrowed: while it lives, so does the memory."""
    if _python.PyCapsule_IsValid(capsule, b"dltensor_versioned"):
        address = _python.PyCapsule_GetPointer(capsule, b"dltensor_versioned")
        managed = _DLManagedTensorVersioned.from_address(address)
        if managed.major != 1:
            raise UnsupportedError(f"{argument} speaks DLPack {managed.major}.{managed.minor}, expected 1.x")
        return managed.dl_tensor, bool(managed.flags & _READ_ONLY)
    if _python.PyCapsule_IsValid(capsule, b"dltensor"):
        address = _python.PyCapsule_GetPointer(capsule, b"dltensor")
        return _DLManagedTensor.from_address(address).dl_tensor, False
    raise InvalidArgumentError(f"{argument}: __dlpack__ gave {capsule!r}, expected an unused DLPack capsule")


def _request_capsule(array: Any) -> Any:
    try:
        return array.__dlpack__(max_version=(1, 1))
    except TypeError:  # a producer older than DLPack 1.0
        return array.__dlpack__()


# ------------------------------------------------------------------------------------------------------ Tensor


class Tensor:
    """A view of an array with a dtype of the library: what numpy cannot say.

    Parameters
    ----------
    array
        Any array-like of float32, float16, bfloat16, int8 or int32, of up to 6 dimensions, in host memory. Not copied.
    dtype
        Reads the same bytes as another dtype of the same size: ``Tensor(bits, dtype="bf16")`` for bfloat16 held in a uint16
        array.
    scale
        float32, one per row (``array.shape[:-1]``); the value of an int8 element is ``int8 * scale``. Only with int8.

    Exports DLPack (``torch.from_dlpack(tensor)`` shares the memory) and :meth:`numpy`. Raises InvalidArgumentError (a
    ValueError) or UnsupportedError.
    """

    __slots__ = ("dtype", "shape", "strides", "readonly", "scale", "_address", "_owner", "__weakref__")

    dtype: str
    shape: tuple[int, ...]
    #: In elements.
    strides: tuple[int, ...]
    readonly: bool
    scale: np.ndarray | None
    _address: int
    _owner: Any

    def __init__(self, array: ArrayLike, dtype: Any = None, scale: ArrayLike | None = None) -> None:
        self._read(array, "array", None if dtype is None else dtype_name(dtype))
        if scale is not None:
            self._set_scale(scale, "scale")

    @classmethod
    def _of(cls, array: ArrayLike, argument: str) -> Tensor:
        if isinstance(array, Tensor):
            return array
        tensor = cls.__new__(cls)
        tensor._read(array, argument, None)
        return tensor

    @classmethod
    def empty(cls, shape: Sequence[int], dtype: Any = "f32") -> Tensor:
        """New memory, not initialised. An int8 tensor comes with room for its scales."""
        name = dtype_name(dtype)
        tensor = cls.__new__(cls)
        tensor._read(np.empty(shape, _STORAGE[name]), "shape", name)
        if name == "i8":
            tensor.scale = np.empty(tuple(shape)[:-1], np.float32)
        return tensor

    # -- reading

    def _read(self, array: Any, argument: str, dtype: str | None) -> None:
        self.scale = None
        if isinstance(array, Tensor):
            self._address, self.shape, self.strides = array._address, array.shape, array.strides
            self.readonly, self._owner, self.scale = array.readonly, array._owner, array.scale
            self._set_dtype(array.dtype, _ITEM_SIZE[array.dtype], dtype, argument)
        elif isinstance(array, np.ndarray):
            self._read_numpy(array, argument, dtype)
        elif hasattr(array, "__dlpack__"):
            try:
                self._read_dlpack(array, argument, dtype)
            except UnsupportedError:
                raise
            except (BufferError, RuntimeError, AttributeError) as error:
                if not hasattr(array, "__array_interface__"):
                    raise InvalidArgumentError(f"{argument} cannot be read through DLPack: {error}") from error
                self._read_numpy(np.asarray(array), argument, dtype)
        elif hasattr(array, "__array_interface__"):
            self._read_numpy(np.asarray(array), argument, dtype)
        else:
            try:
                view = memoryview(array)
            except TypeError:
                raise InvalidArgumentError(
                    f"{argument} is a {type(array).__name__}, expected an array: an object with __dlpack__, "
                    "__array_interface__ or the buffer protocol") from None
            self._read_numpy(np.asarray(view), argument, dtype)
        if len(self.shape) > _ffi.TAMIS_MAX_DIMS:
            raise InvalidArgumentError(f"{argument} has {len(self.shape)} dimensions, expected at most {_ffi.TAMIS_MAX_DIMS}")

    def _read_numpy(self, array: np.ndarray, argument: str, dtype: str | None) -> None:
        if not array.dtype.isnative:
            raise InvalidArgumentError(f"{argument} is not in the byte order of this machine")
        size = array.dtype.itemsize
        if size == 0 or any(s % size for s in array.strides):
            raise InvalidArgumentError(f"{argument} has strides {array.strides} bytes, expected multiples of the item size {size}")
        self._address = array.ctypes.data
        self.shape = array.shape
        self.strides = tuple(s // size for s in array.strides)
        self.readonly = not array.flags.writeable
        self._owner = array
        self._set_dtype(array.dtype.name, size, dtype, argument)

    def _read_dlpack(self, array: Any, argument: str, dtype: str | None) -> None:
        device = tuple(int(x) for x in array.__dlpack_device__())
        if device[0] not in _HOST_DEVICES:
            raise InvalidArgumentError(f"{argument} is on DLPack device {device}, expected host memory")
        capsule = _request_capsule(array)
        tensor, self.readonly = _open_capsule(capsule, argument)
        if tensor.lanes != 1:
            raise InvalidArgumentError(f"{argument} has a vector dtype, expected one lane")
        n = tensor.ndim
        self.shape = tuple(tensor.shape[:n]) if n else ()
        if tensor.strides:
            self.strides = tuple(tensor.strides[:n]) if n else ()
        else:
            self.strides = contiguous_strides(self.shape)
        self._address = (tensor.data or 0) + tensor.byte_offset
        self._owner = (capsule, array)
        kind = _DL_DTYPES.get((tensor.code, tensor.bits)) or f"{_DL_KINDS.get(tensor.code, '?')}{tensor.bits}"
        self._set_dtype(kind, tensor.bits // 8, dtype, argument)

    def _set_dtype(self, found: str, size: int, wanted: str | None, argument: str) -> None:
        name = wanted or _ALIASES.get(found, found)
        if name not in _CODES:
            raise InvalidArgumentError(
                f"{argument} has dtype {found}, expected float32, float16, bfloat16, int8 or int32 "
                "(bfloat16 in a uint16 array: tamis.Tensor(array, dtype='bf16'))")
        if size != _ITEM_SIZE[name]:
            raise InvalidArgumentError(f"{argument} has items of {size} bytes, which cannot be read as {name}")
        self.dtype = name

    def _set_scale(self, scale: ArrayLike, argument: str) -> None:
        if self.dtype != "i8":
            raise InvalidArgumentError(f"{argument} is given for dtype {self.dtype}, expected i8")
        array = np.asarray(scale)
        if array.dtype != np.float32 or array.shape != self.shape[:-1]:
            raise InvalidArgumentError(
                f"{argument} is {array.dtype}{list(array.shape)}, expected float32{list(self.shape[:-1])}")
        self.scale = array

    # -- the C side

    def c(self) -> _ffi.tamis_tensor:
        """The struct; valid while this object lives."""
        t = _ffi.tamis_tensor()
        n = len(self.shape)
        t.data, t.dtype, t.ndim = self._address, _CODES[self.dtype], n
        t.shape[:n] = self.shape
        t.stride[:n] = self.strides
        if self.scale is not None:
            t.scale = ctypes.cast(self.scale.ctypes.data, ctypes.POINTER(ctypes.c_float))
            t.scale_stride[: n - 1] = [s // 4 for s in self.scale.strides]
        return t

    # -- the Python side

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def data_ptr(self) -> int:
        """Address of element 0."""
        return self._address

    def numpy(self) -> np.ndarray:
        """The memory as a numpy array, shared. bfloat16 becomes ml_dtypes.bfloat16 where that package is installed, else the
        bits as uint16; int8 comes without its scale."""
        if isinstance(self._owner, np.ndarray):
            array = self._owner
        else:
            array = np.asarray(_Memory(self))
        if self.dtype == "bf16":
            bfloat16 = _ml_bfloat16()
            return array.view(np.uint16 if bfloat16 is None else bfloat16)
        return array.view(_STORAGE[self.dtype])

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(
        self, *, stream: Any = None, max_version: tuple[int, int] | None = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        if stream is not None:
            raise BufferError("stream must be None for host memory")
        if dl_device is not None and tuple(dl_device) != (1, 0):
            raise BufferError(f"dl_device is {dl_device}, expected (1, 0): the tensor is in host memory")
        if self.scale is not None:
            raise BufferError("an int8 tensor with scales cannot be exported; export .numpy() and .scale")
        array = self.numpy()
        if self.dtype == "bf16":
            array = array.view(np.uint16)
        if copy:
            array = array.copy()
        try:
            capsule = array.__dlpack__(max_version=max_version) if max_version is not None else array.__dlpack__()
        except TypeError:  # numpy before 2.1
            capsule = array.__dlpack__()
        if self.dtype == "bf16":
            # numpy knows no bfloat16: it exports the bits as uint16 and we write the true type into the struct just made.
            _open_capsule(capsule, "array")[0].code = _DL_BFLOAT
        return capsule

    def __repr__(self) -> str:
        scale = ", scaled" if self.scale is not None else ""
        return f"tamis.Tensor({self.dtype}{list(self.shape)}{scale})"


class _Memory:
    """`__array_interface__` over memory that a Tensor keeps alive."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        item = np.dtype(_STORAGE[tensor.dtype])
        self.__array_interface__ = {
            "version": 3, "shape": tensor.shape, "typestr": item.str, "data": (tensor._address, tensor.readonly),
            "strides": tuple(s * item.itemsize for s in tensor.strides),
        }


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def foreign(tensor_struct: _ffi.tamis_tensor, owner: Any) -> Tensor:
    """A read-only Tensor over memory of the library that `owner` keeps alive."""
    tensor = Tensor.__new__(Tensor)
    n = tensor_struct.ndim
    tensor.dtype = _NAMES[tensor_struct.dtype]
    tensor.shape, tensor.strides = tuple(tensor_struct.shape[:n]), tuple(tensor_struct.stride[:n])
    tensor.readonly, tensor.scale = True, None
    tensor._address, tensor._owner = tensor_struct.data or 0, owner
    return tensor


def _ml_bfloat16() -> Any:
    try:
        import ml_dtypes
    except ImportError:
        return None
    return ml_dtypes.bfloat16


# ------------------------------------------------------------------------------------------ inputs and outputs


def read(array: ArrayLike, argument: str) -> Tensor:
    """An input as a Tensor."""
    return Tensor._of(array, argument)


def write(array: ArrayLike, argument: str) -> Tensor:
    """An output that the caller supplied."""
    tensor = Tensor._of(array, argument)
    if tensor.readonly:
        raise InvalidArgumentError(f"{argument} is read-only, expected a writable array")
    return tensor


def result(tensor: Tensor, like: Any) -> Any:
    """What a caller gets for a new output: a torch tensor if `like` (its input) is one; else a numpy array; a Tensor where
    numpy lacks the type (bfloat16 without ml_dtypes, int8 with scales)."""
    if tensor.scale is not None:
        return tensor
    if type(like).__module__.split(".")[0] == "torch" and "torch" in sys.modules:
        return sys.modules["torch"].from_dlpack(tensor)
    if isinstance(like, Tensor) and tensor.dtype == "bf16" or tensor.dtype == "bf16" and _ml_bfloat16() is None:
        return tensor
    return tensor.numpy()


def floats(values: Any, argument: str, count: int) -> np.ndarray:
    """A small list of float parameters as contiguous float32 [count]; copied if need be."""
    if hasattr(values, "detach"):
        values = values.detach()
    array = np.ascontiguousarray(values, np.float32)
    if array.shape != (count,):
        raise InvalidArgumentError(f"{argument} has shape {list(array.shape)}, expected [{count}]")
    return array


def pointer(array: np.ndarray | None, kind: Any) -> Any:
    """A typed pointer to a contiguous array; None is NULL."""
    if array is None:
        return None
    try:
        return ctypes.pointer(kind.from_buffer(array))  # a quarter of what array.ctypes costs
    except (TypeError, ValueError):  # read-only or empty
        return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
