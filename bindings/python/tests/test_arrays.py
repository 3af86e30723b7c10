"""Array-likes in and out: DLPack, __array_interface__, buffers; nothing is copied."""

import array
import ctypes

import numpy as np
import oracle
import pytest

import tamis
from tamis import _arrays


class Capsule:
    """A DLPack producer made of a numpy array, with every field in our hand."""

    def __init__(self, base, *, code=None, offset=0, strides=True, versioned=False, flags=0, major=1, device=1):
        self.base = base
        n = base.ndim
        self.shape = (ctypes.c_int64 * n)(*base.shape)
        self.strides = (ctypes.c_int64 * n)(*[s // base.itemsize for s in base.strides])
        tensor = _arrays._DLTensor(
            data=base.ctypes.data - offset, device_type=device, device_id=0, ndim=n,
            code={"f": 2, "i": 0, "u": 1}[base.dtype.kind] if code is None else code, bits=8 * base.itemsize, lanes=1,
            shape=self.shape, strides=self.strides if strides else None, byte_offset=offset)
        self.device = device
        self.versioned = versioned
        if versioned:
            self.managed = _arrays._DLManagedTensorVersioned(major=major, minor=0, flags=flags, dl_tensor=tensor)
        else:
            self.managed = _arrays._DLManagedTensor(dl_tensor=tensor)

    def __dlpack_device__(self):
        return (self.device, 0)

    def __dlpack__(self, **options):
        if not self.versioned and options:
            raise TypeError("an old producer")
        new = ctypes.PyDLL(None).PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self.managed), b"dltensor_versioned" if self.versioned else b"dltensor", None)


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("offset", [0, 64])
def test_dlpack_strides_and_offset(versioned, offset):
    base = np.arange(60, dtype=np.float32).reshape(3, 4, 5)[:, ::-2, 1:4]
    t = tamis.Tensor(Capsule(base, versioned=versioned, offset=offset))
    assert (t.dtype, t.shape, t.strides, t.data_ptr) == ("f32", (3, 2, 3), (20, -10, 1), base.ctypes.data)
    np.testing.assert_array_equal(t.numpy(), base)
    assert np.shares_memory(t.numpy(), base)


def test_dlpack_without_strides_is_row_major():
    base = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    assert tamis.Tensor(Capsule(base, strides=False)).strides == (12, 4, 1)


def test_dlpack_bfloat16():
    bits = np.array([[0x3F80, 0x4000]], np.uint16)
    t = tamis.Tensor(Capsule(bits, code=4))
    assert t.dtype == "bf16"
    np.testing.assert_array_equal(tamis.convert(t, "f32"), [[1, 2]])


def test_dlpack_read_only_and_versions():
    base = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="out.*read-only"):
        tamis.convert(base, out=Capsule(base, versioned=True, flags=1))
    tamis.convert(base + 1, out=Capsule(base, versioned=True, flags=2))
    assert (base == 1).all()
    with pytest.raises(NotImplementedError, match="DLPack 2"):
        tamis.Tensor(Capsule(base, versioned=True, major=2))


def test_dlpack_of_another_device():
    with pytest.raises(ValueError, match="x.*host memory"):
        tamis.convert(Capsule(np.zeros(3, np.float32), device=2), "f16")


def test_dlpack_producer_that_refuses():
    class Refusing:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **options):
            raise BufferError("requires grad")

    with pytest.raises(ValueError, match="scores.*requires grad"):
        tamis.top_k(Refusing(), 1)


def test_a_used_capsule():
    class Used:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **options):
            return object()

    with pytest.raises(ValueError, match="capsule"):
        tamis.Tensor(Used())


def test_array_interface():
    class Wrapped:
        def __init__(self, base):
            self.__array_interface__ = base.__array_interface__
            self.base = base

    base = np.arange(6, dtype=np.float16).reshape(2, 3)
    assert tamis.Tensor(Wrapped(base)).data_ptr == base.ctypes.data


