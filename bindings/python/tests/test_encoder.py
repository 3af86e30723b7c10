"""Encoders: tiny random models written here file by file, a float64 oracle, and folders that lie."""

import io
import json
import math
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from test_weights import encode

import tamis

HIDDEN, HEADS, WIDE, VOCABULARY, POSITIONS = 16, 2, 24, 31, 20

CONFIG = {
    "model_type": "bert", "num_hidden_layers": 2, "hidden_size": HIDDEN, "num_attention_heads": HEADS, "intermediate_size": WIDE,
    "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    "pad_token_id": 0, "architectures": ["BertForTokenClassification"], "id2label": {"0": "drop", "1": "keep"},
}


def random_weights(seed=3):
    rng = np.random.default_rng(seed)
    weights = {}

    def linear(name, outputs, inputs):
        weights[f"{name}.weight"] = rng.normal(0, 0.3, (outputs, inputs)).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.1, outputs).astype(np.float32)

    def norm(name):
        weights[f"{name}.weight"] = rng.normal(1, 0.1, HIDDEN).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.1, HIDDEN).astype(np.float32)

    for name, rows in [("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)]:
        weights[f"bert.embeddings.{name}_embeddings.weight"] = rng.normal(0, 1, (rows, HIDDEN)).astype(np.float32)
    norm("bert.embeddings.LayerNorm")
    for i in range(2):
        p = f"bert.encoder.layer.{i}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            linear(f"{p}.{name}", HIDDEN, HIDDEN)
        linear(f"{p}.intermediate.dense", WIDE, HIDDEN)
        linear(f"{p}.output.dense", HIDDEN, WIDE)
        norm(f"{p}.attention.output.LayerNorm")
        norm(f"{p}.output.LayerNorm")
    linear("classifier", 2, HIDDEN)
    return weights


def states(weights, ids):
    """The last hidden states in float64."""
    w = {name: x.astype(np.float64) for name, x in weights.items()}

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    e = "bert.embeddings."
    x = (w[f"{e}word_embeddings.weight"][ids] + w[f"{e}position_embeddings.weight"][: len(ids)]
         + w[f"{e}token_type_embeddings.weight"][0])
    x = norm(f"{e}LayerNorm", x)
    for i in range(2):
        p = f"bert.encoder.layer.{i}."
        q, k, v = (linear(f"{p}attention.self.{n}", x).reshape(len(ids), HEADS, -1).swapaxes(0, 1) for n in ("query", "key", "value"))
        z = q @ k.swapaxes(1, 2) / math.sqrt(HIDDEN // HEADS)
        a = np.exp(z - z.max(-1, keepdims=True))
        mixed = (a / a.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(len(ids), -1)
        x = norm(f"{p}attention.output.LayerNorm", x + linear(f"{p}attention.output.dense", mixed))
        y = linear(f"{p}intermediate.dense", x)
        y = y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
        x = norm(f"{p}output.LayerNorm", x + linear(f"{p}output.dense", y))
    return x


def safetensors(weights):
    header, data = {}, b""
    for name, x in weights.items():
        kind = {"float32": "F32", "int8": "I8"}[x.dtype.name]
        header[name] = {"dtype": kind, "shape": list(x.shape), "data_offsets": [len(data), len(data) + x.nbytes]}
        data += x.tobytes()
    return encode(header, data)


class _Global:
    """Pickles as a name and its arguments, without importing anything."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class _Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class _Pickler(pickle._Pickler):  # the one in Python: its dispatch can be extended
    dispatch = dict(pickle._Pickler.dispatch)

    def save_name(self, x):
        self.write(b"c" + x.module.encode() + b"\n" + x.name.encode() + b"\n")

    def save_call(self, x):
        self.save(x.function)
        self.save(x.arguments)
        self.write(b"R")

    dispatch[_Global] = save_name
    dispatch[_Call] = save_call

    def persistent_id(self, x):
        return x.key if isinstance(x, _Storage) else None


class _Storage:
    def __init__(self, key, count):
        self.key = ("storage", _Global("torch", "FloatStorage"), str(key), "cpu", count)


def dump(value):
    out = io.BytesIO()
    _Pickler(out, 2).dump(value)
    return out.getvalue()


def torch_file(weights, compression=zipfile.ZIP_STORED, pickled=None):
    """What torch.save writes."""
    rebuild = _Global("torch._utils", "_rebuild_tensor_v2")
    tensors = {}
    for i, (name, x) in enumerate(weights.items()):
        strides = tuple(s // 4 for s in x.strides)
        hooks = _Call(_Global("collections", "OrderedDict"))
        tensors[name] = _Call(rebuild, _Storage(i, x.size), 0, x.shape, strides, False, hooks)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("model/data.pkl", dump(tensors) if pickled is None else pickled)
        for i, x in enumerate(weights.values()):
            archive.writestr(f"model/data/{i}", x.tobytes())
    return out.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


@pytest.fixture
def model(folder):
    weights = random_weights()
    (folder / "model.safetensors").write_bytes(safetensors(weights))
    return folder, weights


def batch(lengths=(5, 0, 1, 20), seed=1):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCABULARY, n) for n in lengths]


def logits(weights, ids):
    return states(weights, ids) @ weights["classifier.weight"].T.astype(np.float64) + weights["classifier.bias"]


def worst(ours, exact):
    return max((np.abs(a - b).max(initial=0) for a, b in zip(ours, exact, strict=True)), default=0)


# ---------------------------------------------------------------------------------------------------- results


def test_against_float64(model, ctx):
    folder, weights = model
    encoder = tamis.Encoder(folder, ctx=ctx)
    sequences = batch()
    exact = [states(weights, ids) for ids in sequences if len(ids)]
    ours = encoder.states(sequences)
    assert [x.shape for x in ours] == [(len(ids), HIDDEN) for ids in sequences] and ours[0].dtype == np.float32
    assert worst([x for x in ours if len(x)], exact) < 2e-5
    found = [x for x in encoder.classify(sequences) if len(x)]
    assert worst(found, [logits(weights, ids) for ids in sequences if len(ids)]) < 2e-5
    p = [x for x in encoder.classify(sequences, probabilities=True) if len(x)]
    assert worst(p, [np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in found]) < 1e-6


def test_embed(model):
    folder, weights = model
    encoder = tamis.Encoder(folder)
    sequences = batch()
    exact = np.stack([states(weights, ids).mean(0) if len(ids) else np.zeros(HIDDEN) for ids in sequences])
    assert np.abs(encoder.embed(sequences) - exact).max() < 2e-5
    unit = encoder.embed(sequences, normalise=True)
    assert np.allclose(np.linalg.norm(unit, axis=1), [1, 0, 1, 1], atol=1e-6)
    assert np.array_equal(encoder.embed(sequences, pooling="cls")[3], encoder.states(sequences)[3][0])
    assert encoder.embed([]).shape == (0, HIDDEN) and encoder.states([]) == []
    with pytest.raises(ValueError, match="'median'"):
        encoder.embed(sequences, pooling="median")


def test_texts_go_through_the_tokenizer(model):
    class Words:
        """Stands for a tokenizer: one id per letter."""

        def encode_batch(self, texts, max_tokens):
            return [type("Encoding", (), {"ids": [ord(c) - 97 for c in text][:max_tokens]}) for text in texts]

    folder, _ = model
    encoder = tamis.Encoder(folder, tokenizer=Words())
    vectors = encoder.embed(["abc", "x" * 50])
    assert np.array_equal(vectors, encoder.embed([[0, 1, 2], [23] * encoder.info.embed_tokens]))


def test_info(model):
    folder, weights = model
    encoder = tamis.Encoder(folder, added_rows=2)
    i = encoder.info
    assert (i.kind, i.precision, i.layers, i.hidden, i.heads, i.vocabulary) == ("bert", "f32", 2, HIDDEN, HEADS, VOCABULARY + 2)
    assert (i.types, i.max_tokens, i.pad_id, i.labels) == (2, POSITIONS, 0, ("drop", "keep"))
    assert (i.pooling, i.normalise, i.embed_tokens) == ("mean", False, POSITIONS)
    assert i.parameters == sum(x.size for x in weights.values()) + 2 * HIDDEN and i.bytes > 0
    assert repr(encoder) == "tamis.Encoder(bert, 2 layers, hidden 16, f32)"


@pytest.mark.parametrize("compressed", [False, True])
def test_torch_files(model, compressed):
    folder, weights = model
    expected = tamis.Encoder(folder).classify(batch())
    os.remove(folder / "model.safetensors")
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    (folder / "pytorch_model.bin").write_bytes(torch_file(weights, kind))
    if compressed:
        with pytest.raises(tamis.UnsupportedError, match="compressed"):
            tamis.Encoder(folder)
    else:
        assert worst(tamis.Encoder(folder).classify(batch()), expected) == 0


def test_int8(model):
    folder, weights = model
    exact = [logits(weights, ids) for ids in batch((9, 20))]
    stored = {}
    for name, x in weights.items():
        if x.ndim == 2 and "embeddings" not in name:
            scale = np.abs(x).max(1) / np.float32(127)
            stored[name + "_scale"], stored[name] = scale, np.rint(x / scale[:, None]).astype(np.int8)
        else:
            stored[name] = x
    floats_first = dict(sorted(stored.items(), key=lambda item: item[1].dtype == np.int8))
    (folder / "model.safetensors").write_bytes(safetensors(floats_first))
    encoder = tamis.Encoder(folder)
    assert encoder.info.precision == "i8"
    assert worst(encoder.classify(batch((9, 20))), exact) < 0.05 * max(np.abs(z).max() for z in exact)


# -------------------------------------------------------------------------------------------------- bad input


def test_bad_batches(model):
    folder, _ = model
    encoder = tamis.Encoder(folder)
    for sequences, word in [
        ([[0, 31]], "31"), ([[-1]], "-1"), ([[0] * 21], "at most 20"), ([[2**31]], "batch"), ([[0.5]], "float64"),
        ([[[1, 2]]], "list of token ids"), ([["a"]], "list of token ids"),
    ]:
        with pytest.raises(ValueError, match=word):
            encoder.classify(sequences)
    for types in ([[0, 0]], [[0], [0]], [[2]]):
        with pytest.raises(ValueError, match="types"):
            encoder.states([[5]], types=types)
    with pytest.raises(ValueError, match="precision"):
        tamis.Encoder(folder, precision="f64")


def test_progress(model):
    folder, _ = model
    encoder = tamis.Encoder(folder)
    shares = []
    encoder.classify(batch(), progress=shares.append)
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)
    with pytest.raises(tamis.CancelledError):
        encoder.classify(batch(), progress=lambda done: False)
    with pytest.raises(ZeroDivisionError):
        encoder.classify(batch(), progress=lambda done: 1 // 0)
    with pytest.raises(tamis.CancelledError):
        tamis.Encoder(folder, progress=lambda done: done < 0.05)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_missing_files(model, missing):
    folder, _ = model
    os.remove(folder / missing)
    with pytest.raises(FileNotFoundError, match=missing):
        tamis.Encoder(folder)


def test_corrupt_files(model):
    folder, weights = model
    whole = (folder / "model.safetensors").read_bytes()
    for size in (0, 7, 100, len(whole) - 1):
        (folder / "model.safetensors").write_bytes(whole[:size])
        with pytest.raises(tamis.FormatError, match="model.safetensors"):
            tamis.Encoder(folder)
    os.remove(folder / "model.safetensors")
    whole = torch_file(weights)
    for size in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        (folder / "pytorch_model.bin").write_bytes(whole[:size])
        with pytest.raises(tamis.FormatError, match="pytorch_model.bin"):
            tamis.Encoder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(tamis.FormatError, match="config.json"):
        tamis.Encoder(folder)


def test_wrong_shapes(model):
    folder, weights = model
    for name in weights:
        bad = dict(weights)
        bad[name] = np.zeros((*weights[name].shape[:-1], weights[name].shape[-1] + 1), np.float32)
        (folder / "model.safetensors").write_bytes(safetensors(bad))
        with pytest.raises(tamis.FormatError, match=name):
            tamis.Encoder(folder)


class Touch:
    """Would make a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_with_code_is_refused_by_name(folder, tmp_path, protocol):
    witness = tmp_path / "was here"
    evil = pickle.dumps({"weight": Touch(witness)}, protocol)
    pickle.loads(evil)
    assert witness.exists()  # the pickle does what it says, elsewhere
    witness.rmdir()
    (folder / "pytorch_model.bin").write_bytes(torch_file({}, pickled=evil))
    with pytest.raises(tamis.FormatError, match=r"posix\.mkdir.*nothing is executed"):
        tamis.Encoder(folder)
    assert not witness.exists()


def test_other_objects_are_refused(folder):
    for value in [np.float32(3), {"a": {1, 2}}, [1], {"a": complex(1, 2)}, slice(1), b"bytes"]:
        for protocol in (0, 1, 2, 4, 5):
            (folder / "pytorch_model.bin").write_bytes(torch_file({}, pickled=pickle.dumps(value, protocol)))
            with pytest.raises(tamis.FormatError):
                tamis.Encoder(folder)


def test_a_model_of_another_kind(model):
    folder, _ = model
    (folder / "config.json").write_text(json.dumps(CONFIG | {"model_type": "deberta"}))
    with pytest.raises(NotImplementedError, match="deberta"):
        tamis.Encoder(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"position_embedding_type": "relative_key_query"}))
    with pytest.raises(NotImplementedError, match="position_embedding_type"):
        tamis.Encoder(folder)
    assert issubclass(tamis.UnsupportedError, NotImplementedError)


def test_zip_bombs_and_lies(folder):
    """Sizes in the directory that the file does not have."""
    whole = bytearray(torch_file({"a": np.zeros(4, np.float32)}))
    central = whole.index(b"PK\x01\x02")
    for offset in (20, 24, 42):
        lie = bytearray(whole)
        struct.pack_into("<I", lie, central + offset, 0xFFFFFFF0)
        (folder / "pytorch_model.bin").write_bytes(lie)
        with pytest.raises(tamis.FormatError):
            tamis.Encoder(folder)
