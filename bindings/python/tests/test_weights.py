"""safetensors: written here byte by byte, read by the library."""

import json
import struct

import numpy as np
import oracle
import pytest

import tamis


def encode(header, data, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    if not isinstance(header, bytes):
        text += b" " * (-len(text) % 8)  # as every writer does: the data begin aligned
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype, shape, a, b):
    return {"dtype": dtype, "shape": shape, "data_offsets": [a, b]}


@pytest.fixture
def write(tmp_path):
    def write(*arguments, **options):
        path = tmp_path / "x.safetensors"
        path.write_bytes(encode(*arguments, **options))
        return path

    return write


def test_every_dtype(write):
    values = np.float32([[1, -2, 3], [4, 5.5, 6]])
    blobs = [("F32", values), ("I32", values.astype(np.int32)), ("F16", values.astype(np.float16)),
             ("BF16", oracle.bfloat16_bits(values)), ("I8", values.astype(np.int8))]
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, x in blobs:
        header[name.lower()] = entry(name, [2, 3], len(data), len(data) + x.nbytes)
        data += x.tobytes()
    file = tamis.open_safetensors(write(header, data))
    assert list(file) == ["f32", "i32", "f16", "bf16", "i8"] and len(file) == 5 and "f16" in file and "x" not in file
    np.testing.assert_array_equal(file["f32"], values)
    np.testing.assert_array_equal(file["f16"], values.astype(np.float16))
    np.testing.assert_array_equal(tamis.convert(file["bf16"], "f32"), values)
    np.testing.assert_array_equal(file["i8"], values.astype(np.int8))
    np.testing.assert_array_equal(file["i32"], values.astype(np.int32))
    with pytest.raises(KeyError, match="nothing"):
        file["nothing"]
    array = file["f32"]
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    del file
    assert array[1, 1] == 5.5  # the file stays mapped


def test_other_dtypes_are_listed_but_not_read(write):
    file = tamis.open_safetensors(write({"a": entry("I64", [1], 0, 8)}, bytes(8)))
    assert list(file) == ["a"]
    with pytest.raises(NotImplementedError, match="a"):
        file["a"]


def test_misaligned_tensors_are_refused(write):
    file = tamis.open_safetensors(write({"a": entry("I8", [1], 0, 1), "b": entry("F32", [1], 1, 5)}, bytes(5)))
    assert file["a"].shape == (1,)
    with pytest.raises(NotImplementedError, match="b"):
        file["b"]


def test_empty_tensor_and_scalar(write):
    file = tamis.open_safetensors(write({"e": entry("F32", [0, 4], 0, 0), "s": entry("F32", [], 0, 4)}, np.float32(3).tobytes()))
    assert file["e"].shape == (0, 4) and file["s"].shape == () and file["s"] == 3


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        tamis.open_safetensors(tmp_path / "none")


@pytest.mark.parametrize("header, data, length", [
    ({"a": entry("F32", [2], 0, 4)}, bytes(8), None),
    ({"a": entry("F32", [2], 0, 8)}, bytes(7), None),
    ({"a": entry("F32", [2], 0, 8)}, bytes(12), None),
    ({"a": entry("F32", [2], 4, 12)}, bytes(12), None),
    ({"a": entry("F32", [2], 8, 0)}, bytes(8), None),
    ({"a": entry("F32", [-2], 0, 8)}, bytes(8), None),
    ({"a": entry("F32", [2**62, 4], 0, 8)}, bytes(8), None),
    ({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, bytes(12), None),
    ({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 8, 12)}, bytes(12), None),
    ({"a": entry("F32", [1.5], 0, 8)}, bytes(8), None),
    ({"a": {"dtype": "F32", "shape": [2]}}, bytes(8), None),
    ({"a": 3}, bytes(8), None),
    (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}', bytes(8), None),
    (b"[]", b"", None), (b"{", b"", None), (b"", b"", None), (b"\xff\xfe", b"", None), (b"{}garbage", b"", None),
    (b"{}", b"", 2**63), (b"{}", b"", 2**64 - 8), (b"{}", b"", 3), (b"[" * 100000, b"", None),
])
def test_bad_files(write, header, data, length):
    with pytest.raises(tamis.FormatError):
        tamis.open_safetensors(write(header, data, length))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9])
def test_short_files(tmp_path, size):
    path = tmp_path / "x"
    path.write_bytes(encode({"a": entry("F32", [1], 0, 4)}, bytes(4))[:size])
    with pytest.raises(tamis.FormatError):
        tamis.open_safetensors(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises((OSError, tamis.FormatError)):
        tamis.open_safetensors(tmp_path)