def test_buffer_protocol():
    scores = array.array("f", [1.0, 3.0, 2.0])
    np.testing.assert_array_equal(tamis.top_k(scores, 2), [1, 2])
    assert tamis.Tensor(scores).data_ptr == scores.buffer_info()[0]
    with pytest.raises(ValueError, match="read-only"):
        tamis.convert(np.zeros(4, np.float32), out=memoryview(bytes(16)).cast("f"))


@pytest.mark.parametrize("bad", [None, 3, [1.0, 2.0], "text", {1: 2}, object()])
def test_no_array(bad):
    with pytest.raises(ValueError, match="array is a .*, expected an array"):
        tamis.Tensor(bad)


@pytest.mark.parametrize("dtype", ["f8", "i8", "u2", "c8", "?", ">f4", "U3", "O"])
def test_dtypes_that_are_not_ours(dtype):
    with pytest.raises(ValueError, match="x"):
        tamis.convert(np.zeros(3, dtype), "f32")


def test_odd_byte_strides():
    packed = np.zeros(5, np.dtype([("a", np.uint8), ("b", np.float32)]))["b"]
    with pytest.raises(ValueError, match="strides"):
        tamis.Tensor(packed)


def test_bf16_bits_and_scales():
    bits = oracle.bfloat16_bits(np.float32([1, -2.5]))
    t = tamis.Tensor(bits, dtype="bf16")
    np.testing.assert_array_equal(tamis.convert(t, "f32"), [1, -2.5])
    assert tamis.Tensor(t).data_ptr == t.data_ptr == bits.ctypes.data
    scaled = tamis.Tensor(np.int8([[1, 2], [3, 4]]), scale=np.float32([0.5, 2]))
    np.testing.assert_array_equal(tamis.convert(scaled, "f32"), [[0.5, 1], [6, 8]])
    for match, call in [
        ("bf16", lambda: tamis.Tensor(np.zeros(3, np.float32), dtype="bf16")),
        ("dtype", lambda: tamis.Tensor(bits, dtype="b16")),
        ("scale", lambda: tamis.Tensor(bits, dtype="bf16", scale=np.float32([1]))),
        ("scale", lambda: tamis.Tensor(np.int8([[1]]), scale=np.float32([1, 2]))),
        ("scale", lambda: tamis.Tensor(np.int8([[1]]), scale=[1.0])),
    ]:
        with pytest.raises(ValueError, match=match):
            call()


def test_strided_scales():
    scale = np.float32([[1, 9], [2, 9]])[:, 0]
    np.testing.assert_array_equal(tamis.convert(tamis.Tensor(np.int8([[1], [3]]), scale=scale), "f32"), [[1], [6]])


def test_export_through_dlpack():
    t = tamis.Tensor.empty((2, 3), "f32")
    t.numpy()[:] = 7
    back = np.from_dlpack(t)
    assert back.ctypes.data == t.data_ptr
    np.testing.assert_array_equal(back, np.full((2, 3), 7, np.float32))
    assert t.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError):
        t.__dlpack__(stream=1)
    with pytest.raises(BufferError):
        t.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError):
        tamis.Tensor.empty((2, 3), "i8").__dlpack__()


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_export_of_bfloat16_says_bfloat16(version):
    t = tamis.Tensor(np.array([0x3F80, 0x4000], np.uint16), dtype="bf16")
    capsule = t.__dlpack__(max_version=version)
    tensor, _ = _arrays._open_capsule(capsule, "x")
    assert (tensor.code, tensor.bits, tensor.data + tensor.byte_offset) == (4, 16, t.data_ptr)


def test_memory_outlives_its_producer():
    view = tamis.Tensor(Capsule(np.arange(1000, dtype=np.float32))).numpy()
    junk = [np.zeros(1000, np.float32) for _ in range(50)]
    np.testing.assert_array_equal(view, np.arange(1000))
    del junk


def test_dtype_names():
    for given, name in [("float32", "f32"), (np.float16, "f16"), (np.dtype("int8"), "i8"), ("bfloat16", "bf16"), ("i32", "i32")]:
        assert _arrays.dtype_name(given) == name


def test_empty_arrays_are_refused_by_name():
    with pytest.raises(ValueError, match="from|x"):
        tamis.convert(np.zeros((0, 4), np.float32), "f16")
